"""Files of what is on the page: made when they are asked for, and the lines of Python that repeat it."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from density.report import charts, python_lines, report
from density.takehome import captioned, captioned_circuit, circuit_html, graphml, node_link, png, svg
from pages.parts.page import file_name
from pages.parts.results import HELP

if TYPE_CHECKING:
    from density.serving.service import Service

REPORT_HELP = (
    "One page with the text, the table, the drawings, the settings and what the numbers mean; it opens offline and "
    "asks nobody for anything."
)
CIRCUIT_HELP = {
    "Interactive HTML": "The circuit to drag, zoom and hover, in one file that opens offline.",
    "SVG": "The circuit drawn on the grid of tokens and layers.",
    "PNG": "The same drawing as pixels.",
    "GraphML": "The circuit's states and edges for Gephi, yEd, Cytoscape or NetworkX; tokens are JSON strings.",
    "Node-link JSON": "The circuit's states and edges as NetworkX's node-link data.",
    "Exploration JSON": "The whole document that the drawings are made from: schema density.explore/1.",
}
CHART_HELP = "A drawing of the trace shown, for a light background."
PYTHON_HELP = (
    "Run where this project is installed: they print the documents that this page shows, without the points of the "
    "curve, which are in the exploration's own file."
)


def show(service: "Service", document: Mapping[str, Any], found: Mapping[str, Any] | None) -> None:
    """What can be taken home.

    Args:
        service: Whose serialiser writes JSON.
        document: The profile, in the schema ``density.profile/1``.
        found: The exploration of the prediction selected, ``density.explore/1``, with the points of its ``curve`` that
            have been measured; ``None`` for none.
    """
    with st.expander("Take it home"):
        name = file_name(document["model"])
        with st.container(horizontal=True):
            offer("HTML report", lambda: report(document, found, HELP), f"{name}.html", "text/html", REPORT_HELP)
        if found is None:
            st.caption("Choose a token: its circuit and its charts can be saved too.")
        else:
            show_circuit(service, found, f"{name}-{found['position']}")
            show_charts(document, found, f"{name}-{found['position']}")
        st.markdown("**The lines of Python that repeat it**", help=PYTHON_HELP)
        st.code(python_lines(document, found), language="python", wrap_lines=True)


def show_circuit(service: "Service", found: Mapping[str, Any], name: str) -> None:
    """The circuit's files."""
    st.markdown("**The circuit**")
    files: dict[str, tuple[Callable[[], str | bytes], str, str]] = {
        "Interactive HTML": (lambda: circuit_html(found), "circuit.html", "text/html"),
        "SVG": (lambda: svg(captioned_circuit(found)), "circuit.svg", "image/svg+xml"),
        "PNG": (lambda: png(captioned_circuit(found)), "circuit.png", "image/png"),
        "GraphML": (lambda: graphml(found), "circuit.graphml", "application/xml"),
        "Node-link JSON": (lambda: service.dumps(node_link(found)), "circuit.json", "application/json"),
        "Exploration JSON": (lambda: service.dumps(dict(found)), "explore.json", "application/json"),
    }
    with st.container(horizontal=True):
        for label, (make, ending, kind) in files.items():
            offer(label, make, f"{name}-{ending}", kind, CIRCUIT_HELP[label], key=f"take-{ending}")


def show_charts(document: Mapping[str, Any], found: Mapping[str, Any], name: str) -> None:
    """The charts' files, of one chart at a time."""
    drawn = charts(document, found)
    chosen = st.selectbox("Chart", list(drawn), key="take-chart", help=CHART_HELP) or next(iter(drawn))

    def chart() -> Any:
        return captioned(drawn[chosen](), found)

    ending = "".join(c if c.isalnum() else "-" for c in chosen.lower())
    with st.container(horizontal=True):
        offer("Chart as SVG", lambda: svg(chart()), f"{name}-{ending}.svg", "image/svg+xml", CHART_HELP)
        offer("Chart as PNG", lambda: png(chart()), f"{name}-{ending}.png", "image/png", CHART_HELP)


def offer(
    label: str, make: Callable[[], str | bytes], name: str, kind: str, definition: str, key: str | None = None
) -> None:
    """A button that makes a file when it is pressed."""
    st.download_button(label, make, name, kind, key=key, help=definition, on_click="ignore")
