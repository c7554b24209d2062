"""The engine behind the pages: imported in the background, so that a page is there before it, and shared by all."""

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.runtime import Runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from density.limits import limits
from density.serving.jobs import Visitor
from density.store import Store
from pages.parts.page import literal

if TYPE_CHECKING:
    from density.serving.service import Service

# Seconds for the first page to reach its browser, before the import takes the interpreter.
HEAD_START = 0.8
POLL_SECONDS = 0.4

log = logging.getLogger(__name__)


def start() -> "Service":
    """Imports the engine, which takes seconds, and starts it; the page that asked is drawn before."""
    time.sleep(HEAD_START)
    try:
        from density.serving.service import Service

        return Service(store(), limits())
    except Exception:
        log.exception("the engine did not start")
        raise


@st.cache_resource(show_spinner=False)
def starting() -> "Future[Service]":
    """The engine to come."""
    return ThreadPoolExecutor(1, thread_name_prefix="density-start").submit(start)


def store() -> Store:
    """Where answers are kept, as the server's limits have it."""
    return Store(limit=limits().disk, read_only=limits().read_only)


def service() -> "Service | None":
    """The engine; ``None`` while it is still being imported. If it cannot be, the page says so and ends here."""
    if not starting().done():
        return None
    try:
        return starting().result()
    except Exception as error:
        st.error(
            f"The engine did not start: {literal(f'{type(error).__name__}: {error}')}. "
            "Run `make install` and start the page again; the server's log has the details."
        )
        st.stop()


def required() -> "Service":
    """The engine; while it is still being imported the page says so, and ends here."""
    found = service()
    if found is None:
        look_again()
        st.stop()
    return found


@st.fragment(run_every=POLL_SECONDS)
def look_again() -> None:
    """Draws the page again once the engine is there."""
    if starting().done():
        st.rerun()
    st.caption("The engine is starting.")


def visitor() -> Visitor:
    """This session, for a job, and whether its tab is still open: one in the background is not polled often enough."""
    context = get_script_run_ctx()
    session = context.session_id if context else ""
    return Visitor(session, lambda: Runtime.exists() and Runtime.instance().is_active_session(session))
