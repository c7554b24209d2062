"""A circuit as files: GraphML and node-link JSON, an interactive page in one piece, and a drawing as SVG or PNG.

Everything is made from a document in the schema ``density.explore/1``, so that no model is needed. Texts come from
outside: in every file they are text, never markup. Nothing is fetched, neither when a file is made nor when it is
opened.
"""

import html
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt
import networkx as nx

from density.colours import KIND_COLOURS
from density.layout import drawn_in_words, lay_out, place
from density.view import percent, quoted, visible

KINDS = {"residual": "residual", "head": "attention head", "mlp": "MLP"}
# Pixels between columns and between depths in the drawing: as much as fits, within these.
WIDTH, HEIGHT = 1100, 760
COLUMN_PIXELS, DEPTH_PIXELS = (12, 90), (7, 26)
# The same on the page, before it is zoomed to fit.
PAGE_COLUMN, PAGE_DEPTH, PAGE_FONT = (140, 700), 60, (12, 40)
STATE_COLOUR = "#23272b"
# The most an edge bends, in columns; the first bends by half of that.
BEND = 0.44
# What a page that leaves here may do: run its own scripts and show its own pictures; no request is ever made.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
# What pyvis asks a network for, even when everything is to be in line.
FROM_ELSEWHERE = re.compile(r"<(?:link|script)\b[^>]*?(?:href|src)\s*=[^>]*>(?:\s*</script>)?")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
POPUP = "popup.innerHTML = nodeData[0].title"
MOVED = re.compile(r"translate\(([-\d.e]+)")
# A character of the widest usual sans-serif fonts, Verdana and DejaVu Sans, bold, on average: in sizes of the font.
EM = 0.7
# Not characters of XML, and those that its readers change.
NOT_XML = re.compile("[^\t -\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def graph(found: Mapping[str, Any]) -> nx.MultiDiGraph:
    """The circuit as a graph: states with their token and depth, edges with what they are, all values scalars.

    Its own attributes are what it takes to repeat it, and which trace it is of.
    """
    circuit = found["circuit"]
    made = nx.MultiDiGraph(
        **{name: found[name] for name in ("schema", "model", "revision", "rule", "precision", "device", "versions")},
        **{name: found["trace"][name] for name in ("size", "edges", "threshold", "fidelity")},
        position=found["position"],
        edges_left_out=circuit["edges_left_out"],
        text=found["text"],
    )

    def add(state: Mapping[str, int]) -> str:
        name = f"{state['depth']}/{state['position']}"
        made.add_node(name, **state, token=found["tokens"][state["position"]]["text"])
        return name

    add(circuit["output"])
    for edge in circuit["edges"]:
        optional = {name: edge[name] for name in ("head", "expert") if edge[name] is not None}
        made.add_edge(
            add(edge["source"]),
            add(edge["target"]),
            key=edge["name"],
            kind=edge["write"],
            layer=edge["layer"],
            importance=edge["importance"],
            entry=edge["entry"],
            **optional,
        )
    return made


def node_link(found: Mapping[str, Any]) -> dict[str, Any]:
    """The circuit as NetworkX's node-link data."""
    return nx.node_link_data(graph(found), edges="edges")


def graphml(found: Mapping[str, Any]) -> str:
    """The circuit as GraphML; texts as JSON strings, since XML cannot hold every character, and versions as JSON."""
    made = graph(found)
    for _, node in made.nodes(data=True):
        node["token"] = xml_safe(quoted(node["token"]))
    for name, value in made.graph.items():
        if not isinstance(value, int | float):
            made.graph[name] = xml_safe(quoted(value))
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return head + "\n".join(nx.generate_graphml(made, named_key_ids=True))


def xml_safe(text: str) -> str:
    """A JSON string with what XML cannot hold escaped as JSON does."""
    return NOT_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def circuit_html(found: Mapping[str, Any]) -> str:
    """The circuit as one page to be opened offline: drag, zoom, hover; made with pyvis, everything in line."""
    # Imports IPython, which takes a second.
    from pyvis.network import Network

    tokens = [token["text"] for token in found["tokens"]]
    laid = lay_out(found["circuit"], tokens)
    page = Network(height="86vh", directed=True, cdn_resources="in_line")
    column = (
        held(PAGE_DEPTH * laid["depths"] * 1.5 / laid["columns"][-1]["x"], PAGE_COLUMN) if laid["columns"][1:] else 0
    )
    for number, state in enumerate(laid["states"]):
        page.add_node(
            number,
            label=shortened(visible(tokens[state["position"]])) if state["depth"] == 0 else " ",
            title=state["name"],
            x=column * state["x"],
            y=-PAGE_DEPTH * state["y"],
            size=18 if number == laid["output"] else 12 if state["depth"] == 0 else 7,
            font={"size": held(laid["depths"] * 2 / 3, PAGE_FONT)},
            color=STATE_COLOUR,
        )
    for edge, source, target, bend in zip(
        found["circuit"]["edges"], laid["edges"]["source"], laid["edges"]["target"], laid["edges"]["bend"], strict=True
    ):
        # Roundness is a share of an edge's length, and edges between tokens are long.
        roundness = (2.0 if edge["query"] == edge["key"] else 0.2) * abs(bent(bend))
        curve = {"enabled": True, "type": "curvedCCW" if bend > 0 else "curvedCW", "roundness": roundness}
        page.add_edge(
            source,
            target,
            title=edge_title(edge),
            width=0.5 + 6 * edge["importance"],
            color=KIND_COLOURS[edge["kind"]],
            smooth=curve if bend else False,
            arrows={"to": {"enabled": True, "scaleFactor": 0.3}},
        )
    quick = {"hover": True, "tooltipDelay": 60, "hideEdgesOnDrag": len(found["circuit"]["edges"]) > 1000}
    page.set_options(json.dumps({"physics": {"enabled": False}, "interaction": quick}))
    return sealed(page.generate_html(), found)


def edge_title(edge: Mapping[str, Any]) -> str:
    """An edge in words, a line each."""
    return f"{edge['name']}\n{KINDS[edge['kind']]}\nimportance {edge['importance']:.3g}\nenters at {edge['entry']:.3g}"


def sealed(page: str, found: Mapping[str, Any]) -> str:
    """What pyvis made, with what it says about itself, asking nobody for anything and taking titles as text alone."""
    # Its own code holds no tag of this kind; texts are in JSON, with every "<" escaped.
    page = FROM_ELSEWHERE.sub("", COMMENT.sub("", page))
    page = page.replace(POPUP, "popup.textContent = nodeData[0].title")
    head = (
        f'<!doctype html>\n<html lang="en"><head><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>Circuit</title><style>{PAGE_STYLE}</style>"
    )
    page = page.replace("<html>", "", 1).replace("<head>", head, 1)
    return page.replace("<body>", f"<body>{about_html(found)}", 1)


PAGE_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:12px;color:#23272b}"
    "p{margin:0 0 6px}center{display:none}.vis-tooltip{white-space:pre-line!important}"
)


