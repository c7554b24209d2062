"""Rare tokens of a text: what is asked, the text as it is measured, and how its densities go with frequency."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from density.serving.question import Question, to_link
from density.serving.series import Answered
from pages.parts import inputs, rare_relation, shared_inputs
from pages.parts.examples import EXAMPLES
from pages.parts.heatmap import heatmap
from pages.parts.page import KEPT
from pages.parts.series import answers
from pages.parts.textbox import live_text_area

if TYPE_CHECKING:
    from density.serving.service import Service

PAGE = "rare-"
FIRST_TEXT = (
    "The old fisherman mended his nets by the harbour wall and watched the boats come in. When the wind turned he took "
    "his boat, a battered coracle of hazel and tarred calico, and rowed to the lighthouse with bread for the keeper."
)
ALONE = (
    "Of one text alone the predictions depend on each other, and the intervals are drawn as if they did not: they are "
    "too narrow. A corpus gives intervals over texts."
)


def show(service: "Service") -> None:
    """The page's first view."""
    question = ask_question(service)
    shared_inputs.publish({**to_link(question), "view": "text"})
    found = answers(service, service.catalogue(), [question], PAGE, "text", show_map)
    if not found or not found[0].whole:
        return
    from density import rare

    document = found[0].whole
    st.caption(ALONE)
    rare_relation.show(
        service,
        rare.of_profile(document),
        found[0].question,
        document["revision"],
        f"{PAGE}text-",
        lambda text: found[0].question,
    )


def ask_question(service: "Service") -> Question:
    """Draws the widgets and returns what they ask."""
    offers = service.catalogue()
    with st.sidebar:
        model, accepted = inputs.ask_model(offers, service.in_memory(), f"{PAGE}model")
        fidelity = inputs.ask_fidelity(PAGE)
        method = inputs.ask_method(PAGE)
    texts = {example["theme"]: example["text"] for example in EXAMPLES}

    def take() -> None:
        if st.session_state[f"{PAGE}example"]:
            st.session_state[f"{PAGE}text"] = texts[st.session_state[f"{PAGE}example"]]
            st.session_state[f"{PAGE}example"] = None

    st.pills("Examples", list(texts), key=f"{PAGE}example", on_change=take)
    text = live_text_area("Text", key=f"{PAGE}text", height=120, **KEPT)
    return Question(model, text, fidelity, accept_terms=accepted, **method)


def show_map(found: Sequence[Answered]) -> None:
    """The text, as far as it is measured."""
    for one in found:
        if one.document is not None:
            heatmap(one.document, one.pending, f"{PAGE}chosen")
