"""Compare: several models on the same text, two texts on one model, and the models of a corpus."""

import streamlit as st

from pages.parts import compare_corpus, compare_models, compare_pair, engine, shared_inputs
from pages.parts.page import ask_view, init

ABOUT = (
    "Do models agree on what is dear to predict? And what does one change of a text do? Models are compared word by "
    "word, since their tokens differ; two texts token by token, where their tokens are the same."
)
VIEWS = {"models": "Models on one text", "pair": "Two texts", "corpus": "Models on a corpus"}
PAGE = "compare-"


def main() -> None:
    """The page."""
    init()
    restore()
    st.title("Compare")
    st.caption(ABOUT)
    service = engine.required()
    view = ask_view("Compare", VIEWS, f"{PAGE}view")
    shared_inputs.complain(PAGE)
    if view == "corpus":
        compare_corpus.show()
    elif view == "pair":
        compare_pair.show(service)
    else:
        compare_models.show(service)


def restore() -> None:
    """Sets the widgets from the link, once a session."""
    if f"{PAGE}restored" in st.session_state:
        return
    given = st.query_params
    found = shared_inputs.restore(PAGE, {})
    shared_inputs.chosen_of("view", given.get("view"), list(VIEWS), PAGE)
    models = [name for name in dict.fromkeys(given.get_all("model")) if name.strip() and len(name) < 2000]
    st.session_state[f"{PAGE}models"] = models[: shared_inputs.MOST_MODELS]
    if len(models) > shared_inputs.MOST_MODELS:
        st.session_state[f"{PAGE}restored"].append(
            f"The link names {len(models)} models; the first {shared_inputs.MOST_MODELS} were taken."
        )
    compare_pair.restore(given.get("text"), given.get("second"))
    st.session_state[f"{PAGE}dataset"] = given.get("dataset", "")
    st.session_state[f"{PAGE}run"] = "text" in found


main()
