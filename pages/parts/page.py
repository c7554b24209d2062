"""What every page begins with, and text from outside made safe to show."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from density.errors import BadInput
from density.limits import limits
from pages.parts.serve import know_address

ASSETS = Path(__file__).resolve().parents[2] / "assets"
TITLE = "Density explorer"
ABOUT = (
    "Each token is tinted by the density of predicting it: the share of the model's computation graph that, replayed "
    "alone, still makes the same prediction to the fidelity you set."
)
# Of widgets whose values outlive a visit to another page. Every widget that is set by code has it: what a run said is
# lost if a click interrupts it, and a browser that was not told shows a widget at its first value.
KEPT: dict[str, Any] = {"persist_state": "session"}
PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


def init() -> None:
    """The first call of app.py and of every page: one opened by its own address may run without app.py."""
    st.set_page_config(page_title=TITLE, page_icon=str(ASSETS / "logo.svg"), layout="wide")
    st.logo(str(ASSETS / "logo.svg"), size="large")
    know_address()
    try:
        limits()
    except BadInput as error:
        st.error(
            f"This server is not open: {literal(str(error))} Whoever runs it has to change that and start it again."
        )
        st.stop()


def ask_view(label: str, views: Mapping[str, str], key: str) -> str:
    """Which of a page's ``views``, by their names for people; the first, or what the session has under ``key``."""
    chosen = st.segmented_control(
        *(label, list(views)),
        format_func=views.__getitem__,
        key=key,
        required=True,
        label_visibility="collapsed",
        **KEPT,
    )
    return chosen or next(iter(views))


def dark() -> bool:
    """Whether charts are on a dark page."""
    return st.context.theme.type == "dark"


def show_metrics(numbers: Mapping[str, tuple[str, str]]) -> None:
    """Numbers in a row, as many as fit, each with its definition."""
    with st.container(horizontal=True, gap="medium"):
        for label, (value, definition) in numbers.items():
            st.metric(label, value, help=definition, width="content")


def go_to(page: str, name: str) -> None:
    """Goes to the page in ``pages/`` whose ``name`` is in the list of pages."""
    try:
        st.switch_page(f"pages/{page}.py")
    except StreamlitAPIException:
        # This page was opened by its own address before app.py had named the others.
        st.info(f"It is ready: go to {name}, in the list of pages.")


def literal(text: str) -> str:
    """``text`` for a Markdown element that shows it as it is: no formatting, no links, and no image is fetched.

    It cannot change the direction of what is around it, either.
    """
    return "\N{FIRST STRONG ISOLATE}" + PUNCTUATION.sub(r"\\\1", text) + "\N{POP DIRECTIONAL ISOLATE}"


def sentence(error: Exception | str) -> str:
    """An error's message, which begins with a small letter as the command line has it, as a sentence of its own."""
    message = str(error)
    return message[:1].upper() + message[1:]


def file_name(model: str) -> str:
    """The beginning of a file's name: letters, digits, points and hyphens."""
    return "density-" + "".join(c if c.isalnum() or c in "-." else "-" for c in model)[-40:]
