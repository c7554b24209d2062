"""Results as charts; knows no model and no session."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import altair as alt

from density.colours import CAME_COLOUR, DEPTH_COLOURS, KIND_COLOURS, KIND_NAMES, RUN_COLOURS, ink_on
from density.graph import quarter_of
from density.view import percent, visible

# What is kept, and the dashes of its line.
CURVES = {"trace": [1, 0], "random control": [6, 3], "complement": [2, 3]}
# Sizes where models of 7B to 14B build a prediction up, and where they refine it (s-Trace), and how dark their bands
# are; of the model at hand, nothing says that they are the same.
PHASES = {"construction": (1e-4, 1e-2, 0.05), "refinement": (1e-2, 1.0, 0.1)}
MOST_SOURCES = 30
# Pixels above a plot for the names of the phases, and for that of the size shown.
NAMED, SHOWN = 30, 16
# The series of `compare_chart` that most pages draw.
FULL_AND_TRACE = {name: (run, RUN_COLOURS[run]) for name, run in (("full", "full model"), ("trace", "trace"))}


def compare_chart(
    tokens: Sequence[Mapping[str, Any]],
    series: Mapping[str, tuple[str, str]],
    came: int | None = None,
    dark: bool = False,
) -> alt.LayerChart:
    """Bars of tokens' probabilities in two runs, side by side; the name of the token with id ``came`` stands out.

    Args:
        tokens: With ``text``, ``id`` and a probability under each key of ``series``; ``None`` where it is not known.
        series: The runs' names and colours, by key.
        came: Id of the token that came; ``None`` for none.
        dark: Whether it is for a dark background.
    """
    rows = [
        {
            "rank": rank,
            "token": visible(token["text"]),
            "run": name,
            "probability": token[key],
            "shown": "" if token[key] is None else "<0.1%" if 0 < token[key] < 0.0005 else f"{token[key]:.1%}",
            "ink": CAME_COLOUR if token["id"] == came else ink_on(dark),
            "first": key == next(iter(series)),
        }
        for rank, token in enumerate(tokens, 1)
        for key, (name, _) in series.items()
    ]
    most = max((row["probability"] or 0.0 for row in rows), default=1.0)
    names = [name for name, _ in series.values()]
    scale = alt.Scale(domain=names, range=[colour for _, colour in series.values()])
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("rank:O", axis=None, scale=alt.Scale(paddingInner=0.3)),
        x=alt.X("probability:Q", axis=None, scale=alt.Scale(domain=[0, most * 1.15 or 1.0])),
        tooltip=[
            alt.Tooltip("token:N"),
            alt.Tooltip("run:N", title="in"),
            alt.Tooltip("probability:Q", format=".3%"),
        ],
    )
    offset = alt.YOffset("run:N", sort=names)
    bars = base.mark_bar(cornerRadiusEnd=2).encode(
        yOffset=offset, color=alt.Color("run:N", scale=scale, legend=alt.Legend(orient="top", title=None))
    )
    shares = base.mark_text(align="left", dx=6, fontSize=11).encode(
        yOffset=offset, text="shown:N", color=alt.value(ink_on(dark))
    )
    labels = base.transform_filter("datum.first").mark_text(align="right", dx=-8, limit=110, fontSize=13)
    labels = labels.encode(x=alt.value(0), text="token:N", color=alt.Color("ink:N", scale=None))
    return named_rows(bars, labels, shares, height=36 * len(tokens))


def named_rows(*layers: alt.Chart, height: int) -> alt.LayerChart:
    """Layers of horizontal bars, with room for names on their left.

    ``height`` is that of the rows alone: where the axis and the legend are taken from it, as Streamlit does unless told
    otherwise, a chart of few rows has none.
    """
    chart = layered(*layers, height=height)
    chart.autosize = alt.AutoSizeParams(type="fit-x", contains="padding")
    chart.padding = {"left": 120, "right": 8}
    chart.config = alt.Config(view=alt.ViewConfig(stroke=None))
    return chart


def layered(*layers: alt.Chart, height: int) -> alt.LayerChart:
    """Layers on one another, the first at the bottom."""
    return alt.LayerChart(layer=list(layers), height=height)


def curve_chart(
    points: Sequence[Mapping[str, Any]], fidelity: float, size: float, log: bool = True, dark: bool = False
) -> alt.LayerChart:
    """Fidelity against size: the trace, its controls where they are, the fidelity asked, the size shown, the phases.

    Args:
        points: With ``size`` and ``total_variation``; ``random`` and ``complement`` of the same size if measured.
        fidelity: To be reached.
        size: Of the trace shown.
        log: Whether sizes are on a logarithmic axis, where the empty trace has no place.
        dark: Whether it is for a dark background.
    """
    rows = [row for point in points for row in curve_rows(point) if row["size"] > 0 or not log]
    smallest = min((row["size"] for row in rows if row["size"] > 0), default=1.0)
    low = 10.0 ** min(math.floor(math.log10(min(smallest, size or 1.0)) + 1e-9), -4) if log else 0.0
    x = size_axis("size:Q", low, log)
    y = alt.Y("fidelity:Q", title="fidelity", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=5))
    names, present = list(CURVES), list(dict.fromkeys(row["run"] for row in rows))
    colour = alt.Color(
        "run:N",
        scale=alt.Scale(domain=names, range=[RUN_COLOURS[name] for name in names]),
        legend=alt.Legend(orient="top", title=None, symbolType="circle", values=present, offset=NAMED + SHOWN),
    )
    lines = alt.Chart(alt.Data(values=rows)).encode(
        x=x,
        y=y,
        color=colour,
        tooltip=[
            alt.Tooltip("run:N", title="what is kept"),
            alt.Tooltip("size:Q", format=".3%", title="size of the trace"),
            alt.Tooltip("fidelity:Q", format=".1%"),
            alt.Tooltip("edges:Q", format=",", title="edges kept"),
        ],
    )
    drawn = [
        lines.transform_filter(f"datum.run == '{name}'").mark_line(strokeWidth=2, strokeDash=CURVES[name])
        for name in present
    ]
    shape = alt.Shape("run:N", scale=alt.Scale(domain=names, range=["circle", "square", "triangle-up"]), legend=None)
    drawn.append(lines.mark_point(filled=True, size=45, opacity=1).encode(shape=shape))
    wanted = alt.Chart(alt.Data(values=[{"fidelity": fidelity, "label": f"asked: {fidelity:.0%}"}])).encode(y=y)
    marks = (
        wanted.mark_rule(strokeDash=[5, 4], color=ink_on(dark), opacity=0.7),
        wanted.mark_text(align="left", baseline="bottom", dx=5, dy=-3, color=ink_on(dark)).encode(
            x=alt.value(0), text="label:N"
        ),
    )
    # The size shown is named between the phases' names and the plot.
    return layered(*phases(low, log, dark, up=SHOWN), *marks, *drawn, *size_rule(size, low, log, dark), height=360)


def curve_rows(point: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A point of a curve as rows: the trace, and each control that was measured."""
    found = {"trace": point, "random control": point.get("random"), "complement": point.get("complement")}
    return [
        {
            "run": name,
            "size": point["size"],
            "fidelity": 1 - measured["total_variation"],
            "edges": measured.get("edges_kept", measured["edges"]),
        }
        for name, measured in found.items()
        if measured is not None
    ]


