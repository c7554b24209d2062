"""Two models' numbers of the same words or texts, drawn against each other."""

from collections.abc import Sequence

import altair as alt

from density.agreement import Shared, both
from density.charts import layered
from density.colours import RUN_COLOURS, ink_on
from density.view import percent, visible

LONGEST_NAME = 60


def against_chart(
    shared: Sequence[Shared],
    one: int,
    other: int,
    names: Sequence[str],
    what: str = "density",
    nats: bool = False,
    dark: bool = False,
) -> alt.LayerChart:
    """A point for each word or text that two models have a number of, and the line where both would be the same.

    Args:
        shared: Words or texts.
        one: Number of the model across.
        other: Number of the model up.
        names: Of all models.
        what: The number, in words.
        nats: Whether it is in nats; a share otherwise.
        dark: Whether it is for a dark background.
    """
    known = both(shared, one, other)
    rows = [
        {
            "name": visible(unit.name[:LONGEST_NAME]).replace("·", " "),
            "text": unit.text + 1,
            "one": first,
            "other": second,
            "shown_one": f"{first:.2f} nats" if nats else percent(first),
            "shown_other": f"{second:.2f} nats" if nats else percent(second),
        }
        for unit, first, second in known
    ]
    most = max((max(first, second) for _, first, second in known), default=1.0) if nats else 1.0
    scale, axis = alt.Scale(domain=[0, most], nice=False), alt.Axis(format="" if nats else "%", tickCount=5)
    x = alt.X("one:Q", title=f"{what} by {names[one]}", scale=scale, axis=axis)
    y = alt.Y("other:Q", title=f"{what} by {names[other]}", scale=scale, axis=axis)
    same = alt.Chart(alt.Data(values=[{"one": 0, "other": 0}, {"one": most, "other": most}])).encode(x=x, y=y)
    dots = alt.Chart(alt.Data(values=rows)).encode(
        x=x,
        y=y,
        tooltip=[
            alt.Tooltip("name:N", title="of"),
            alt.Tooltip("text:Q", title="text"),
            alt.Tooltip("shown_one:N", title=names[one]),
            alt.Tooltip("shown_other:N", title=names[other]),
        ],
    )
    return layered(
        same.mark_line(strokeDash=[5, 4], strokeWidth=1, color=ink_on(dark), opacity=0.6),
        dots.mark_circle(size=55, opacity=0.6, color=RUN_COLOURS["trace"]),
        height=380,
    )
