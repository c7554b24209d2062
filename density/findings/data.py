"""Datasets of the corpus command as tables: read, held against each other, joined."""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]

from density.corpus.dataset import load_manifest, read_dataset, serialise
from density.corpus.rows import CURVE, Measure
from density.corpus.sources import SAMPLE, digest, load_texts
from density.errors import BadInput, DensityError
from density.frequency import Frequencies, parse_languages
from density.observations import groups_of, sees_text
from density.search import SWEEP_GRID

GRID = np.array(SWEEP_GRID)
KEY = ["model", "text_id", "position"]
COLUMNS = (
    *("text_id", "text", "language", "pair", "model", "position", "tokens", "added", "next_id", "top_ids", "entropy"),
    *("surprisal", "edges_trace", "density", "below_size", "search", "empty_total_variation", "auc_linear"),
    *("auc_log10", "error", *CURVE),
)
# What must be the same in datasets whose numbers are compared.
COMPARABLE = ("rule", "precision", "fidelity")
# Total variations from the full model that differ by less are of the same prediction.
SAME = 1e-6
# A run that goes on may move a row from one file to another while it is read.
ATTEMPTS = 3

FrequenciesOf = Callable[[str, str], Frequencies]


@dataclass(frozen=True, slots=True)
class Part:
    """One dataset.

    Attributes:
        name: Of its folder.
        settings: All that it was made with, see `density.corpus.dataset.settings_of`; and ``opened``.
        finished: Texts that are there of each model, measured or not.
        predictions: Predictions measured of each model.
        failed: Texts of each model that could not be measured.
    """

    name: str
    settings: Mapping[str, Any]
    finished: Mapping[str, int]
    predictions: Mapping[str, int]
    failed: Mapping[str, int]

    @property
    def whole(self) -> bool:
        """Whether every text of every model is there."""
        return all(count == self.settings["texts"] for count in self.finished.values())


@dataclass(frozen=True)
class Tables:
    """All datasets together, a row a prediction; never both of a prediction that was measured in two of them.

    Attributes:
        parts: The datasets.
        models: By name, in the order of the datasets.
        swept: Predictions measured by sweep, with their curves.
        searched: Predictions whose density was searched.
        blind: How many predictions were left out: those that see no token of their text, only what a tokenizer adds.
        languages: Whose frequencies ``top_zipf`` and ``came_zipf`` are, once they are there.
        no_frequencies: Why a model has none.
    """

    parts: tuple[Part, ...]
    models: tuple[str, ...]
    swept: pd.DataFrame
    searched: pd.DataFrame
    blind: int = 0
    languages: str = ""
    no_frequencies: Mapping[str, str] = field(default_factory=dict)

    @property
    def measured(self) -> pd.DataFrame:
        """The predictions that densities are told of: of each model those searched if there are any, else those swept.

        The two are not mixed: a sweep's sizes are coarser.
        """
        others = self.swept[~self.swept["model"].isin(self.searched["model"])]
        return pd.concat([some for some in (self.searched, others) if len(some)], ignore_index=True)

    @property
    def fidelity(self) -> float:
        """That densities are for."""
        return self.parts[0].settings["fidelity"]

    @cached_property
    def both(self) -> pd.DataFrame:
        """Predictions that were searched and swept, with ``agree``: whether their brackets have a size in common."""
        columns = [*KEY, "density", "below_size"]
        found = self.searched[["group", *columns]].merge(self.swept[columns], on=KEY, suffixes=("_searched", "_swept"))
        low = found[["below_size_searched", "below_size_swept"]].fillna(-1.0)
        high = found[["density_searched", "density_swept"]]
        return found.assign(agree=low.max(axis=1) < high.min(axis=1))

    def of(self, table: pd.DataFrame, model: str) -> pd.DataFrame:
        """A model's rows of one of the tables."""
        return table[table["model"] == model]

    def labels(self) -> dict[str, str]:
        """What models are called in a sentence: a folder by its last name, if that is enough."""
        short = {name: Path(name).name if name.startswith(("/", "~", ".")) else name for name in self.models}
        return {name: label if list(short.values()).count(label) == 1 else name for name, label in short.items()}


