"""The model writing on, token by token, each with the density of predicting it."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from density.names import RULES
from density.serving.jobs import Snapshot, Status
from density.serving.question import Question
from density.view import percent, visible
from pages.parts.asking import ask
from pages.parts.heatmap import heatmap

if TYPE_CHECKING:
    from density.serving.service import Service

MOST_TOKENS = 128
# Why the two cells around what was written have no numbers.
GIVEN = "given, not written"
ENDED = "not measured; use what was written as text, and press Run"
HELP = {
    "count": "How many tokens to write, unless the model ends the text before.",
    "temperature": "0 takes the likeliest token. Otherwise a token is drawn, from the model's probabilities at 1, from "
    "evener ones above.",
    "seed": "Of the draws: the same seed writes the same text. It plays no part at temperature 0.",
}


def show(service: "Service", question: Question) -> None:
    """What to write and how; what has been written so far."""
    writing = st.session_state.get("writing")
    if writing and written_on(writing["question"]) != written_on(question):
        stop()
        writing = st.session_state.writing = None
    with st.expander("Write on", key="write-on", expanded=writing is not None):
        given = ask_how()
        with st.container(horizontal=True, vertical_alignment="center"):
            if st.button("Write", key="write"):
                stop()
                st.session_state.pop("generating", None)
                st.session_state.pop("written", None)
                writing = st.session_state.writing = {"question": question, "given": given}
            if writing and under_way() and st.button("Stop writing", key="write-stop"):
                stop()
        if writing:
            follow(service, **writing)
        else:
            st.caption(
                "The model goes on from the end of the text; each token is tinted by the density of predicting it."
            )


def written_on(question: Question) -> tuple[str, str, str]:
    """What is written on, and by which model, whatever is measured of it and how."""
    return question.text, question.model, question.precision


def ask_how() -> dict[str, Any]:
    """How to write: the arguments of the answer."""
    left, middle, right = st.columns(3)
    count = left.slider("Tokens", 1, MOST_TOKENS, 16, key="write-count", help=HELP["count"])
    temperature = middle.slider("Temperature", 0.0, 2.0, 0.0, 0.1, key="write-temperature", help=HELP["temperature"])
    seed = right.number_input("Seed", 0, 2**31 - 1, 0, key="write-seed", help=HELP["seed"], disabled=not temperature)
    return {"count": count, "temperature": temperature, "seed": seed}


def stop() -> None:
    """Ends the writing at its next token, if there is any."""
    _, job = st.session_state.get("generating", (None, None))
    if job is not None:
        job.cancel()


def under_way() -> bool:
    """Whether more is to come."""
    _, job = st.session_state.get("generating", (None, None))
    return job is None or not job.poll().finished


def follow(service: "Service", question: Question, given: Mapping[str, Any]) -> None:
    """The tokens written so far; once they are all there, the longer text can be taken."""
    from density.serving import answers

    def draw(seen: Snapshot) -> None:
        document = as_document(seen.results, question.fidelity)
        first, end = document["tokens"][0]["text"], len(document["tokens"])
        told = {0: without_numbers(first, GIVEN)} | ({end: without_numbers("next", ENDED)} if seen.finished else {})
        heatmap(document, pending(seen), "written", told=told)
        show_chosen(document)
        if seen.finished:
            ended = "Stopped" if seen.status is Status.STOPPED else "Written"
            st.caption(
                f"{ended}: {len(seen.results)} tokens in {seen.seconds:.1f} s, with densities at fidelity "
                f"{percent(question.fidelity)}, by {RULES[question.rule]}."
            )
            longer = question.text + seen.results[-1]["text"]
            if st.button(
                "Use as text", key="write-use", on_click=take, args=(longer,), help="Into the box above; press Run."
            ):
                st.rerun()

    ask(service, question, "generating", answers.generated, draw, **given)


def without_numbers(text: str, why: str) -> dict[str, Any]:
    """What the cell of a token says that was not predicted here; see `density.view.cells`."""
    name = visible(text)
    return {"facts": [["density", why]], "label": f"{name}: density {why}", "reason": f"{name}: {why}."}


def show_chosen(document: Mapping[str, Any]) -> None:
    """The numbers of the written token that was clicked, as the explorer shows those of its own text."""
    from pages.parts.selected import show_heading, show_numbers

    for prediction in document["predictions"]:
        if prediction["position"] == st.session_state.get("written"):
            show_heading(prediction)
            show_numbers(prediction)


def take(text: str) -> None:
    """Puts ``text`` into the text box."""
    st.session_state.text = text


def pending(seen: Snapshot) -> tuple[int, ...]:
    """The next token's place, while it is on its way."""
    return () if seen.finished else (len(seen.results),)


def as_document(steps: Sequence[Mapping[str, Any]], fidelity: float) -> dict[str, Any]:
    """What was written, as a profile of it alone: the last token of the text, and each token predicted after it."""
    tokens = [{"index": 0, "id": -1, "text": steps[0]["prediction"]["context_token"]}]
    predictions, before = [], ""
    for number, step in enumerate(steps):
        chosen = step["chosen"]
        piece = step["text"][len(before) :] or chosen["text"]
        before = step["text"]
        tokens.append({"index": number + 1, "id": chosen["id"], "text": piece})
        came = {"next_token": piece, "next_id": chosen["id"], "surprisal": -math.log(chosen["probability"])}
        predictions.append({**step["prediction"], "position": number, **came})
    return {"fidelity": fidelity, "tokens": tokens, "predictions": predictions}