def size_axis(field: str, low: float, log: bool) -> alt.X:
    """The axis of sizes from ``low`` to 1."""
    scale = alt.Scale(type="log" if log else "linear", domain=[low, 1], nice=False)
    axis = alt.Axis(format="~%", tickCount=5, grid=False, labelFlush=True)
    return alt.X(field, title="size, share of the full graph's edges", scale=scale, axis=axis)


def size_rule(size: float, low: float, log: bool, dark: bool) -> list[alt.Chart]:
    """A rule at the size shown; none where the axis has no place for it."""
    if size < low or (log and size <= 0):
        return []
    inner = size > 10 ** (math.log10(low) / 4) if log else size > 0.75
    base = alt.Chart(alt.Data(values=[{"size": size, "label": f"shown: {percent(size)}"}]))
    base = base.encode(x=size_axis("size:Q", low, log))
    text = base.mark_text(align="right" if inner else "left", baseline="bottom", dy=-4, color=ink_on(dark))
    return [
        base.mark_rule(color=ink_on(dark), strokeWidth=1.5),
        text.encode(y=alt.value(0), text="label:N"),
    ]


def phases(low: float, log: bool, dark: bool, up: int = 0) -> list[alt.Chart]:
    """The papers' two phases as bands behind a curve, each with its name, and whose it is, where there is room.

    Names are above the plot, where no curve is, and ``up`` pixels from it; in two lines, to fit a phone.
    """
    rows = [
        {
            **{"start": max(start, low), "end": end, "shade": shade},
            "name": f"{name}\n7B-14B models" if log or end - start > 0.1 else "",
        }
        for name, (start, end, shade) in PHASES.items()
    ]
    base = alt.Chart(alt.Data(values=rows)).encode(x=size_axis("start:Q", low, log))
    bands = base.mark_rect(color=ink_on(dark)).encode(x2="end:Q", opacity=alt.Opacity("shade:Q", scale=None))
    looks: dict[str, Any] = {"fontStyle": "italic", "color": ink_on(dark), "opacity": 0.75}
    names = base.mark_text(align="left", baseline="bottom", dy=-up - 16, y=0, lineBreak="\n", lineHeight=12, **looks)
    return [bands, names.encode(text="name:N")]


