"""What is typed into a text box, handed over at every pause instead of only when the box is left."""

from collections.abc import Callable

import streamlit as st

from density.serving.question import link_key
from pages.parts.page import ASSETS

mount = st.components.v2.component(
    "density_textbox", js=(ASSETS / "textbox" / "component.js").read_text(encoding="utf-8")
)


def live_text_area(
    label: str,
    key: str,
    missing: str | None = None,
    put_back: Callable[[object], None] = lambda found: None,
    run: Callable[[], None] = lambda: None,
    **options: object,
) -> str:
    """Streamlit's text area, read at every pause in the typing; without scripts, when it is left, as ever.

    Args:
        label: Of the text area.
        key: Of its text in the session.
        missing: What stands in the page's link for a text that is nowhere here.
        put_back: Called with what the browser's tab kept of a text box under that key, before the page was loaded
            anew; it comes from a browser, and may be anything.
        run: Called when Ctrl and Enter are pressed in it, after its text was handed over.
        options: Of the text area.
    """
    with st.container(gap=None):
        text: str = st.text_area(label, key=key, **options)  # type: ignore[call-overload]
        mount(
            key=f"{key}-live",
            data={"label": label, "kept": link_key(text), "missing": missing},
            on_found_change=lambda: put_back(st.session_state[f"{key}-live"].get("found")),
            on_run_change=run,
        )
    return text
