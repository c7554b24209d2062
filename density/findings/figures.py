"""The papers' figures of a corpus: the numbers of each as a table, and the table drawn."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from density.charts import NAMED, layered, phases, size_axis
from density.colours import DEPTH_COLOURS, KIND_COLOURS, KIND_NAMES, RUN_COLOURS, ink_on, tint
from density.findings.data import GRID, Tables, along
from density.findings.estimates import mean_along, mean_of, rho, shares, with_controls
from density.findings.verdicts import Claim, Unit, too_few, written
from density.lengths import Bin, by_length, not_drawn
from density.statistics import FEWEST_GROUPS, Estimate, trend

RUNS = {
    "trace": "curve_total_variation",
    "random control": "curve_random_total_variation",
    "complement": "curve_complement_total_variation",
}
RECOVERIES = (
    (
        *("curve_nucleus_recovered", "nucleus", "nucleus recovered", 100.0),
        "Mean of the largest k for which the k% nuclei of trace and full model are the same list of tokens",
    ),
    (
        *("curve_top_token_agrees", "top-token", "likeliest token kept", 1.0),
        "Share of predictions whose trace has the full model's likeliest token",
    ),
)
KINDS = {name: f"curve_edges_{kind}" for kind, name in KIND_NAMES.items()}
QUARTERS = {name: f"curve_edges_quarter_{n}" for n, name in enumerate(("first quarter", "second", "third", "last"), 1)}
WIDTH, HEIGHT = 420, 240
STEP = 0.05
# Of a scatter; more are drawn from with a fixed seed.
MOST_POINTS = 500

Draw = Callable[[pd.DataFrame, bool], alt.LayerChart]


@dataclass(frozen=True)
class Figure:
    """One drawing.

    Attributes:
        name: Of its file, without the model.
        title: What it shows.
        caption: How it is to be read, and of how many predictions and texts it is.
        model: Whose; empty for one of all models.
        frame: What is drawn.
        draw: Draws it, for a dark background or not.
    """

    name: str
    title: str
    caption: str
    model: str
    frame: pd.DataFrame
    draw: Draw

    def chart(self, dark: bool = False) -> alt.LayerChart:
        """The drawing."""
        return self.draw(self.frame, dark)

    @property
    def file(self) -> str:
        """The name of its file, without an ending: letters, digits, points and hyphens."""
        parts = [self.name, *([self.model] if self.model else [])]
        return "-".join("".join(c if c.isalnum() or c in ".-" else "-" for c in part).strip("-") for part in parts)


def figures(tables: Tables, claims: Sequence[Claim]) -> list[Figure]:
    """Every figure that the data has numbers for, those of one model after those of another."""
    agree = next(claim for claim in claims if claim.name == "models agree")
    found = [figure for model in tables.models for figure in of_model(tables, model)]
    return found + ([matrix(tables, agree)] if agree.checks else [])


def of_model(tables: Tables, model: str) -> Iterator[Figure]:
    """The figures of one model."""
    swept, rows = tables.of(tables.swept, model), tables.of(tables.measured, model)
    if len(swept):
        yield from of_sweep(swept, model)
    yield distribution(rows, "density", f"density at fidelity {tables.fidelity:.0%}", model)
    if len(swept):
        yield against(
            swept, "entropy", "auc_log10", ("entropy", "entropy, nats"), ("auc-tv", "AUC-TV, log axis"), model
        )
    for column, name, said in (("top_zipf", "likeliest", "found likeliest"), ("came_zipf", "came", "that came")):
        if column in rows and rows[column].notna().any():
            across = (f"frequency-{name}", f"Zipf frequency of the token {said}")
            yield against(rows, column, "density", across, ("density", "density"), model)
    bins = by_length(rows[["position", "density", "text_id", "pair"]].to_dict("records"))
    if rows["position"].nunique() > 1 and any(one.mean.value is not None for one in bins):
        yield lengths(bins, counted(rows), model)


def of_sweep(swept: pd.DataFrame, model: str) -> Iterator[Figure]:
    """The figures along the sizes of a sweep."""
    fidelity = variation_frame(swept)
    count = f"{counted(swept)}."
    bands = "Lines are means, bands their 95% intervals."
    controls = "" if (fidelity["run"] != "trace").any() else " No control was measured."
    said = f"Mean total variation from the full model of what is kept. {bands}{controls} {count}"
    yield Figure("variation-log", "Total variation against size", said, model, fidelity, draw_variation(True))
    yield Figure(
        *("variation-linear", "Total variation against size, linear axis", said, model),
        *(with_empty(swept, fidelity), draw_variation(False)),
    )
    yield distribution(swept, "auc_linear", "AUC-TV, linear", model)
    for column, name, said, whole, meaning in RECOVERIES:
        frame = along_frame(swept, along(swept, column) / whole)
        title = f"{begun(said)} against size"
        yield Figure(name, title, f"{meaning}. {bands} {count}", model, frame, draw_recovery(said))
    for name, by, parts, colours in (
        ("kinds", "kind", KINDS, list(KIND_COLOURS.values())),
        ("depths", "quarter of the layers", QUARTERS, DEPTH_COLOURS),
    ):
        said = f"Shares of a trace's edges by {by}, over predictions whose trace of that size has any. {bands} {count}"
        frame = parts_frame(swept, parts)
        yield Figure(name, f"Edges by {by}, against size", said, model, frame, draw_parts(list(parts), colours))


def counted(rows: pd.DataFrame) -> str:
    """How many predictions and texts a figure is of."""
    return f"{len(rows):,} predictions of {rows['group'].nunique():,} texts"


def estimate_row(found: Estimate) -> dict[str, Any]:
    """An estimate as fields of a row."""
    return {"mean": found.value, "low": found.low, "high": found.high, "n": found.n, "texts": found.groups}


def along_frame(rows: pd.DataFrame, values: np.ndarray) -> pd.DataFrame:
    """The mean of each size's values, with its interval; sizes at which there is none are left out."""
    found = [
        {"size": float(size), **estimate_row(mean_along(rows, column))}
        for size, column in zip(GRID, values.T, strict=True)
        if not np.isnan(column).all()
    ]
    return pd.DataFrame(found, columns=["size", "mean", "low", "high", "n", "texts"])