def shares_chart(
    sizes: Sequence[float],
    shares: Mapping[str, Sequence[float]],
    colours: Sequence[str],
    size: float,
    dark: bool = False,
) -> alt.LayerChart:
    """What traces are made of, against their size on a logarithmic axis: stacked shares that sum to 1.

    Args:
        sizes: Of the traces, ascending.
        shares: Of each part, by its name, a share for each size; the first is at the bottom.
        colours: Of the parts.
        size: Of the trace shown.
        dark: Whether it is for a dark background.
    """
    order = {name: number for number, name in enumerate(shares)}
    rows = [
        {"size": at, "part": name, "share": share, "order": order[name]}
        for name, column in shares.items()
        for at, share in zip(sizes, column, strict=True)
    ]
    low = min(sizes, default=0.1)
    scale = alt.Scale(domain=list(shares), range=list(colours[: len(shares)]))
    areas = alt.Chart(alt.Data(values=rows)).mark_area(line={"strokeWidth": 0.7}, opacity=0.92)
    areas = areas.encode(
        x=size_axis("size:Q", low, True),
        y=alt.Y("share:Q", stack="zero", title="share of its edges", axis=alt.Axis(format="%", tickCount=5)).scale(
            domain=[0, 1]
        ),
        color=alt.Color("part:N", scale=scale, legend=alt.Legend(orient="top", title=None)),
        order="order:Q",
        tooltip=[
            alt.Tooltip("part:N"),
            alt.Tooltip("size:Q", format=".3%"),
            alt.Tooltip("share:Q", format=".1%"),
        ],
    )
    return layered(areas, *size_rule(size, low, True, dark), height=280)


def kinds_chart(makeup: Mapping[str, Any], size: float, dark: bool = False) -> alt.LayerChart:
    """An explore document's shares by kind."""
    shares = {name: makeup["kinds"][kind] for kind, name in KIND_NAMES.items()}
    return shares_chart(makeup["sizes"], shares, list(KIND_COLOURS.values()), size, dark)


