"""The text of a profile as HTML without a script, every token in its colour: in reports, and before a page is there.

Texts come from outside: they are text here, never markup, with marks for what cannot be seen.
"""

from collections.abc import Mapping
from html import escape
from typing import Any

from density.colours import ink, legend, tint
from density.view import cells

STYLE = """
.text { line-height: 2.1 } .text span { padding: 0.15em 0.1em; border-radius: 0.2em; white-space: pre-wrap }
.text i { font-style: normal; opacity: 0.65; font-size: 0.85em }
.scale { display: flex; width: 16rem } .scale b { flex: 1; height: 0.8rem }
.ticks { display: flex; width: 16rem; justify-content: space-between; font-size: 0.8rem }
"""


def text(document: Mapping[str, Any]) -> str:
    """The text, every token in its colour, and the scale."""
    found = {prediction["position"]: prediction for prediction in document["predictions"]}
    spans = [span(cell, found.get(cell["position"])) for cell in cells(document) if cell["pieces"]]
    scale = legend()
    strip = "".join(f'<b style="background:{colour}"></b>' for colour in scale["colours"])
    ticks = "".join(f"<span>{label}</span>" for _, label in scale["ticks"])
    return f'<p class="text">{"".join(spans)}</p><div class="scale">{strip}</div><div class="ticks">{ticks}</div>'


def span(cell: Mapping[str, Any], prediction: Mapping[str, Any] | None) -> str:
    """A token; its numbers appear where the pointer rests on it."""
    colours = ""
    if prediction is not None:
        background = tint(prediction["density"])
        colours = f' style="background:{background};color:{ink(background)}"'
    shown = "".join(f"<i>{escape(mark)}</i>" if mark else escape(piece) for piece, mark in cell["pieces"])
    following = " &#8594; " if cell["following"] else ""
    return (
        f'{following}<span{colours} title="{escape(cell["label"])}"><bdi>{shown}</bdi></span>' + "<br>" * cell["breaks"]
    )
