"""The models of a corpus dataset, joined by text."""

import streamlit as st

from density.agreement import shared_rows
from density.measures import MEASURES
from pages.parts import shared_inputs
from pages.parts.compare_models import show_pairs
from pages.parts.dataset_rows import ask_dataset, ask_measure, models_of

PAGE = "compare-"
JOINED_HELP = (
    "Texts are joined by their ids. A text's number is the mean over those of its predictions that were measured and "
    "see a token of it, not only what the tokenizer adds; with --positions last, it is that of its last prediction."
)


def show() -> None:
    """The view."""
    shared_inputs.publish({"view": "corpus", "dataset": st.session_state[f"{PAGE}dataset"] or ""})
    rows = ask_dataset(f"{PAGE}dataset")
    models = models_of(rows)
    if len(models) < 2:
        st.warning("The dataset has one model. Name several to the command: --model A --model B")
        return
    measure = ask_measure(rows, f"{PAGE}corpus-measure")
    title = MEASURES[measure].label
    shared = shared_rows(rows, models, measure)
    show_pairs(shared, models, title, MEASURES[measure].nats, f"Whole texts, mean {title}", JOINED_HELP)
