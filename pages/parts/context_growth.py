"""One prediction as its context grows: what is asked, the token chosen, and the curves as they come."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from density.measures import MEASURES
from density.serving.jobs import Snapshot
from density.serving.question import Question, to_link
from density.tiles import targets
from density.view import visible
from pages.parts import context_steps, inputs, shared_inputs
from pages.parts.asking import ask, draw_nothing
from pages.parts.heatmap import mount
from pages.parts.page import KEPT, literal
from pages.parts.textbox import live_text_area

if TYPE_CHECKING:
    from density.serving.service import Service

PAGE = "context-"
# Several sentences, the last of which ends in what the first has said.
FIRST_TEXT = (
    "Nobody in the village had seen Doctor Okonkwo for years. Her house was empty and the garden had gone wild. Then "
    "one morning the lamp in the window was lit again. The baker knocked, and the door was opened by Doctor Okonkwo"
)
STEPS = {"token": "1, 2, 4, ... tokens", "sentence": "sentences"}
STEPS_HELP = (
    "How the context grows, from the token predicted back to the beginning of the text. It is cut between tokens of "
    "the whole text; those that are left are the same tokens, and nothing is tokenised anew. The first sentence is the "
    "one that the token is in."
)


def restore(views: Sequence[str]) -> None:
    """Sets the widgets from the link, once a session."""
    if f"{PAGE}restored" in st.session_state:
        return
    given = st.query_params.to_dict()
    found = shared_inputs.restore(PAGE, {"text": FIRST_TEXT})
    shared_inputs.chosen_of("view", given.get("view"), views, PAGE)
    shared_inputs.chosen_of("by", given.get("by"), list(STEPS), PAGE)
    position = given.get("position", "")
    if position.isdecimal() and len(position) < 6:
        st.session_state[f"{PAGE}position"] = int(position)
    elif position:
        st.session_state[f"{PAGE}restored"].append(
            f"The link's position {position[:20]!r} is not a number; passed over."
        )
    st.session_state[f"{PAGE}run"] = "text" in found


def show(service: "Service") -> None:
    """The page's first view."""
    shared_inputs.complain(PAGE)
    offers = service.catalogue()
    question = ask_question(service)
    left, right = st.columns([1, 5], vertical_alignment="center")
    run = left.button("Run", type="primary", width="stretch")
    with right:
        possible = shared_inputs.foresee(service, offers, [question], costing)
    # Nothing that a link says is fetched or opened unasked.
    linked = st.session_state.pop(f"{PAGE}run", False) and offers.get(question.model, ("", ""))[1] == "ready"
    if possible and (run or linked):
        before = st.session_state.get(f"{PAGE}asked")
        if before is not None and before.text != question.text:
            st.session_state.pop(f"{PAGE}position", None)
        st.session_state[f"{PAGE}asked"] = question
    asked = st.session_state.get(f"{PAGE}asked")
    publish(question)
    if asked is None:
        st.caption("Press Run; then click the token that is to be predicted.")
        return
    if asked != question:
        st.caption("Below is what was asked before; press Run for what is asked now.")
    show_text(service, asked)


def ask_question(service: "Service") -> Question:
    """Draws the widgets and returns what they ask."""
    with st.sidebar:
        model, accepted = inputs.ask_model(service.catalogue(), service.in_memory(), f"{PAGE}model")
        fidelity = inputs.ask_fidelity(PAGE)
        method = inputs.ask_method(PAGE)
    texts = {f"{text.id}: {text.text[:60]}": text.text for text in shared_inputs.sample()}

    def take() -> None:
        if st.session_state[f"{PAGE}sample"]:
            st.session_state[f"{PAGE}text"] = texts[st.session_state[f"{PAGE}sample"]]
            st.session_state[f"{PAGE}sample"] = None

    st.selectbox(
        "Take a text from the sample",
        list(texts),
        index=None,
        key=f"{PAGE}sample",
        on_change=take,
        help=shared_inputs.SAMPLE_HELP,
    )
    text = live_text_area("Text", key=f"{PAGE}text", height=120, help=inputs.TEXT_HELP, **KEPT)
    return Question(model, text, fidelity, accept_terms=accepted, **method)


