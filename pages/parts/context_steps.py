"""What context does to one prediction, as far as it has been measured: which is enough, the curves, and the table."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from density.context_charts import curves_chart, growth_chart
from density.serving.question import Question
from density.view import percent, quoted, rows_csv, visible
from pages.parts import inputs, results
from pages.parts.page import dark, literal, show_metrics
from pages.parts.results import HELP

GROWTH_HELP = {
    "density": "The density of the prediction with that context; the pale bar reaches down to the next smaller size "
    "looked at, which is not enough.",
    "entropy": "Of the whole model's next-token distribution with that context, in nats.",
    "distance": "Total variation between the whole model's next-token distribution with that context and with all of "
    "it: 0 where more context changes nothing.",
    "surprisal": HELP["surprisal"],
    "auc_linear": "Area under total variation against size, from 0 (sparse) to 1 (dense); it needs no fidelity.",
    "auc_log10": "Area under total variation against log10 of the size, from 1e-5 to 1, over 5.",
}
TITLES = {
    "density": "density",
    "entropy": "entropy, nats",
    "distance": "distance from all context",
    "surprisal": "surprisal, nats",
    "auc_linear": "AUC-TV",
    "auc_log10": "AUC-TV, log size",
}

CHANGE_HELP = (
    "The density with all context less that with the least, in percentage points. Sizes are shares of graphs that grow "
    "with the context: a smaller share of a larger graph can be more edges."
)


def draw(steps: Sequence[Mapping[str, Any]], question: Question) -> None:
    """What context is enough, and the curves; as far as they have been measured."""
    from density.context import enough

    whole, all_there = steps[-1], len(steps) == steps[0]["of"]
    shortest = enough([likeliest(step) for step in steps]) if all_there else None
    if shortest is not None:
        best = whole["prediction"]["top_tokens"][0]
        first, last = steps[0]["prediction"], whole["prediction"]
        show_metrics(
            {
                "Enough for the top token": (
                    inputs.counted(shortest, "token"),
                    "The shortest context looked at from which on every longer one has the same likeliest token as all "
                    f"of it: {literal(visible(best['text']))}, which has {percent(best['probability'])} there. "
                    "A dashed line marks it.",
                ),
                "Density, least context": (percent(first["density"]), HELP["density"]),
                "Density, all context": (percent(last["density"]), HELP["density"]),
                "Change": (f"{100 * (last['density'] - first['density']):+.1f} points", CHANGE_HELP),
            }
        )
    names = ["density", "entropy", "distance"]
    names.append("surprisal" if whole["prediction"]["surprisal"] is not None else "")
    names += ["auc_linear", "auc_log10"] if question.sweep else []
    shown = [name for name in names if name]
    for start in range(0, len(shown), 2):
        for place, name in zip(st.columns(2, gap="large"), shown[start : start + 2], strict=False):
            with place:
                title = TITLES[name] + (f", fidelity {percent(question.fidelity)}" if name == "density" else "")
                st.markdown(f"**{title[:1].upper()}{title[1:]}**", help=GROWTH_HELP[name])
                chart = growth_chart(steps, name, TITLES[name], shortest, dark())
                st.altair_chart(chart, alt=f"{title} against context length", key=f"context-chart-{name}")
    if question.sweep:
        st.markdown("**Total variation against size**", help="A line for each context: the longer, the darker.")
        st.altair_chart(curves_chart(steps), alt="Total variation by context", key="context-chart-curves")


def likeliest(step: Mapping[str, Any]) -> tuple[int, int]:
    """A step's length and the id of its likeliest token."""
    return step["length"], step["prediction"]["top_tokens"][0]["id"]


def show_table(
    steps: Sequence[Mapping[str, Any]], document: Mapping[str, Any], question: Question, position: int
) -> None:
    """The same as a table, and as a file."""
    rows = [row(step) for step in steps]
    with st.expander("Table and file"):
        st.dataframe(rows, hide_index=True, alt="The prediction with each context", column_config=columns(rows))
        about = {"model": question.model, "rule": question.rule, "fidelity": question.fidelity, "position": position}
        token = document["tokens"][position + 1 : position + 2]
        about["token"] = quoted(token[0]["text"]) if token else ""
        st.download_button(
            "CSV",
            lambda: rows_csv([{**one, **about} for one in rows]),
            "density-context.csv",
            "text/csv",
            on_click="ignore",
            help="The table, with what it takes to repeat it; texts are written as JSON strings.",
        )


def row(step: Mapping[str, Any]) -> dict[str, Any]:
    """One context as a row."""
    prediction = step["prediction"]
    best = prediction["top_tokens"][0]
    return {
        "length": step["length"],
        "context": quoted(step["text"]),
        "density": prediction["density"],
        "below": prediction["below"] and prediction["below"]["size"],
        "total_variation": prediction["total_variation"],
        "edges_trace": prediction["edges_trace"],
        "edges_full": prediction["edges_full"],
        "entropy": prediction["entropy"],
        "surprisal": prediction["surprisal"],
        "distance": step["distance"],
        "top_token": quoted(best["text"]),
        "top_probability": best["probability"],
        **{name: prediction[name] for name in ("auc_linear", "auc_log10") if name in prediction},
    }


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How the table's columns are shown, each with its definition."""
    own = {
        "length": st.column_config.NumberColumn(
            "context, tokens", format="%d", help="Tokens of the text that it sees."
        ),
        "context": st.column_config.TextColumn("context", help="Them."),
        "distance": st.column_config.NumberColumn("distance", format="%.3f", help=GROWTH_HELP["distance"]),
    }
    for name in ("auc_linear", "auc_log10"):
        own[name] = st.column_config.NumberColumn(TITLES[name], format="percent", help=GROWTH_HELP[name])
    given = {name: results.column(name, *results.COLUMNS[name]) for name in rows[0] if name in results.COLUMNS}
    return {**given, **own}
