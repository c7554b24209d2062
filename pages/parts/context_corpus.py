"""A corpus by context length: the mean over all texts, and the rank correlation within each."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from density.context_charts import bins_chart, trends_chart
from density.errors import DensityError
from density.lengths import FEWEST_PREDICTIONS, Correlations, by_length, measured, not_drawn, per_text
from density.measures import MEASURES
from density.statistics import FEWEST
from pages.parts import shared_inputs
from pages.parts.dataset_rows import ask_dataset, ask_measure, models_of, with_interval
from pages.parts.inputs import counted
from pages.parts.page import KEPT, dark, literal, sentence, show_metrics

PAGE = "context-"
LENGTH_HELP = (
    "Predictions in bins by how many tokens they see, which doubles from bin to bin; a token that the tokenizer puts "
    "before every text counts. The bars are 95% intervals: a bootstrap that draws whole texts. Longer contexts are of "
    "fewer texts and of other tokens; within a text this is not so."
)
NO_MEAN = (
    f"There is nothing to draw: no length has {FEWEST} predictions, and a mean of fewer is not estimated. Measure more "
    "texts."
)
WITHIN_HELP = (
    "Spearman's rank correlation of context length and the measure over all predictions of one text; below 0, "
    f"predictions become cheaper along the text. Of texts with {FEWEST_PREDICTIONS} predictions or more."
)
MEAN_HELP = "The mean over texts, each with its own correlation; in brackets its 95% interval, a bootstrap over texts."


def show() -> None:
    """The page's second view."""
    if f"{PAGE}dataset" not in st.session_state:
        st.session_state[f"{PAGE}dataset"] = st.query_params.get("dataset", "")
    shared_inputs.complain(PAGE)
    shared_inputs.publish({"view": "corpus", "dataset": st.session_state[f"{PAGE}dataset"] or ""})
    rows = ask_dataset(f"{PAGE}dataset")
    models = models_of(rows)
    model = models[0]
    if len(models) > 1:
        model = st.selectbox("Model", models, key=f"{PAGE}dataset-model", **KEPT) or models[0]
    measure = ask_measure(rows, f"{PAGE}measure")
    try:
        mine = measured(rows, model, measure)
    except DensityError as error:
        st.warning(literal(sentence(error)))
        return
    title, nats = MEASURES[measure].label, MEASURES[measure].nats
    found = per_text(mine, measure)
    st.caption(literal(f"{len(mine):,} predictions of {counted(len(texts_of(mine)), 'text')} by {model}."))
    st.markdown(f"**Mean {title} by context length**", help=LENGTH_HELP)
    bins = by_length(mine, measure)
    if any(one.mean.value is not None for one in bins):
        st.altair_chart(bins_chart(bins, f"mean {title}", nats), alt=f"{title} by context length")
        if left := not_drawn(bins):
            st.caption(left)
    else:
        st.info(NO_MEAN)
    st.markdown(f"**Context length against {title} within each text**", help=WITHIN_HELP)
    show_within(found)


def texts_of(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """The ids of the texts that rows are of."""
    return {row["text_id"] for row in rows}


def show_within(found: Correlations) -> None:
    """The correlations of all texts: their mean, their distribution, and each."""
    if not found.texts:
        st.warning(f"No text has {FEWEST_PREDICTIONS} predictions; measure longer texts.")
        return
    show_metrics(
        {
            "Mean rho": (with_interval(found.mean), MEAN_HELP),
            "Below 0": (f"{found.negative} of {len(found.texts)}", "Texts in which longer contexts go with less."),
            "Left out": (
                str(found.left_out),
                f"Texts with fewer than {FEWEST_PREDICTIONS} predictions, or a constant.",
            ),
        }
    )
    st.altair_chart(trends_chart(found, dark()), alt="Correlations within texts")
    st.caption("Dashed: the mean, with its interval as a band.")
    with st.expander("Every text"):
        ordered = sorted(found.texts, key=lambda one: one.rho)
        rows = [{"text": one.text_id, "rho": one.rho, "predictions": one.predictions} for one in ordered]
        st.dataframe(rows, hide_index=True, alt="Correlation of each text")