def costing(tokens: int) -> str:
    """Positions that are as dear to measure as the last token's contexts: one at p replays p + 1 tokens."""
    from density.context import doubling

    return ",".join(str(length - 1) for length in doubling(tokens))


def publish(question: Question) -> None:
    """Keeps the address bar a link to what is asked."""
    link = to_link(question)
    del link["positions"]
    position = st.session_state.get(f"{PAGE}position")
    if position is not None:
        link["position"] = str(position)
    shared_inputs.publish({**link, "by": st.session_state[f"{PAGE}by"], "view": "text"})


def show_text(service: "Service", question: Question) -> None:
    """The text as the model reads it, to choose a token in, and below it what context does to that."""
    from density.serving import contexts

    ask(service, question, f"{PAGE}reading", contexts.predicted, draw_nothing)
    seen = st.session_state[f"{PAGE}reading"][1].poll()
    if not seen.finished or not seen.results:
        return
    (document,) = seen.results
    position = choose(document)
    if position is None:
        st.warning("No token of this text has a context: type a longer one.")
        return
    by = st.segmented_control(
        "The context grows by",
        list(STEPS),
        format_func=STEPS.__getitem__,
        key=f"{PAGE}by",
        required=True,
        help=STEPS_HELP,
        **KEPT,
    )
    show_heading(document, position)

    drawn: int | None = None

    def look(seen: Snapshot) -> None:
        # Charts are made when there is something new in them, not at every look.
        if drawn is not None and len(seen.results) != drawn:
            st.rerun()
        if not seen.finished:
            done, of = len(seen.results), seen.results[0]["of"]
            st.progress(done / of, text=f"{done} of {of} contexts measured")

    ask(service, question, f"{PAGE}growing", contexts.growing, look, position=position, by=by or "token")
    seen = st.session_state[f"{PAGE}growing"][1].poll()
    drawn = len(seen.results)
    if seen.results:
        context_steps.draw(seen.results, question)
    if seen.finished and seen.results:
        context_steps.show_table(seen.results, document, question, position)


def choose(document: Mapping[str, Any]) -> int | None:
    """The text with the token to be predicted chosen in it: the position of its prediction, ``None`` if none can be."""
    key = f"{PAGE}position"
    made = targets(document)
    possible = [cell["position"] for cell in made if cell["found"]]
    if st.session_state.get(key) not in possible:
        st.session_state[key] = usual(made, possible)

    def take() -> None:
        chosen = st.session_state[f"{key}-heatmap"].get("chosen")
        if type(chosen) is int and chosen in possible:
            st.session_state[key] = chosen

    legend = MEASURES["surprisal"].legend()
    data = {"name": "Tokens by the surprisal of each", "cells": made, "legend": legend, "chosen": st.session_state[key]}
    st.caption("Click the token that is to be predicted.")
    mount(key=f"{key}-heatmap", data=[data], on_chosen_change=take, on_span_change=lambda: None)
    chosen: int | None = st.session_state[key]
    return chosen


def usual(made: Sequence[Mapping[str, Any]], possible: Sequence[int]) -> int | None:
    """The prediction to begin with: of the text's last token with a letter or digit, or else of what there is."""
    spoken = [
        cell["position"] for cell in made[:-1] if any(map(str.isalnum, "".join(text for text, _ in cell["pieces"])))
    ]
    return next((position for position in reversed(spoken) if position in possible), possible[-1] if possible else None)


def show_heading(document: Mapping[str, Any], position: int) -> None:
    """Which prediction this is, and what it sees in all."""
    tokens, before = document["tokens"], document["added"]
    coming = tokens[position + 1 : position + 2]
    name = f"“{visible(coming[0]['text'])}”" if coming else "the next token"
    st.subheader(literal(f"Predicting {name} with more and more context"), divider="gray")
    there = position + 1 - before
    begun = " ".join(f"“{visible(token['text'])}”" for token in tokens[:before])
    kept = (
        f" {begun}, which the tokenizer puts before every text, is kept before each and not counted." if before else ""
    )
    st.caption(literal(f"{inputs.counted(there, 'token')} of the text before it.{kept}"))
