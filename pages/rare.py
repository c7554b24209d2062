"""Rare tokens: do they cost more? In a text, in a corpus, and one word swapped for rarer or commoner ones."""

import streamlit as st

from pages.parts import engine, rare_corpus, rare_swap, rare_text, shared_inputs
from pages.parts.page import ask_view, init

ABOUT = (
    "Is a prediction denser when its token is rare? The token that came and the one that the model finds likeliest "
    "are kept apart: a rare token can come where a common one was expected."
)
VIEWS = {"text": "In a text", "corpus": "In a corpus", "swap": "Swap a word"}
PAGE = "rare-"


def main() -> None:
    """The page."""
    init()
    restore()
    st.title("Rare tokens")
    st.caption(ABOUT)
    service = engine.required()
    view = ask_view("View", VIEWS, f"{PAGE}view")
    shared_inputs.complain(PAGE)
    if view == "corpus":
        rare_corpus.show(service)
    elif view == "swap":
        rare_swap.show(service)
    else:
        rare_text.show(service)


def restore() -> None:
    """Sets the widgets from the link, once a session."""
    if f"{PAGE}restored" in st.session_state:
        return
    given = st.query_params
    found = shared_inputs.restore(PAGE, {"text": rare_text.FIRST_TEXT})
    shared_inputs.chosen_of("view", given.get("view"), list(VIEWS), PAGE)
    if "text" not in found and st.session_state.get("text"):
        # What the explorer has is what is asked about.
        st.session_state[f"{PAGE}text"] = st.session_state.text
    st.session_state[f"{PAGE}dataset"] = given.get("dataset", "")
    st.session_state[f"{PAGE}run"] = "text" in found
    rare_swap.restore(given.get("word"), given.get_all("to"))


main()
