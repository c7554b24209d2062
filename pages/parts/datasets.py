"""Corpora on pages: uploaded texts read, datasets chosen, and files of them to take home."""

import io
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from density.home import corpora_home
from density.limits import limits
from pages.parts.page import KEPT, literal

if TYPE_CHECKING:
    import pandas as pd

    from density.corpus.sources import Text
    from density.findings.document import Findings

MAKE_ONE = (
    "No dataset is chosen. The Corpus page makes them, and so does "
    "`python -m density corpus sample --positions all --limit 30 --out FOLDER`."
)
DATASET_HELP = (
    "A folder that the Corpus page or `python -m density corpus` wrote to, or is writing to: one that this explorer "
    "keeps, or by its path on the machine that serves this page."
)
KEPT_HELP = "A folder that the Corpus page or `python -m density corpus` wrote to, of those that this server keeps."
DATASETS_HELP = (
    "Folders that the Corpus page or `python -m density corpus` wrote to, finished or not. Several are put together: "
    "one of sweeps for the curves, and one of all predictions for frequency and context."
)
# Of a link's datasets that are not there.
MOST_NAMED = 3
PARQUET_HELP = "All predictions that are there, in one file, with the settings in its metadata."
CSV_HELP = "The same without the curves, for spreadsheets; texts and tokens are written as JSON strings."


def safe(name: str) -> str:
    """A file's name as a visitor's browser gave it, of letters, digits, points, hyphens and underscores."""
    return "".join(c if c.isalnum() or c in ".-_" else "-" for c in Path(name).name)[-80:].lstrip(".-") or "texts.txt"


@st.cache_data(max_entries=4, show_spinner=False)
def read_texts(name: str, content: bytes, column: str | None, limit: int | None, seed: int) -> "list[Text]":
    """The texts of an uploaded file, or of the sample; raises as `density.corpus.sources.load_texts` does."""
    from density.corpus.sources import SAMPLE, load_texts

    if name == SAMPLE:
        return load_texts(SAMPLE, limit=limit, seed=seed)
    with tempfile.TemporaryDirectory(prefix="density-upload-") as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return load_texts(str(path), column=column, limit=limit, seed=seed)


@st.cache_data(max_entries=4, show_spinner=False)
def columns_of(name: str, content: bytes) -> list[str]:
    """The columns of an uploaded file."""
    from density.corpus import sources

    with tempfile.TemporaryDirectory(prefix="density-upload-") as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return list(dict.fromkeys(sources.columns_of(str(path))))


@st.cache_data(max_entries=4, show_spinner=False)
def read_states(folder: str, files: tuple[tuple[str, int], ...]) -> "pd.DataFrame":
    """The rows of a dataset while it has these files: of which text and model, and why it failed if it did."""
    from density.corpus.dataset import read_dataset

    found: pd.DataFrame = read_dataset(Path(folder), ("text_id", "model", "error")).to_pandas()
    return found


def fingerprint(folder: Path) -> tuple[tuple[str, int], ...]:
    """The names and sizes of a dataset's files; of a folder that is none, or cannot be read, nothing."""
    from density.corpus.dataset import MANIFEST, PENDING

    try:
        # A link may name any folder, and one that is no dataset may hold anything.
        if not (folder / MANIFEST).is_file():
            return ()
        files = (*folder.glob("*.parquet"), *(folder / PENDING).glob("*.parquet"))
        return tuple(sorted((file.name, file.stat().st_size) for file in files))
    except (OSError, ValueError):
        return ()


def kept_datasets() -> dict[str, Path]:
    """The datasets in ``DENSITY_HOME/corpora``, by name."""
    from density.corpus.dataset import MANIFEST

    try:
        return {path.parent.name: path.parent for path in sorted(corpora_home().glob(f"*/{MANIFEST}"))}
    except OSError:
        return {}


