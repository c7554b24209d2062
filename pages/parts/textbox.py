"""What is typed into a text box, handed over at every pause instead of only when the box is left."""

import streamlit as st

from pages.parts.page import ASSETS

mount = st.components.v2.component(
    "density_textbox", js=(ASSETS / "textbox" / "component.js").read_text(encoding="utf-8")
)


def live_text_area(label: str, key: str, **options: object) -> str:
    """Streamlit's text area, read at every pause in the typing; without scripts, when it is left, as ever."""
    with st.container(gap=None):
        text: str = st.text_area(label, key=key, **options)  # type: ignore[call-overload]
        mount(key=f"{key}-live", data={"label": label})
    return text
