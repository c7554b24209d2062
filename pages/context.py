"""Context: one prediction with more and more of the text before it, and a corpus by context length."""

import streamlit as st

from pages.parts import context_corpus, context_growth, engine
from pages.parts.page import ask_view, init

ABOUT = (
    "Does context make a prediction cheaper? The same token is predicted again and again, with more and more of the "
    "text before it; or all predictions of a corpus are put in order by how much they see."
)
VIEWS = {"text": "One prediction", "corpus": "A corpus"}


def main() -> None:
    """The page."""
    init()
    context_growth.restore(list(VIEWS))
    st.title("Context")
    st.caption(ABOUT)
    service = engine.required()
    view = ask_view("Look at", VIEWS, "context-view")
    if view == "corpus":
        context_corpus.show()
    else:
        context_growth.show(service)


main()