def depths_chart(makeup: Mapping[str, Any], size: float, dark: bool = False) -> alt.LayerChart:
    """An explore document's shares by depth."""
    return shares_chart(makeup["sizes"], depth_shares(makeup), DEPTH_COLOURS, size, dark)


def depth_shares(makeup: Mapping[str, Any]) -> dict[str, list[float]]:
    """An explore document's shares by depth: of those quarters of the layers that have any, see `density.graph`."""
    layers = len(makeup["layers"][0]) if makeup["layers"] else 0
    found = {}
    for _, quarter in groupby(range(layers), lambda layer: quarter_of(layer, layers)):
        members = list(quarter)
        first, last = members[0], members[-1]
        name = f"{first}" if first == last else f"{first}-{last}"
        found[name] = [sum(row[first : last + 1]) for row in makeup["layers"]]
    return found


def heads_chart(heads: Mapping[str, Any], by: str, dark: bool = False) -> alt.Chart:
    """A map of the heads, the first layer at the bottom: how many ``edges``, or how much ``importance``, each has."""
    rows = [
        {"layer": layer, "head": head, "edges": edges, "importance": importance}
        for layer, columns in enumerate(zip(heads["edges"], heads["importance"], strict=True))
        for head, (edges, importance) in enumerate(zip(*columns, strict=True))
        if edges
    ]
    layers, number = len(heads["edges"]), len(heads["edges"][0])
    axis = alt.Axis(labelOverlap=True, labelAngle=0, ticks=False, domain=False)
    chart = alt.Chart(alt.Data(values=rows)).mark_rect(stroke="#16191c" if dark else "#fcfcfb", strokeWidth=1)
    chart = chart.encode(
        x=alt.X("head:O", title="head", axis=axis, scale=alt.Scale(domain=list(range(number)))),
        y=alt.Y("layer:O", title="layer", axis=axis, scale=alt.Scale(domain=list(range(layers))[::-1])),
        color=alt.Color(
            f"{by}:Q",
            scale=alt.Scale(range=["#3b3560", "#b9acff"] if dark else ["#e2dcfa", "#4a33a8"], zero=True),
            legend=alt.Legend(title=by, orient="right", gradientLength=120, tickCount=4),
        ),
        tooltip=[
            alt.Tooltip("layer:O"),
            alt.Tooltip("head:O"),
            alt.Tooltip("edges:Q", format=","),
            alt.Tooltip("importance:Q", format=".3g"),
        ],
    )
    return chart.properties(height=max(180, min(16 * layers, 560))).configure_view(fill=None)


def sources_chart(
    tokens: Sequence[Mapping[str, Any]], sources: Mapping[str, Sequence[float]], by: str, dark: bool = False
) -> alt.LayerChart:
    """Bars of how many ``edges``, or how much ``importance``, read from each token; the most, in the text's order."""
    read = [index for index, edges in enumerate(sources["edges"]) if edges]
    best = sorted(sorted(read, key=lambda index: -sources[by][index])[:MOST_SOURCES])
    rows = [
        {
            "index": index,
            "token": visible(tokens[index]["text"]),
            "edges": sources["edges"][index],
            "importance": sources["importance"][index],
        }
        for index in best
    ]
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("index:O", axis=None, scale=alt.Scale(paddingInner=0.25)),
        x=alt.X(
            f"{by}:Q",
            title="head edges that read it" if by == "edges" else "importance of the head edges that read it",
            axis=alt.Axis(tickCount=5),
        ),
        tooltip=[
            alt.Tooltip("token:N"),
            alt.Tooltip("index:O", title="position"),
            alt.Tooltip("edges:Q", format=","),
            alt.Tooltip("importance:Q", format=".3g"),
        ],
    )
    bars = base.mark_bar(cornerRadiusEnd=2, color=KIND_COLOURS["head"])
    labels = base.mark_text(align="right", dx=-8, limit=110, fontSize=12, color=ink_on(dark))
    labels = labels.encode(x=alt.value(0), text="token:N")
    return named_rows(bars, labels, height=20 * len(rows))