def about_html(found: Mapping[str, Any]) -> str:
    """What a circuit is and what made it, in three lines of HTML."""
    kinds = ", ".join(f'<b style="color:{KIND_COLOURS[kind]}">{name}</b>' for kind, name in KINDS.items())
    made = html.escape("; ".join(provenance(found)))
    edges = f"Edges: {kinds}; the wider, the more important."
    return f"<p>{html.escape(describe(found))}</p><p>{edges}</p><p><small>{made}.</small></p>"


def describe(found: Mapping[str, Any]) -> str:
    """What a circuit is, in a sentence or two."""
    circuit, position = found["circuit"], found["position"]
    seen = found["tokens"][position]["text"]
    likeliest = found["trace"]["top_tokens"][0]
    left = circuit["edges_left_out"]
    return (
        f"{isolated(found['model'])}: the {len(circuit['edges'])} edges that enter the trace first, of the prediction "
        f"after “{isolated(seen)}” (token {position}); {left:,} more edges of the trace are left out. The whole trace, "
        f"{percent(found['trace']['size'])} of the graph, keeps {found['trace']['fidelity']:.1%} of the prediction; "
        f"alone it finds “{isolated(likeliest['text'])}” likeliest."
    )


def isolated(text: str) -> str:
    """A text from outside within a sentence, whose direction it cannot change."""
    return f"\N{FIRST STRONG ISOLATE}{visible(text)}\N{POP DIRECTIONAL ISOLATE}"


