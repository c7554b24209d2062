"""The trace as a graph on the grid of tokens and depths, a component of our own; assets/circuit has how it behaves."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from density.colours import KIND_COLOURS
from density.layout import drawn_in_words, find, first, lay_out, picked, signature
from density.serving.question import Question
from density.view import visible
from pages.parts import viewing
from pages.parts.page import ASSETS, KEPT
from pages.parts.picked import show_picked

if TYPE_CHECKING:
    from density.serving.service import Service

CIRCUIT_HELP = (
    "The states (circles) of the trace at each token and depth, the embeddings below and the prediction above, and the "
    "edges between them, wider the more important. "
    "Only the first edges to enter the trace are drawn; they are a trace too, connected to the prediction."
)
MOST_HELP = (
    "At most how many edges to draw, here and in every file, those that enter first as the threshold falls. Edges that "
    "enter together are drawn together."
)

mount = st.components.v2.component(
    "density_circuit",
    js=(ASSETS / "circuit" / "component.js").read_text(encoding="utf-8"),
    css=(ASSETS / "circuit" / "component.css").read_text(encoding="utf-8"),
)


def ask_most(found: Mapping[str, Any]) -> dict[str, Any]:
    """An exploration with as much of its circuit as is to be drawn, here and in every file."""
    from density.explore import DRAWN

    heading, choice = st.columns([3, 2], vertical_alignment="bottom")
    heading.subheader("Circuit", help=CIRCUIT_HELP)
    st.session_state.setdefault("circuit-most", DRAWN)
    with choice:
        most = st.select_slider("Edges to draw", sorted(viewing.MOST_DRAWN), key="circuit-most", help=MOST_HELP, **KEPT)
    return {**found, "circuit": first(found["circuit"], most)}


@st.fragment
def show(service: "Service", question: Question, found: Mapping[str, Any]) -> None:
    """The circuit of an exploration, and below it what is picked in it.

    Args:
        service: To be asked for more.
        question: What ``found`` answers.
        found: In the schema ``density.explore/1``.
    """
    circuit = found["circuit"]
    about = [question.model, question.text, question.rule, found["position"]]
    laid = lay_out(circuit, [token["text"] for token in found["tokens"]])
    name = signature(laid)

    def choose() -> None:
        chosen = picked(st.session_state["circuit-graph"].get("picked"), name, laid, circuit)
        if chosen is not None:
            st.session_state["circuit-picked"] = (about, chosen)

    viewing.pick_linked(about, circuit)
    viewing.publish()
    of, chosen = st.session_state.get("circuit-picked", (None, None))
    place = find(chosen, laid, circuit) if of == about else None
    data = {
        "circuit": name,
        "drawing": laid,
        "colours": KIND_COLOURS,
        "said": drawn_in_words(circuit),
        "predicts": visible(found["full"]["top_tokens"][0]["text"]),
        "picked": place,
    }
    # The browser gets strict JSON or nothing.
    json.dumps(data, allow_nan=False)
    mount(key="circuit-graph", data=data, on_picked_change=choose)
    if place is None:
        st.caption("Click a state or an edge to look into it; with keys: Tab to the graph, arrows, Enter.")
        return
    show_picked(service, question, found, circuit, chosen, lambda edge: choose_edge(about, edge))


def choose_edge(about: list[Any], edge: Mapping[str, Any]) -> None:
    """Picks an edge of the circuit, from a list instead of the graph."""
    st.session_state["circuit-picked"] = (about, {"edge": edge})
