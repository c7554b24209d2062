"""A measure against a predictor, drawn: a point a prediction, and the rank-based trend."""

import altair as alt
import pandas as pd

from density.charts import layered
from density.colours import RUN_COLOURS, ink_on
from density.measures import MEASURES, NATS
from density.rare import PREDICTORS, Relation, complete
from density.view import visible

# More points are not told apart.
MOST_POINTS = 2000


def scatter_chart(
    frame: pd.DataFrame, predictor: str, measure: str, relation: Relation, dark: bool = False
) -> alt.LayerChart:
    """Every prediction that has both numbers, `MOST_POINTS` drawn at random at most, and the Theil-Sen line.

    Args:
        frame: With frequencies, see `density.rare`.
        predictor: Across.
        measure: Upwards.
        relation: Of the two, over all of the predictions.
        dark: Whether it is for a dark background.
    """
    known = complete(frame, predictor, measure)
    shown = known.sample(min(len(known), MOST_POINTS), random_state=0)
    columns = zip(
        *(shown[name].tolist() for name in (predictor, measure, "position", "context_token", "top_token")),
        [token if isinstance(token, str) else None for token in shown["next_token"]],
        strict=True,
    )
    rows = [
        {
            "x": across,
            "y": up,
            "position": position,
            "seen": visible(context),
            "likeliest": visible(likeliest),
            "came": "nothing" if came is None else visible(came),
        }
        for across, up, position, context, likeliest, came in columns
    ]
    what = PREDICTORS[predictor]
    x = alt.X("x:Q", title=what.title, scale=alt.Scale(zero=what.scale is NATS, nice=True), axis=alt.Axis(grid=False))
    y = alt.Y("y:Q", title=MEASURES[measure].title, axis=alt.Axis(format="%", tickCount=5), scale=alt.Scale(zero=True))
    points = alt.Chart(alt.Data(values=rows)).mark_point(filled=True, size=34, color=RUN_COLOURS["trace"])
    points = points.encode(
        x=x,
        y=y,
        opacity=alt.value(0.65 if len(rows) < 500 else 0.3),
        tooltip=[
            alt.Tooltip("came:N", title="came"),
            alt.Tooltip("likeliest:N", title="likeliest"),
            alt.Tooltip("seen:N", title="seen up to"),
            alt.Tooltip("position:Q", title="position"),
            alt.Tooltip("x:Q", format=".2f", title=what.label),
            alt.Tooltip("y:Q", format=".1%", title=MEASURES[measure].label),
        ],
    )
    found = relation.trend
    if found is None:
        return layered(points, height=340)
    ends = [float(known[predictor].min()), float(known[predictor].max())]
    line = [{"x": at, "y": found.intercept + found.slope * at} for at in ends]
    trend = alt.Chart(alt.Data(values=line)).mark_line(color=ink_on(dark), strokeWidth=2, clip=True).encode(x=x, y=y)
    return layered(points, trend, height=340)
