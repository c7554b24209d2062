"""An answer that was saved or kept, put back on the explorer: no model is needed, and none is opened unasked."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from density.document import parse_profile
from density.errors import BadInput
from density.names import RULES
from density.serving.question import SEARCHES, Question, to_link
from density.view import percent
from pages.parts.page import literal, sentence

if TYPE_CHECKING:
    from density.serving.service import Service

OPEN_HELP = (
    "A JSON file saved from this page or written by the command line's `profile`. It is shown as it was measured, "
    "without any model; one saved from this page brings back how it was looked at."
)


def reopen(document: Mapping[str, Any], from_file: bool) -> None:
    """Has the explorer show a whole profile the next time it is drawn, its widgets set as they were as far as known."""
    question = question_of(document)
    st.session_state.link = {**document.get("view", {}), **to_link(question), "text": question.text}
    st.session_state.chosen = None
    st.session_state.opened = (question, document, from_file)


def question_of(document: Mapping[str, Any]) -> Question:
    """What a profile answers, with a token limit that its text is within."""
    return Question(
        model=document["model"],
        text=document["text"],
        fidelity=document["fidelity"],
        rule=document["rule"],
        positions=positions_of(document),
        sweep=document["search"] == "sweep",
        precision=document["precision"],
        max_tokens=max(Question().max_tokens, len(document["tokens"])),
    )


def positions_of(document: Mapping[str, Any]) -> str:
    """The predictions of a profile as they are asked for: all, the last, the last 16, or the span that has them."""
    positions, length = [found["position"] for found in document["predictions"]], len(document["tokens"])
    for name, count in (("all", length), ("last", 1), ("last:16", 16)):
        if positions == list(range(length))[-count:]:
            return name
    return f"{positions[0]}..{positions[-1]}"


def untouched(question: Question) -> bool:
    """Whether the widgets still ask what they did when the answer at hand was opened; from then on never again.

    They cannot be set to all that a file may have been measured with: that they differ from it is nobody's wish.
    """
    if st.session_state.get("opened-beside") != question:
        st.session_state["opened-beside"] = None
    return st.session_state["opened-beside"] is not None


def described(document: Mapping[str, Any]) -> str:
    """What was opened, beside widgets that ask something else."""
    return (
        f"Below is what was opened, as it was measured: fidelity {percent(document['fidelity'])}, "
        f"{RULES[document['rule']]}, predictions: {positions_of(document)}, {SEARCHES[document['search']]}, "
        f"{document['precision']}. It stays until you change what is asked, or press Run."
    )


def restore_uploaded(service: "Service | None", question: Question) -> None:
    """Offers to open a file, and puts what was opened where the explorer looks for its answer.

    Args:
        service: Without it, what was opened waits.
        question: What the widgets ask.
    """
    with st.sidebar:
        st.file_uploader(
            "Open a saved profile",
            type="json",
            key="uploaded",
            on_change=take_upload,
            help=OPEN_HELP,
        )
        if "refused" in st.session_state:
            st.error(literal(st.session_state.refused))
    if service is None or "opened" not in st.session_state:
        return
    # The engine's own code, which takes seconds to import: only once it is there.
    from density.serving.ended import reopened

    asked, document, from_file = st.session_state.pop("opened")
    if "job" in st.session_state:
        st.session_state.job.cancel()
    st.session_state.job, st.session_state.asked = reopened(asked, document, from_file), asked
    st.session_state["opened-beside"] = question
    st.session_state.answer = st.session_state.job.poll()
    # It is there: nothing is to be run.
    st.session_state.run_link = False


def take_upload() -> None:
    """Reads the file that was just chosen."""
    st.session_state.pop("refused", None)
    given = st.session_state.uploaded
    if given is None:
        return
    try:
        reopen(parse_profile(given.getvalue()), from_file=True)
    except BadInput as error:
        st.session_state.refused = sentence(error)
