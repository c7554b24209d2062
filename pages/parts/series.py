"""A series of questions asked from a page: its progress, and what is drawn of it while it is answered."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from density.serving.jobs import Status
from density.serving.question import Question
from density.serving.series import Answered, Series
from pages.parts import engine, shared_inputs
from pages.parts.page import literal, sentence
from pages.parts.results import POLL_SECONDS, doing

if TYPE_CHECKING:
    from density.serving.service import Service
    from pages.parts.inputs import Offers

# Seconds that what is known has to be there before the page is drawn.
AT_ONCE = 0.15
Draw = Callable[[Sequence[Answered]], None]


def answers(
    service: "Service", offers: "Offers", questions: Sequence[Question], page: str, name: str, draw: Draw
) -> list[Answered]:
    """Offers to run ``questions``, and draws what there is of the answers to those run last; those, once all is there.

    Args:
        service: To be asked.
        offers: The catalogue.
        questions: What the widgets ask now, those of one model together.
        page: What the page's keys in the session begin with.
        name: Of this series, among the page's.
        draw: Called with the answers as they stand, on every poll, in a fragment: no fragment may be in it.
    """
    left, right = st.columns([1, 5], vertical_alignment="center")
    run = left.button("Run", type="primary", width="stretch", key=f"{page}{name}-start")
    with right:
        possible = shared_inputs.foresee(service, offers, questions)
    # Nothing that a link says is fetched or opened unasked.
    ready = all(offers.get(question.model, ("", ""))[1] == "ready" for question in questions)
    linked = st.session_state.pop(f"{page}run", False) and ready
    key = f"{page}{name}-series"
    if possible and (run or linked):
        if key in st.session_state:
            st.session_state[key].cancel()
        series = Series(questions, lambda question: service.profile(question, visitor))
        visitor = engine.visitor()
        series.wait(AT_ONCE)
        st.session_state[key] = series
    if key not in st.session_state:
        st.caption("Press Run.")
        return []
    series = st.session_state[key]
    if series.questions != tuple(questions):
        st.caption("Below is what was asked before; press Run for what is asked now.")
    series.poll()
    running = not series.finished
    st.fragment(follow, run_every=POLL_SECONDS if running else None)(key, running, draw)
    return [] if running else series.poll()


def follow(key: str, running: bool, draw: Draw) -> None:
    """One look at the series under ``key``; the page is drawn again when what was running has finished."""
    series: Series = st.session_state[key]
    found = series.poll()
    if running and series.finished:
        st.rerun()
    show_progress(series, found, key)
    draw(found)


def show_progress(series: Series, found: Sequence[Answered], key: str) -> None:
    """What is being done, or how it ended."""
    ended = [one for one in found if one.seen.finished]
    if not series.finished:
        current = found[len(ended)]
        text = f"{len(ended)} of {len(found)} done. {current.question.model}: {doing(current.seen)}"
        bar, button = st.columns([5, 1], vertical_alignment="center")
        bar.progress(len(ended) / len(found), text=literal(text))
        if button.button("Stop", width="stretch", key=f"{key}-stop"):
            series.cancel()
            st.rerun(scope="fragment")
        return
    for one in found:
        if one.seen.status is Status.FAILED:
            st.error(literal(f"{one.question.model}: {sentence(one.seen.error or '')}"))
    stopped = sum(one.seen.status is Status.STOPPED for one in found)
    if stopped:
        st.info(
            f"Stopped: {stopped} of {len(found)} were not finished. What was measured is kept: Run goes on from there."
        )