def place_of(name: str, kept: Mapping[str, Path]) -> Path | None:
    """The folder of a dataset by its name or its path; ``None``, and a word about it, if this server reads no such."""
    path = kept.get(name)
    if path is None and limits().free_names:
        typed = Path(name).expanduser()
        path = typed if limits().allows_model(str(typed)) else None
    if path is None:
        st.warning(literal(f"This server does not read {name}."))
    return path


def ask_folder(key: str) -> Path:
    """The folder of the dataset chosen; ends the page's run, saying what to do, if none is, or it may not be read.

    Args:
        key: Of the session, which has the dataset's name or path.
    """
    kept, typed = kept_datasets(), limits().free_names
    given = st.session_state[key] or None
    options = list(dict.fromkeys([*kept, *([given] if given and typed else [])]))
    if given and given not in options:
        st.session_state[f"{key}-passed-over"] = passed_over([given])
    for complaint in st.session_state.get(f"{key}-passed-over", ()):
        st.warning(literal(complaint))
    st.session_state[key] = given if given in options else None
    chosen = st.selectbox(
        *("Dataset", options),
        index=None,
        key=key,
        accept_new_options=typed,
        help=DATASET_HELP if typed else KEPT_HELP,
        placeholder="Choose a dataset, or type the path of its folder" if typed else "Choose a dataset",
        **KEPT,
    )
    folder = place_of(chosen, kept) if chosen else None
    if folder is None:
        st.info(MAKE_ONE)
        st.stop()
    return folder


def passed_over(names: Sequence[str]) -> list[str]:
    """Sentences about a link's datasets that this server does not keep: each of the first few, and the rest."""
    said = [
        f"The link's dataset {name[:80]!r} is not one that this server keeps; it was passed over."
        for name in names[:MOST_NAMED]
    ]
    more = len(names) - len(said)
    return [*said, f"So were {more:,} others."] if more else said


def ask_folders(page: str) -> list[Path]:
    """The folders of the datasets chosen; ends the page's run, saying what to do, if none is.

    Args:
        page: What the page's keys begin with.
    """
    kept, key, typed = kept_datasets(), f"{page}datasets", limits().free_names
    asked = st.session_state.pop(f"{page}asked", None)
    if asked is not None:
        st.session_state[key] = asked
    elif key not in st.session_state:
        linked = dict.fromkeys(st.query_params.get_all("dataset"))
        st.session_state[key] = [name for name in linked if name in kept]
        st.session_state[f"{page}restored"] = passed_over([name for name in linked if name not in kept])
    for complaint in st.session_state.get(f"{page}restored", ()):
        st.warning(literal(complaint))
    given = [name for name in st.session_state[key] if name in kept or typed]
    st.session_state[key] = given
    chosen = st.multiselect(
        "Datasets",
        list(dict.fromkeys([*kept, *given])),
        key=key,
        accept_new_options=typed,
        help=DATASETS_HELP,
        placeholder="Choose, or type the path of a folder" if typed else "Choose",
        **KEPT,
    )
    folders = {name: place_of(name, kept) for name in chosen}
    st.query_params.from_dict({"dataset": [name for name in chosen if name in kept]})
    found = [folder for folder in folders.values() if folder is not None]
    if not found:
        st.info(MAKE_ONE)
        st.stop()
    return found


def offer_table(folder: Path) -> None:
    """Buttons that make a dataset's files when they are pressed."""
    from density.findings.data import flat, one_file

    name = folder.name
    st.download_button(
        *("Parquet", lambda: one_file(folder), f"{name}.parquet", "application/vnd.apache.parquet"),
        key=f"parquet-{name}",
        on_click="ignore",
        help=PARQUET_HELP,
    )
    st.download_button(
        *("CSV", lambda: flat(folder), f"{name}.csv", "text/csv"),
        key=f"csv-{name}",
        on_click="ignore",
        help=CSV_HELP,
    )


def archive(found: "Findings") -> bytes:
    """Every figure's files in one archive."""
    from density.findings.report import figure_files

    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as files:
        for name, content in figure_files(found):
            files.writestr(name, content)
    return kept.getvalue()
