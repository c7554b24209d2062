"""What context does, drawn: one prediction as its context grows, and a corpus by context length."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from density.charts import layered, size_axis
from density.colours import RUN_COLOURS, ink_on
from density.lengths import Bin, Correlations
from density.measures import MEASURES, NATS_SCALE
from density.statistics import Estimate
from density.view import percent, visible

LENGTH_TITLE = "context, tokens of the text"
# A trace's size and the distances of traces; how a whole model's predictions differ; nats.
SIZE_COLOUR, MODEL_COLOUR, NATS_COLOUR = RUN_COLOURS["trace"], RUN_COLOURS["full model"], NATS_SCALE[5]
BAR = 0.1


def length_axis(lengths: Sequence[int]) -> alt.X:
    """The axis of context lengths, on a log scale, with a tick at each length measured."""
    ends = [min(lengths, default=1) / 1.25, max(lengths, default=1) * 1.25]
    axis = alt.Axis(values=sorted(set(lengths)), format="d", grid=False, labelOverlap="greedy")
    return alt.X(
        "length:Q", title=LENGTH_TITLE, scale=alt.Scale(type="log", base=2, domain=ends, nice=False), axis=axis
    )


def step_rows(steps: Sequence[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    """One number of every step, as rows of a chart; ``below`` is the failing end of the density's bracket.

    Args:
        steps: As `density.serving.contexts.growing` yields them.
        name: ``distance``, or one of the prediction's numbers.
    """
    rows = []
    for step in steps:
        prediction = step["prediction"]
        value = step["distance"] if name == "distance" else prediction.get(name)
        if value is None:
            continue
        below = prediction["below"] if name == "density" else None
        best = prediction["top_tokens"][0]
        rows.append(
            {
                "length": step["length"],
                "value": value,
                "below": value if below is None else below["size"],
                "shown": f"{value:.2f} nats" if name in MEASURES and MEASURES[name].nats else percent(value),
                "top": f"{visible(best['text'])} {percent(best['probability'])}",
            }
        )
    return rows


def growth_chart(
    steps: Sequence[Mapping[str, Any]], name: str, title: str, enough: int | None = None, dark: bool = False
) -> alt.LayerChart:
    """One number against context length: shares from 0 to 100%, or nats; the density with its bracket.

    Args:
        steps: As far as they have been measured.
        name: See `step_rows`.
        title: Of the axis.
        enough: A length to mark, see `density.context.enough`.
        dark: Whether it is for a dark background.
    """
    rows = step_rows(steps, name)
    nats = name in MEASURES and MEASURES[name].nats
    colour = NATS_COLOUR if nats else MODEL_COLOUR if name == "distance" else SIZE_COLOUR
    scale = alt.Scale(domainMin=0) if nats else alt.Scale(domain=[0, 1])
    axis = alt.Axis(tickCount=5) if nats else alt.Axis(format="%", tickCount=5)
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=length_axis([step["length"] for step in steps]),
        y=alt.Y("value:Q", title=title, scale=scale, axis=axis),
        tooltip=[
            alt.Tooltip("length:Q", title="context, tokens"),
            alt.Tooltip("shown:N", title=title),
            alt.Tooltip("top:N", title="likeliest token"),
        ],
    )
    drawn = [
        base.mark_line(strokeWidth=2, color=colour),
        base.mark_point(filled=True, size=55, opacity=1, color=colour),
    ]
    if name == "density":
        drawn.insert(0, base.mark_rule(strokeWidth=5, opacity=0.35, color=colour).encode(y2="below:Q"))
    if enough is not None:
        mark = alt.Chart(alt.Data(values=[{"length": enough}])).encode(
            x=length_axis([step["length"] for step in steps])
        )
        drawn.insert(0, mark.mark_rule(strokeDash=[5, 4], color=ink_on(dark), opacity=0.7))
    return layered(*drawn, height=230)


def curves_chart(steps: Sequence[Mapping[str, Any]]) -> alt.LayerChart:
    """Total variation against size after a sweep, a line for each context length: the longer, the darker."""
    rows = [
        {"length": step["length"], "size": point["size"], "value": point["total_variation"]}
        for step in steps
        for point in step["prediction"].get("curve", ())
    ]
    low = min((row["size"] for row in rows), default=1e-4)
    lengths = sorted({row["length"] for row in rows})
    shades = [0.25 + 0.75 * index / max(len(lengths) - 1, 1) for index in range(len(lengths))]
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=size_axis("size:Q", low, True),
        y=alt.Y("value:Q", title="total variation", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=5)),
        opacity=alt.Opacity(
            "length:O",
            scale=alt.Scale(domain=lengths, range=shades),
            legend=alt.Legend(orient="top", title="context, tokens", symbolType="stroke", symbolStrokeWidth=3),
        ),
        tooltip=[
            alt.Tooltip("length:O", title="context, tokens"),
            alt.Tooltip("size:Q", format=".3%"),
            alt.Tooltip("value:Q", format=".3f", title="total variation"),
        ],
    )
    return layered(base.mark_line(strokeWidth=2, color=SIZE_COLOUR), height=300)


def bins_chart(bins: Sequence[Bin], title: str, nats: bool = False) -> alt.LayerChart:
    """The mean by context length with its 95% interval, where there are texts enough for one."""
    rows = [
        {
            "length": one.name,
            "value": one.mean.value,
            "low": one.mean.low,
            "high": one.mean.high,
            "predictions": one.mean.n,
            "texts": one.mean.groups,
        }
        for one in bins
        if one.mean.value is not None
    ]
    scale = alt.Scale(zero=True) if nats else alt.Scale(domain=[0, 1])
    axis = alt.Axis(tickCount=5) if nats else alt.Axis(format="%", tickCount=5)
    number = ".2f" if nats else ".1%"
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("length:O", sort=None, title="context, tokens", axis=alt.Axis(labelAngle=0)),
        tooltip=[
            alt.Tooltip("length:O", title="context, tokens"),
            alt.Tooltip("value:Q", format=number, title="mean"),
            alt.Tooltip("low:Q", format=number, title="interval from"),
            alt.Tooltip("high:Q", format=number, title="to"),
            alt.Tooltip("predictions:Q", format=","),
            alt.Tooltip("texts:Q", format=","),
        ],
    )
    y = alt.Y("value:Q", title=title, scale=scale, axis=axis)
    colour = NATS_COLOUR if nats else SIZE_COLOUR
    ranges = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=5, opacity=0.4, color=colour)
    return layered(
        base.mark_line(strokeWidth=1.5, color=colour).encode(y=y),
        ranges.encode(y=alt.Y("low:Q", title=title, scale=scale, axis=axis), y2="high:Q"),
        base.mark_point(filled=True, size=60, opacity=1, color=colour).encode(y=y),
        height=280,
    )


def trends_chart(trends: Correlations, dark: bool = False) -> alt.LayerChart:
    """How many texts have which correlation, in steps of `BAR`; the mean with its interval, and no correlation."""
    steps = round(2 / BAR)
    counts = [0] * steps
    for one in trends.texts:
        counts[min(int((one.rho + 1) / BAR + 1e-9), steps - 1)] += 1
    rows = [
        {"start": round(step * BAR - 1, 6), "end": round((step + 1) * BAR - 1, 6), "texts": count}
        for step, count in enumerate(counts)
    ]
    x = rho_axis("start:Q")
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=x,
        x2="end:Q",
        y=alt.Y("texts:Q", title="texts", axis=alt.Axis(tickMinStep=1, tickCount=5)),
        tooltip=["start:Q", "end:Q", "texts:Q"],
    )
    drawn = [base.mark_bar(color=MODEL_COLOUR, stroke="#16191c" if dark else "#fcfcfb")]
    zero = alt.Chart(alt.Data(values=[{"start": 0}])).encode(x=x)
    drawn.append(zero.mark_rule(color=ink_on(dark), opacity=0.6))
    return layered(*drawn, *mean_marks(trends.mean, dark), height=240)


def rho_axis(field: str) -> alt.X:
    """The axis of correlations."""
    scale = alt.Scale(domain=[-1, 1], nice=False)
    return alt.X(field, title="Spearman's rho within a text", scale=scale, axis=alt.Axis(tickCount=9, grid=False))


def mean_marks(mean: Estimate, dark: bool) -> list[alt.Chart]:
    """A mean as a dashed rule, its interval as a band."""
    if mean.value is None:
        return []
    base = alt.Chart(alt.Data(values=[{"start": mean.value, "low": mean.low, "high": mean.high}]))
    marks = [base.mark_rule(strokeDash=[5, 4], strokeWidth=2, color=ink_on(dark)).encode(x=rho_axis("start:Q"))]
    if mean.low is not None:
        band = base.mark_rect(color=ink_on(dark), opacity=0.15)
        marks.insert(0, band.encode(x=rho_axis("low:Q"), x2="high:Q"))
    return marks
