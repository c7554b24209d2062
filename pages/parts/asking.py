"""Asking the service one thing about a text, and following its job until the answer is there."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import streamlit as st

from density.serving.jobs import Snapshot, Status
from density.serving.question import Question
from pages.parts import engine
from pages.parts.page import literal, sentence

if TYPE_CHECKING:
    from density.serving.service import Service

POLL_SECONDS = 0.15
# The commonest answers come within this time, and are drawn at once: to look again takes another run of the page.
AT_ONCE = 0.6


def ask(
    service: "Service",
    question: Question,
    key: str,
    answer: Callable[..., Any],
    draw: Callable[[Snapshot], None],
    **given: Any,
) -> None:
    """Asks ``answer`` with ``given``, once, and draws what there is of it until it has finished.

    Args:
        service: To be asked.
        question: Whose text it is about.
        key: Of the job in the session; asking something else under the same key cancels what was asked before. What
            found no place in line is asked again when the page is drawn again.
        answer: One of `density.serving.answers`.
        draw: Called with the job as it stands, if it has results; on every poll, in a fragment.
        given: The answer's arguments, plain values.
    """
    signature = (question, answer.__name__, json.dumps(given, sort_keys=True))
    asked, job = st.session_state.get(key, (None, None))
    if asked != signature or job.turned_away:
        if job is not None:
            job.cancel()
        job = service.ask(question, answer, engine.visitor(), **given)
        job.wait(AT_ONCE)
        st.session_state[key] = (signature, job)
    running = not job.poll().finished
    st.fragment(follow, run_every=POLL_SECONDS if running else None)(key, running, draw)


def draw_nothing(seen: Snapshot) -> None:
    """Leaves the drawing to whoever asked: what a fragment inside another draws can outlive it."""


def follow(key: str, running: bool, draw: Callable[[Snapshot], None]) -> None:
    """One look at the job under ``key``; the page is drawn again when what was running has finished."""
    seen = st.session_state[key][1].poll()
    if running and seen.finished:
        st.rerun()
    if seen.results:
        draw(seen)
    if not seen.finished:
        waiting = seen.stage if seen.status is Status.RUNNING else f"waiting, {seen.ahead} before this"
        st.caption(literal(sentence(waiting or "starting")))
    elif seen.status is Status.FAILED:
        st.error(literal(sentence(seen.error or "")))
