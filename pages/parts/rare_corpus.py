"""Rare tokens of a corpus dataset: which one, which of its models, and how densities go with frequency in it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from density.errors import DensityError
from density.names import RULES
from density.serving.question import FIDELITY_RANGE, Question
from pages.parts import datasets, rare_relation, shared_inputs
from pages.parts.page import KEPT, literal, sentence

if TYPE_CHECKING:
    import pandas as pd

    from density.serving.service import Service

PAGE = "rare-"


def show(service: "Service") -> None:
    """The page's second view."""
    shared_inputs.publish({"view": "corpus", "dataset": st.session_state[f"{PAGE}dataset"] or ""})
    folder = datasets.ask_folder(f"{PAGE}dataset")
    from density import rare

    try:
        settings, rows = read(str(folder), datasets.fingerprint(folder))
        model = ask_model(settings["models"])
        frame = rare.of_dataset(rows, model)
    except (DensityError, OSError, ValueError) as error:
        st.error(literal(sentence(error)))
        return

    def question_of(text: str) -> Question:
        low, high = FIDELITY_RANGE
        fidelity = min(max(round(settings["fidelity"], 2), low), high)
        rule = settings["rule"] if settings["rule"] in RULES else next(iter(RULES))
        return Question(model, text, fidelity, rule, sweep=bool(settings["sweep"]), precision=settings["precision"])

    if model not in settings["opened"]:
        st.warning("Nothing of this model is measured yet: wait for its first texts.")
        return
    show_counts(frame, rows, model)
    shortest = min(dict.fromkeys(frame["text"]), key=len)
    revision = settings["opened"][model]["revision"]
    rare_relation.show(service, frame, question_of(shortest), revision, f"{PAGE}corpus-", question_of)


@st.cache_data(max_entries=4, show_spinner=False)
def read(folder: str, files: tuple[tuple[str, int], ...]) -> "tuple[dict[str, Any], pd.DataFrame]":
    """The settings and the rows of the dataset in ``folder`` while it has these ``files``; raises as `read_dataset`."""
    from density import rare
    from density.corpus.dataset import load_manifest, read_dataset

    return load_manifest(Path(folder)), read_dataset(Path(folder), rare.STORED).to_pandas()


def ask_model(models: list[str]) -> str:
    """One of the dataset's models."""
    if len(models) == 1:
        return models[0]
    if st.session_state.get(f"{PAGE}dataset-model") not in models:
        st.session_state[f"{PAGE}dataset-model"] = models[0]
    return st.selectbox("Model of the dataset", models, key=f"{PAGE}dataset-model", **KEPT) or models[0]


def show_counts(frame: "pd.DataFrame", rows: "pd.DataFrame", model: str) -> None:
    """How much there is, and how many texts could not be measured."""
    texts = frame["text_id"].nunique()
    failed = int(((rows["model"] == model) & rows["error"].notna()).sum())
    said = f"{len(frame):,} predictions of {texts:,} texts by {model}"
    st.caption(literal(said + (f"; {failed:,} texts could not be measured." if failed else ".")))