def circuit_chart(found: Mapping[str, Any]) -> alt.TopLevelMixin:
    """The circuit drawn on the grid of tokens and depths: the input at the bottom, the prediction at the top."""
    laid = lay_out(found["circuit"], [token["text"] for token in found["tokens"]])
    columns, states = laid["columns"], laid["states"]
    right = columns[-1]["x"]
    column = held(WIDTH / (right + 1), COLUMN_PIXELS)
    depth = held(HEIGHT / (laid["depths"] + 1), DEPTH_PIXELS)
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-0.5, right + 0.5], nice=False))
    numbers = {at: label for at, label in laid["ticks"]}
    # At most about twenty layers are named.
    named = [at for at in numbers if int(numbers[at]) % (1 + len(numbers) // 20) == 0]
    axis = alt.Axis(values=named, labelExpr=f"{json.dumps(numbers)}[datum.value]", grid=False, domain=False)
    scale = alt.Scale(domain=[-0.5, laid["depths"] + 0.5], nice=False)
    y = alt.Y("y:Q", title="after layer", axis=axis, scale=scale)
    edges = alt.Chart(alt.Data(values=edge_rows(found["circuit"]["edges"], laid))).mark_line(
        interpolate="basis", opacity=0.6
    )
    kinds = alt.Scale(domain=list(KINDS.values()), range=[KIND_COLOURS[kind] for kind in KINDS])
    edges = edges.encode(
        x=x,
        y=y,
        detail="edge:N",
        order="step:O",
        color=alt.Color("kind:N", scale=kinds, legend=alt.Legend(title="edge", orient="right")),
        strokeWidth=alt.StrokeWidth("importance:Q", scale=alt.Scale(domain=[0, 1], range=[0.4, 5]), legend=None),
    )
    marks = [{"x": state["x"], "y": state["y"], "output": n == laid["output"]} for n, state in enumerate(states)]
    points = alt.Chart(alt.Data(values=marks)).mark_point(filled=True, opacity=1, color=STATE_COLOUR)
    points = points.encode(x=x, y=y, size=alt.condition("datum.output", alt.value(90), alt.value(14)))
    words = [{"x": one["x"], "token": shortened(one["token"])} for one in columns]
    texts = alt.Chart(alt.Data(values=words)).mark_text(align="right", angle=315, dx=-4, dy=6, fontSize=11)
    texts = texts.encode(x=x, y=alt.value(depth * (laid["depths"] + 1)), text="token:N")
    size = {"width": column * (right + 1), "height": depth * (laid["depths"] + 1)}
    return alt.layer(edges, points, texts).properties(**size, padding={"left": 40, "bottom": 60, "top": 8, "right": 8})


def edge_rows(edges: Sequence[Mapping[str, Any]], laid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Two points an edge, three where it bends."""
    x = {place(state): state["x"] for state in laid["states"]}
    rows = []
    for number, (edge, bend) in enumerate(zip(edges, laid["edges"]["bend"], strict=True)):
        ends = [(x[place(edge[end])], edge[end]["depth"]) for end in ("source", "target")]
        middle = ((ends[0][0] + ends[1][0]) / 2 + bent(bend), (ends[0][1] + ends[1][1]) / 2)
        path = [ends[0], middle, ends[1]] if bend else ends
        same = {"edge": number, "kind": KINDS[edge["kind"]], "importance": edge["importance"]}
        rows += [{**same, "step": step, "x": at, "y": depth} for step, (at, depth) in enumerate(path)]
    return rows


def bent(bend: int) -> float:
    """How far an edge leaves the straight line, in columns: further the larger ``bend``, never more than `BEND`."""
    return BEND * bend / (abs(bend) + 1)


def held(value: float, bounds: tuple[float, float]) -> float:
    """``value``, or the bound it is beyond."""
    return min(max(value, bounds[0]), bounds[1])


def shortened(text: str, most: int = 18) -> str:
    """``text``, its end left out where it is longer."""
    return text if len(text) <= most else text[: most - 1] + "…"


def provenance(found: Mapping[str, Any]) -> list[str]:
    """What it takes to repeat an exploration, in two lines: what made it, and which trace it is of."""
    trace = found["trace"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return [
        f"{visible(found['model'])}, revision {visible(found['revision'])[:12]}, {found['precision']}, rule "
        f"{found['rule']}; {versions}",
        f"After “{visible(found['tokens'][found['position']]['text'])}” (token {found['position']}): the trace of "
        f"{trace['edges']:,} of {found['edges_full']:,} edges ({percent(trace['size'])}), threshold "
        f"{trace['threshold']:.3g}, fidelity {trace['fidelity']:.1%}",
    ]


def captioned(chart: alt.TopLevelMixin, found: Mapping[str, Any], *more: str) -> alt.TopLevelMixin:
    """A chart of an exploration, with its provenance written below, and ``more`` lines."""
    looks: dict[str, Any] = {"orient": "bottom", "anchor": "start", "fontSize": 9, "fontWeight": "normal"}
    return chart.properties(title=alt.TitleParams([*provenance(found), *more], offset=12, **looks))


def captioned_circuit(found: Mapping[str, Any]) -> alt.TopLevelMixin:
    """The circuit's drawing, with its provenance and how much of the trace is drawn."""
    return captioned(circuit_chart(found), found, drawn_in_words(found["circuit"]))


def svg(chart: alt.TopLevelMixin) -> str:
    """A chart as SVG, made without a browser and without a request; with room for its texts in other fonts."""
    import vl_convert

    return widened(vl_convert.vegalite_to_svg(chart.to_dict(), allowed_base_urls=[]))


def widened(drawn: str) -> str:
    """A drawing as wide as the fonts of whoever opens it may make it: it is laid out with those found here."""
    root = ElementTree.fromstring(drawn)
    width = float(root.get("width", 0))
    wide = max([width, *(math.ceil(end) for end in ends(root, 0.0))])
    # Its own width, and that of its background.
    drawn = drawn.replace(f' width="{width:g}"', f' width="{wide:g}"', 2)
    return drawn.replace(f'viewBox="0 0 {width:g} ', f'viewBox="0 0 {wide:g} ', 1)


def ends(element: ElementTree.Element, x: float) -> Iterator[float]:
    """How far to the right the texts in ``element``, which is at ``x``, may reach: those written on from a place."""
    moved = MOVED.match(element.get("transform", ""))
    x += float(moved[1]) if moved else 0.0
    if element.get("text-anchor") == "start" and "rotate" not in element.get("transform", ""):
        lines = [line for line in element.itertext() if line.strip()]
        yield x + max(map(len, lines), default=0) * EM * float(element.get("font-size", "11px").removesuffix("px"))
    for inner in element:
        yield from ends(inner, x)


def png(chart: alt.TopLevelMixin, scale: float = 2.0) -> bytes:
    """A chart as PNG, likewise; ``scale`` pixels of it for each of the page's."""
    import vl_convert

    return vl_convert.vegalite_to_png(chart.to_dict(), scale=scale, allowed_base_urls=[])