def load_tables(folders: Sequence[Path]) -> Tables:
    """The tables of one or more dataset folders, finished or not.

    Raises:
        BadInput: No dataset, one of another schema version, damaged, or without a measured prediction; datasets that
            cannot be compared: of other settings or weights, or with other texts under the same ids.
    """
    named = [folder.resolve() for folder in folders]
    for folder in named:
        if named.count(folder) > 1:
            raise BadInput(f"{folder} is given twice; give every dataset once.")
    read = [(folder, load_manifest(folder), load_rows(folder)) for folder in folders]
    refuse_incomparable(read)
    parts = tuple(part_of(folder.resolve().name, settings, rows) for folder, settings, rows in read)
    together = pd.concat([rows for _, _, rows in read], ignore_index=True)
    refuse_other_texts(together)
    measured = together[together["error"].isna()].drop(columns=["text", "error"])
    measured["group"] = groups_of(measured)
    if measured.empty:
        failed = len(together)
        said = f"{failed} texts and all of them failed: {together['error'].iloc[0]}" if failed else "no text yet"
        raise BadInput(f"no prediction is measured in what was given ({said}); run the corpus command to its end.")
    sighted = measured[sees_text(measured)]
    swept = sighted["search"] == "sweep"
    models = tuple(dict.fromkeys(name for _, settings, _ in read for name in settings["models"]))
    present = tuple(name for name in models if (sighted["model"] == name).any())
    return Tables(parts, present, once(sighted[swept]), once(sighted[~swept]), len(measured) - len(sighted))


def load_rows(folder: Path) -> pd.DataFrame:
    """A dataset's rows, each once, with ``top_id``; raises `BadInput` for a file that cannot be read."""
    for attempt in range(ATTEMPTS):
        try:
            rows = read_dataset(folder, COLUMNS).to_pandas()
            break
        except FileNotFoundError:
            if attempt == ATTEMPTS - 1:
                raise
        except pa.ArrowException as error:
            raise BadInput(
                f"a file in {folder} is damaged ({error}); run the same corpus command again: it is made anew."
            ) from None
    rows["top_id"] = [ids[0] if ids is not None and len(ids) else pd.NA for ids in rows.pop("top_ids")]
    return rows.drop_duplicates(KEY, ignore_index=True)


def once(rows: pd.DataFrame) -> pd.DataFrame:
    """Each prediction once: as the first dataset has it."""
    return rows.drop_duplicates(KEY, ignore_index=True)


def part_of(name: str, settings: dict[str, Any], rows: pd.DataFrame) -> Part:
    """What there is of a dataset."""
    by_model = {model: rows[rows["model"] == model] for model in settings["models"]}
    failed = {model: int(some["error"].notna().sum()) for model, some in by_model.items()}
    return Part(
        *(name, settings, {model: int(some["text_id"].nunique()) for model, some in by_model.items()}),
        {model: len(some) - failed[model] for model, some in by_model.items()},
        failed,
    )


def refuse_incomparable(read: Sequence[tuple[Path, dict[str, Any], pd.DataFrame]]) -> None:
    """Raises `BadInput` for datasets whose numbers mean different things."""
    first, settings, _ = read[0]
    opened: dict[str, tuple[Path, str]] = {}
    for folder, other, _ in read:
        for key in COMPARABLE:
            if other[key] != settings[key]:
                raise BadInput(
                    f"{folder} has {key} {other[key]!r} and {first} has {settings[key]!r}; their numbers cannot be put "
                    "together: give one of them."
                )
        for name, one in other["opened"].items():
            place, revision = opened.setdefault(name, (folder, one["revision"]))
            if revision != one["revision"]:
                raise BadInput(f"{name} means other weights in {folder} than in {place}; give one of them.")


def refuse_other_texts(rows: pd.DataFrame) -> None:
    """Raises `BadInput` if an id stands for two texts: models are compared on texts of one id."""
    texts = rows[["text_id", "text"]].drop_duplicates()
    twice = texts[texts["text_id"].duplicated()]
    if len(twice):
        raise BadInput(
            f"the id {twice['text_id'].iloc[0]!r} stands for two texts in what was given; give datasets of the same "
            "texts, or one at a time."
        )


def along(rows: pd.DataFrame, column: str) -> np.ndarray:
    """A curve's column in the trace of each size of the sweep: a row a prediction, a column a size of `GRID`.

    The trace of a size is the largest with at most that share of the edges. NaN where it is empty, but for the total
    variation, which is then that of the empty trace; NaN everywhere where the column was not measured.
    """
    found = np.full((len(rows), len(GRID)), np.nan)
    for row, (sizes, values) in enumerate(zip(rows["curve_size"], rows[column], strict=True)):
        if values is None:
            continue
        at = np.searchsorted(np.asarray(sizes), GRID * (1 + 1e-9), side="right") - 1
        found[row, at >= 0] = np.asarray(values, float)[at[at >= 0]]
    if column == "curve_total_variation":
        empty = rows["empty_total_variation"].to_numpy(float)[:, None]
        found = np.where(np.isnan(found), empty, found)
    return found


