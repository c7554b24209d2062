"""A corpus dataset chosen on a page by its folder, and the rows of it that are needed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from density.errors import DensityError
from density.measures import MEASURES
from density.statistics import Estimate
from pages.parts import datasets
from pages.parts.page import KEPT, literal, sentence

COLUMNS = (
    *("text_id", "pair", "model", "position", "added"),
    *(name for name in MEASURES if name != "frequency"),
)


def ask_dataset(key: str) -> list[dict[str, Any]]:
    """The rows of the dataset that is chosen; ends the page's run, saying what to do, if there is none."""
    folder = datasets.ask_folder(key)
    try:
        rows = read(str(folder), datasets.fingerprint(folder))
    except (DensityError, OSError, ValueError) as error:
        st.error(literal(sentence(error)))
        st.stop()
    if not rows:
        st.warning("Nothing of this dataset is measured yet: wait for its first texts.")
        st.stop()
    return rows


@st.cache_data(max_entries=4, show_spinner=False)
def read(folder: str, files: tuple[tuple[str, int], ...]) -> list[dict[str, Any]]:
    """The rows of the dataset in ``folder`` while it has these ``files``; raises as `read_dataset` does."""
    from density.corpus.dataset import read_dataset

    found: list[dict[str, Any]] = read_dataset(Path(folder), COLUMNS).to_pylist()
    return found


def models_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The models of a dataset's rows, in the order they are met."""
    return list(dict.fromkeys(row["model"] for row in rows))


def ask_measure(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    """One of the measures that some row has."""
    offered = [name for name in MEASURES if any(row.get(name) is not None for row in rows)]
    if not offered:
        st.warning("None of this dataset's texts could be measured; its column `error` says why.")
        st.stop()
    return ask_one(offered, key)


def ask_one(offered: Sequence[str], key: str) -> str:
    """One of the measures ``offered``; the first, until another is chosen."""
    if st.session_state.get(key) not in offered:
        st.session_state[key] = offered[0]
    chosen = st.segmented_control(
        "Measure", offered, format_func=lambda name: MEASURES[name].label, key=key, required=True, **KEPT
    )
    return chosen or offered[0]


def with_interval(found: Estimate, number: str = "+.2f") -> str:
    """An estimate in words, with its interval if there are observations enough."""
    if found.value is None:
        return f"too few (n = {found.n})"
    if found.low is None or found.high is None:
        return f"{found.value:{number}}"
    return f"{found.value:{number}} [{found.low:{number}}, {found.high:{number}}]"
