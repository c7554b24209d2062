"""The explorer: a text, read as the density of predicting each of its tokens."""

from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from density.serving.jobs import Status
from density.serving.question import Question
from pages.parts import engine, inputs, reopening, results, selected
from pages.parts.page import ABOUT, TITLE, init, literal, sentence

if TYPE_CHECKING:
    from density.serving.service import Service

AT_ONCE = 0.15


def main() -> None:
    """The page."""
    init()
    inputs.restore()
    st.title(TITLE)
    st.caption(ABOUT)
    service = engine.service()
    offers = service.catalogue() if service else {}
    in_memory = service.in_memory() if service else ()
    question = inputs.ask(offers, in_memory)
    inputs.publish(question)
    reopening.restore_uploaded(service, question)
    if service is None:
        wait_for_engine(question)
        return
    at_hand = inputs.at_hand(offers, question.model)
    button, outlook = st.columns([1, 5], vertical_alignment="center")
    button.button("Run", type="primary", width="stretch", on_click=inputs.want)
    foreseen = outlook.empty()
    with foreseen.container():
        possible = inputs.foresee(service, offers, question)
    with outlook:
        if at_hand and ("job" not in st.session_state or st.session_state.job.poll().finished):
            preload(service, question)
    linked = st.session_state.run_link and (at_hand or question.model in in_memory)
    asked = st.session_state.get("asked")
    changed = not reopening.untouched(question) and asked is not None and asked != question
    moved = changed and possible and (at_another_fidelity(question) or service.measured(question))
    # A token of a precomputed example that is clicked is measured here, so that there is something to see below.
    clicked = asked != question and st.session_state.get("chosen") is not None and results.shows_example(question)
    if possible and (st.session_state.get("wanted") or linked or moved or (clicked and at_hand)):
        start(service, question)
        if st.session_state.job.poll().finished:
            # It took nothing, and nothing is left to be foreseen.
            with foreseen.container():
                inputs.foresee(service, offers, question)
    # Not before it was begun: a click elsewhere may end this run of the page anywhere.
    st.session_state.wanted = st.session_state.run_link = False
    if results.shows_example(question) and st.session_state.get("asked") != question:
        results.show_example(question)
    elif "asked" in st.session_state:
        results.show(question, possible)
        if not results.shows_example(question):
            selected.show(service)
            results.show_details(service)


def at_another_fidelity(question: Question) -> bool:
    """Whether just this was asked and answered before, but for the fidelity, and may have been let go from memory."""
    asked = st.session_state.get("asked")
    same = asked is not None and replace(asked, fidelity=question.fidelity) == question
    return same and st.session_state.job.poll().status is Status.DONE


def start(service: "Service", question: Question) -> None:
    """Asks for ``question`` instead of whatever was asked before."""
    before = st.session_state.get("asked")
    if before is not None:
        st.session_state.job.cancel()
        if (before.text, before.model) != (question.text, question.model) and not results.shows_example(question):
            st.session_state.chosen = None
    # In this order: whatever was asked has a job, even if a click elsewhere ends this run of the page in between.
    st.session_state.job = service.profile(question, engine.visitor())
    st.session_state.asked = question
    # What has been measured is there at once, and is drawn at once.
    st.session_state.job.wait(AT_ONCE)


def preload(service: "Service", question: Question) -> None:
    """Brings a model into memory, so that tokens can be counted before the first run."""
    if service.loaded(question):
        return
    name, job = st.session_state.get("loading", (None, None))
    seen = job and job.poll()
    if name != question.model or (seen.finished and not seen.error):
        st.session_state.loading = (question.model, service.load(question, engine.visitor()))
    coming = not st.session_state.loading[1].poll().finished
    st.fragment(wait_for_model, run_every=results.POLL_SECONDS if coming else None)(coming)


def wait_for_model(coming: bool) -> None:
    """The state of a model on its way into memory."""
    seen = st.session_state.loading[1].poll()
    if coming and seen.finished:
        st.rerun()
    if coming:
        st.caption(literal(results.doing(seen)))
    elif seen.error:
        st.error(literal(sentence(seen.error)))


def wait_for_engine(question: Question) -> None:
    """The page without its engine, for the seconds that takes to import."""
    button, outlook = st.columns([1, 5], vertical_alignment="center")
    button.button("Run", type="primary", width="stretch", disabled=True)
    with outlook:
        engine.look_again()
    if results.shows_example(question):
        results.show_example(question)


main()
