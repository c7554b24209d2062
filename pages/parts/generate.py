"""The model writing on, token by token, each with the density of predicting it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from density.serving.jobs import Snapshot, State
from density.serving.question import Question
from pages.parts.asking import ask
from pages.parts.heatmap import heatmap

if TYPE_CHECKING:
    from density.serving.service import Service

MOST_TOKENS = 128
HELP = {
    "count": "How many tokens to write, unless the model ends the text before.",
    "temperature": "0 takes the likeliest token. Otherwise a token is drawn, from the model's probabilities at 1, from "
    "evener ones above.",
    "seed": "Of the draws: the same seed writes the same text. It plays no part at temperature 0.",
}


def show(service: "Service", question: Question) -> None:
    """What to write and how; what has been written so far."""
    writing = st.session_state.get("writing")
    if writing and writing["question"] != question:
        stop()
        writing = st.session_state.writing = None
    with st.expander("Write on", key="write-on", expanded=writing is not None):
        given = ask_how()
        with st.container(horizontal=True, vertical_alignment="center"):
            if st.button("Write", key="write"):
                stop()
                st.session_state.pop("generating", None)
                writing = st.session_state.writing = {"question": question, "given": given}
            if writing and under_way() and st.button("Stop writing", key="write-stop"):
                stop()
        if writing:
            follow(service, **writing)
        else:
            st.caption(
                "The model goes on from the end of the text; each token is tinted by the density of predicting it."
            )


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
        heatmap(as_document(seen.results, question.fidelity), pending(seen), "written")
        if seen.finished:
            ended = "Stopped" if seen.state is State.STOPPED else "Written"
            st.caption(f"{ended}: {len(seen.results)} tokens in {seen.seconds:.1f} s.")
            longer = question.text + seen.results[-1]["text"]
            if st.button(
                "Use as text", key="write-use", on_click=take, args=(longer,), help="Into the box above; press Run."
            ):
                st.rerun()

    ask(service, question, "generating", answers.generated, draw, **given)


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
        piece, chosen = step["text"][len(before) :], step["chosen"]
        before = step["text"]
        tokens.append({"index": number + 1, "id": chosen["id"], "text": piece or chosen["text"]})
        predictions.append({**step["prediction"], "position": number})
    return {"fidelity": fidelity, "tokens": tokens, "predictions": predictions}