def with_frequencies(tables: Tables, frequencies_of: FrequenciesOf, languages: str = "en") -> Tables:
    """The tables with more columns: how frequent the token found likeliest is, and the one that came.

    ``top_zipf`` and ``came_zipf`` are log10 of occurrences in 10^9 tokens; missing where the token has no frequency,
    and where the text says that it is in another language. ``curve_zipf`` has those that the traces of a sweep find
    likeliest; missing also of a trace that predicts what the empty one does.

    Args:
        frequencies_of: The frequencies of a model's tokens, given its name and revision; it raises a `DensityError`
            where they cannot be had.
        languages: Whose frequencies they are.
    """
    revisions = {name: one["revision"] for part in tables.parts for name, one in part.settings["opened"].items()}
    known: dict[str, Frequencies] = {}
    lacking = {}
    for model in tables.models:
        try:
            known[model] = frequencies_of(model, revisions[model])
        except DensityError as error:
            lacking[model] = str(error)
    told = set(parse_languages(languages))
    added = {name: with_zipf(getattr(tables, name), known, told) for name in ("swept", "searched")}
    return replace(tables, languages=languages, no_frequencies=lacking, **added)


def with_zipf(rows: pd.DataFrame, known: Mapping[str, Frequencies], languages: Set[str]) -> pd.DataFrame:
    """A table with ``top_zipf``, ``came_zipf`` and ``curve_zipf``."""
    rows = rows.copy()
    spoken = rows["language"].isna() | rows["language"].isin(languages)
    of_model = [known.get(model) if here else None for model, here in zip(rows["model"], spoken, strict=True)]
    for column, ids in (("top_zipf", "top_id"), ("came_zipf", "next_id")):
        rows[column] = [zipf(one, token) for one, token in zip(of_model, rows[ids], strict=True)]
    points = ("curve_top_id", "curve_total_variation", "empty_total_variation")
    rows["curve_zipf"] = [
        None if tokens is None else [zipf(one, token) for token in np.where(abs(distances - empty) < SAME, -1, tokens)]
        for one, tokens, distances, empty in zip(of_model, *(rows[name] for name in points), strict=True)
    ]
    return rows


def zipf(known: Frequencies | None, token: Any) -> float:
    """A token's frequency; NaN without one."""
    found = None if known is None or pd.isna(token) else known.zipf(int(token))
    return np.nan if found is None else found


def command(name: str, settings: Mapping[str, Any]) -> str:
    """The command that makes a dataset.

    The number of texts drawn is given unless the shipped sample is whole: of a file, all may have been.

    Args:
        name: Of its folder.
        settings: See `Part`.
    """
    words = ["python", "-m", "density", "corpus", settings["source"], "--out", name]
    words += ["--column", settings["column"]] if settings["column"] else []
    words += [word for name in settings["models"] for word in ("--model", name)]
    usual = {**asdict(Measure()), "precision": "float32"}
    for option in ("positions", "fidelity", "rule", "precision"):
        if settings[option] != usual[option]:
            words += [f"--{option}", str(settings[option])]
    words += [f"--{switch}" for switch in ("sweep", "controls") if settings[switch]]
    if not is_sample(settings):
        words += ["--limit", str(settings["texts"])]
    if settings["seed"] != usual["seed"]:
        words += ["--seed", str(settings["seed"])]
    if settings["max_tokens"] != usual["max_tokens"]:
        words += ["--max-tokens", str(settings["max_tokens"])]
    devices = {one["device"] for one in settings["opened"].values()} - {"cpu"}
    words += [word for device in sorted(devices)[:1] for word in ("--device", device)]
    return shlex.join(words)


def one_file(folder: Path) -> bytes:
    """A dataset as one Parquet file, its settings in the metadata under ``density``."""
    settings = json.dumps(load_manifest(folder), ensure_ascii=False)
    return serialise(read_dataset(folder).replace_schema_metadata({"density": settings}))


def flat(folder: Path) -> str:
    """A dataset's rows as CSV, without its curves; texts, and lists, as JSON strings."""
    table = read_dataset(folder)
    kept = table.select([name for name in table.column_names if not name.startswith("curve_")])
    numbers = [name for name in kept.column_names if pa.types.is_primitive(kept.schema.field(name).type)]
    rows = [
        {
            name: value if value is None or name in numbers else json.dumps(value, ensure_ascii=False)
            for name, value in row.items()
        }
        for row in kept.to_pylist()
    ]
    return pd.DataFrame(rows, columns=kept.column_names).to_csv(index=False)


def is_sample(settings: Mapping[str, Any]) -> bool:
    """Whether the texts are the whole sample that is shipped."""
    return settings["source"] == SAMPLE and settings["texts_sha256"] == digest(load_texts(SAMPLE))