def variation_frame(swept: pd.DataFrame) -> pd.DataFrame:
    """Total variation of the trace and its controls, by size."""
    controlled = with_controls(swept)
    made = []
    for run, column in RUNS.items():
        rows = swept if run == "trace" else controlled
        if len(rows):
            made.append(along_frame(rows, along(rows, column)).assign(run=run))
    return pd.concat(made, ignore_index=True)


def with_empty(swept: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """The same with the empty trace, at size 0."""
    empty = mean_along(swept, swept["empty_total_variation"].to_numpy(float))
    first = pd.DataFrame([{"size": 0.0, **estimate_row(empty), "run": "trace"}])
    return pd.concat([first, frame], ignore_index=True)


def parts_frame(swept: pd.DataFrame, parts: Mapping[str, str]) -> pd.DataFrame:
    """The mean share of each part's edges, by size; ``parts`` are columns by what they are called."""
    made = [along_frame(swept, shares(swept, column)).assign(part=name) for name, column in parts.items()]
    return pd.concat(made, ignore_index=True)


def begun(words: str) -> str:
    """Words as a title."""
    return words[:1].upper() + words[1:]


def distribution(rows: pd.DataFrame, column: str, said: str, model: str) -> Figure:
    """How many predictions have which value, in steps of `STEP`."""
    edges = np.round(np.arange(0, 1 + STEP / 2, STEP), 6)
    counts, _ = np.histogram(rows[column], edges)
    frame = pd.DataFrame({"start": edges[:-1], "end": edges[1:], "predictions": counts})
    caption = f"Predictions by {said}. Mean {written(mean_of(rows, column))}. {counted(rows)}."
    name, title = f"distribution-{column.replace('_', '-')}", begun(said)
    return Figure(name, title, caption, model, frame, draw_distribution(title))


def against(rows: pd.DataFrame, x: str, y: str, across: tuple[str, str], up: tuple[str, str], model: str) -> Figure:
    """A point a prediction, and the line that is the median of all slopes, where there is one.

    Args:
        across: Of the axis: for the file's name, and in words.
        up: Likewise.
    """
    known = rows.dropna(subset=[x, y])
    line = trend(known[x].to_numpy(float), known[y].to_numpy(float))
    some = known if len(known) <= MOST_POINTS else known.sample(MOST_POINTS, random_state=0)
    frame = pd.DataFrame({"x": some[x].astype(float), "y": some[y].astype(float), "part": "point"})
    if line is not None:
        ends = np.array([known[x].min(), known[x].max()], float)
        rising = pd.DataFrame({"x": ends, "y": line.intercept + line.slope * ends, "part": "trend"})
        frame = pd.concat([frame, rising], ignore_index=True)
    drawn = f" {MOST_POINTS} of them are drawn." if len(some) < len(known) else ""
    found = rho(known, known[x], y)
    together = f"Spearman's correlation is {written(found, Unit.CORRELATION)}."
    if found.value is None:
        together = f"There is no correlation: {too_few(found, 'one of the two')}."
    through = "" if line is None else "; the line is the median of all pairs' slopes (Theil-Sen)"
    said = f"A point a prediction{through}. {together} {counted(known)}."
    title = f"{begun(up[1])} against {across[1]}"
    return Figure(f"{up[0]}-{across[0]}", title, said + drawn, model, frame, draw_against(across[1], up[1]))


def lengths(bins: Sequence[Bin], count: str, model: str) -> Figure:
    """The mean density by context length; bins without a mean keep their place.

    Args:
        count: How many predictions and texts the bins are of, in words.
    """
    found = [{"tokens": one.name, **estimate_row(one.mean)} for one in bins]
    lacking = any(one.mean.value is not None and one.mean.low is None for one in bins)
    where = f" where it is of {FEWEST_GROUPS} texts or more" if lacking else ""
    said = f"Mean density by how many tokens the prediction sees, with its 95% interval{where}. {count}."
    said = f"{said} {not_drawn(bins)}".strip()
    return Figure("density-context", "Density against context length", said, model, pd.DataFrame(found), draw_by_length)


def matrix(tables: Tables, agree: Claim) -> Figure:
    """The correlation of every two models."""
    labels, found = tables.labels(), []
    for check in agree.checks:
        one, other = (labels[name] for name in check.pair)
        shown = estimate_row(check.estimate) if check.estimate else {}
        found += [{"one": one, "other": other, **shown}, {"one": other, "other": one, **shown}]
    of = "AUC-TV" if len(tables.swept) else "density"
    said = (
        f"Spearman's correlation of {of} over the texts that two models share, context length held fixed where it "
        "differs, with its 95% interval."
    )
    return Figure("models", "How alike models are", said, "", pd.DataFrame(found), draw_matrix)


# Drawn


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain values; nothing where there is no number."""
    return [
        {name: None if value is None or value != value else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


def data(frame: pd.DataFrame) -> alt.Data:
    """A table for a chart."""
    return alt.Data(values=records(frame))


def share_axis(field: str, title: str) -> alt.Y:
    """The axis of shares, up."""
    return alt.Y(field, title=title, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=5))


def draw_variation(log: bool) -> Draw:
    """Draws total variation against size."""

    def draw(frame: pd.DataFrame, dark: bool) -> alt.LayerChart:
        low = float(frame["size"][frame["size"] > 0].min()) if log else 0.0
        present = [run for run in RUNS if run in set(frame["run"])]
        scale = alt.Scale(domain=present, range=[RUN_COLOURS[run] for run in present])
        colour = alt.Color("run:N", scale=scale, legend=alt.Legend(orient="top", title=None, offset=NAMED))
        return layered(
            *phases(min(low, 1e-4) if log else 0.0, log, dark),
            *banded(frame, low, log, colour),
            height=HEIGHT,
        )

    return draw


def banded(frame: pd.DataFrame, low: float, log: bool, colour: Any, title: str = "total variation") -> list[alt.Chart]:
    """Means along the sizes with their intervals as bands."""
    shown = frame.assign(low=frame["low"].fillna(frame["mean"]), high=frame["high"].fillna(frame["mean"]))
    base = alt.Chart(data(shown)).encode(x=size_axis("size:Q", low, log), color=colour)
    tips = [alt.Tooltip("size:Q", format=".3%"), alt.Tooltip("mean:Q", format=".3f")]
    tips += [alt.Tooltip("low:Q", format=".3f"), alt.Tooltip("high:Q", format=".3f"), alt.Tooltip("n:Q")]
    return [
        base.mark_area(opacity=0.25).encode(y=share_axis("low:Q", title), y2="high:Q"),
        base.mark_line(strokeWidth=2).encode(y=share_axis("mean:Q", title)),
        base.mark_point(filled=True, size=25, opacity=1).encode(y=share_axis("mean:Q", title), tooltip=tips),
    ]


def draw_recovery(title: str) -> Draw:
    """Draws what a trace recovers, against size."""

    def draw(frame: pd.DataFrame, dark: bool) -> alt.LayerChart:
        low = float(frame["size"].min())
        drawn = banded(frame, low, True, alt.value(RUN_COLOURS["trace"]), title)
        return layered(*phases(low, True, dark), *drawn, height=HEIGHT)

    return draw


def draw_parts(parts: Sequence[str], colours: Sequence[str]) -> Draw:
    """Draws what traces are made of, against size."""

    def draw(frame: pd.DataFrame, dark: bool) -> alt.LayerChart:
        low = float(frame["size"].min())
        scale = alt.Scale(domain=list(parts), range=list(colours))
        colour = alt.Color("part:N", scale=scale, legend=alt.Legend(orient="top", title=None, offset=NAMED))
        drawn = banded(frame, low, True, colour, "share of the trace's edges")
        return layered(*phases(low, True, dark), *drawn, height=HEIGHT)

    return draw


def draw_distribution(title: str) -> Draw:
    """Draws how values are distributed, in the colours that they tint tokens with."""

    def draw(frame: pd.DataFrame, dark: bool) -> alt.LayerChart:
        shades = frame.assign(colour=[tint(middle) for middle in (frame["start"] + frame["end"]) / 2])
        axis = alt.Axis(format="%", tickCount=5, grid=False)
        x = alt.X("start:Q", title=title, scale=alt.Scale(domain=[0, 1], nice=False), axis=axis)
        bars = alt.Chart(data(shades.assign(zero=0))).mark_rect(stroke=ink_on(dark), strokeWidth=0.3)
        bars = bars.encode(
            x=x,
            x2="end:Q",
            y=alt.Y("predictions:Q", title="predictions", axis=alt.Axis(tickMinStep=1, tickCount=5)),
            y2="zero:Q",
            color=alt.Color("colour:N", scale=None),
            tooltip=[alt.Tooltip("start:Q", format=".0%"), alt.Tooltip("end:Q", format=".0%"), "predictions:Q"],
        )
        return layered(bars, height=HEIGHT)

    return draw


def draw_against(across: str, up: str) -> Draw:
    """Draws points and their trend."""

    def draw(frame: pd.DataFrame, dark: bool) -> alt.LayerChart:
        base = alt.Chart(data(frame)).encode(
            x=alt.X("x:Q", title=across, scale=alt.Scale(zero=False), axis=alt.Axis(grid=False)),
            y=share_axis("y:Q", up),
        )
        points = base.transform_filter("datum.part == 'point'")
        line = base.transform_filter("datum.part == 'trend'")
        return layered(
            points.mark_circle(size=22, opacity=0.45, color=RUN_COLOURS["trace"], aria=False),
            line.mark_line(strokeWidth=2, color=ink_on(dark)),
            height=HEIGHT,
        )

    return draw


def draw_by_length(frame: pd.DataFrame, dark: bool) -> alt.LayerChart:
    """Draws means by context length, with their intervals."""
    shown = frame.assign(low=frame["low"].fillna(frame["mean"]), high=frame["high"].fillna(frame["mean"]))
    axis = alt.Axis(labelAngle=0)
    base = alt.Chart(data(shown)).encode(x=alt.X("tokens:O", sort=None, title="tokens the prediction sees", axis=axis))
    colour = RUN_COLOURS["trace"]
    return layered(
        base.mark_rule(strokeWidth=4, opacity=0.4, color=colour).encode(y=share_axis("low:Q", "density"), y2="high:Q"),
        base.mark_point(filled=True, size=60, opacity=1, color=colour).encode(
            y=share_axis("mean:Q", "density"),
            tooltip=["tokens:O", alt.Tooltip("mean:Q", format=".1%"), "n:Q", "texts:Q"],
        ),
        height=HEIGHT,
    )


def draw_matrix(frame: pd.DataFrame, dark: bool) -> alt.LayerChart:
    """Draws correlations of every two models."""
    rows = records(frame)
    for row in rows:
        known = row["low"] is not None
        row["label"] = "-" if row["mean"] is None else f"{row['mean']:.2f}"
        row["interval"] = f"{row['low']:.2f} to {row['high']:.2f}" if known else ""
    axis = alt.Axis(labelAngle=0, ticks=False, domain=False, labelLimit=120)
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("one:N", title=None, axis=axis), y=alt.Y("other:N", title=None, axis=axis)
    )
    strength = ["#23272b", "#7f8a94"] if dark else ["#f2f2ef", "#9aa5ae"]
    cells = base.mark_rect().encode(
        color=alt.Color("mean:Q", scale=alt.Scale(domain=[0, 1], range=strength, clamp=True), legend=None),
        tooltip=["one:N", "other:N", alt.Tooltip("mean:Q", format=".3f"), "interval:N", "texts:Q"],
    )
    drawn = layered(
        cells,
        base.mark_text(dy=-7, fontSize=15, color=ink_on(dark)).encode(text="label:N"),
        base.mark_text(dy=10, fontSize=11, color=ink_on(dark)).encode(text="interval:N"),
        height=60 + 60 * frame["one"].nunique(),
    )
    # Names are drawn wider than they are measured.
    drawn.padding = {"left": 25, "right": 5, "top": 5, "bottom": 5}
    return drawn
