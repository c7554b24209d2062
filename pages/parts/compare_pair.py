"""Two texts on one model: what a change of the text does, token by token where the tokens are the same."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from density.agreement import by_token, whole_text
from density.align import pairs
from density.serving.question import LINK_CHARACTERS, Question, to_link
from density.serving.series import Answered
from density.statistics import FEWEST, FEWEST_GROUPS, mean
from density.tiles import difference_legend, differences, points
from density.view import percent, quoted
from pages.parts import inputs, shared_inputs
from pages.parts.dataset_rows import with_interval
from pages.parts.heatmap import heatmap, mount
from pages.parts.page import KEPT, literal, show_metrics
from pages.parts.series import answers
from pages.parts.textbox import live_text_area

if TYPE_CHECKING:
    from density.serving.service import Service

PAGE = "compare-"
NAMES = ("First text", "Second text")
FIRST_PAIR = "garden path-01"
PAIR_HELP = (
    "Minimal pairs of the sample: an idiom and its literal use, a garden path and its control. Or type two texts of "
    "your own."
)
DIFFERENCE_HELP = (
    "The density of predicting the token in the second text less that in the first, in percentage points, for the "
    "tokens that are the same in both texts, in the same order. Orange: dearer in the second; blue: dearer in the "
    "first. Tokens with a plain border have no counterpart."
)
MEAN_HELP = "The mean density of predicting the text's own tokens."
ALIGNED_HELP = (
    "Of the tokens after the first difference that are aligned and predicted in both texts: the mean of their "
    "differences, second less first. What stands before is predicted from the same tokens. In brackets the 95% "
    "interval, a bootstrap over these tokens, as if they did not depend on each other: it is about these two texts, "
    f"not about all such pairs, and of fewer than {FEWEST_GROUPS} tokens there is none. A token that stands later in "
    "one text sees more context there, which counts too."
)


def restore(text: str | None, second: str | None) -> None:
    """Sets the texts from a link, or to the sample's first garden path and its control."""
    one, other = dict(sample_pairs())[FIRST_PAIR]
    st.session_state[f"{PAGE}first"] = text if text and second else one
    st.session_state[f"{PAGE}second"] = second if text and second and len(second) <= 2**16 else other


def sample_pairs() -> list[tuple[str, tuple[str, str]]]:
    """The minimal pairs of the sample by name, each with its two texts; garden paths and idioms come first."""
    found: dict[str, list[str]] = {}
    for text in shared_inputs.sample():
        if text.pair:
            found.setdefault(text.pair, []).append(text.text)
    return [(name, (texts[0], texts[1])) for name, texts in found.items() if len(texts) == 2]


def show(service: "Service") -> None:
    """The view: what is asked, the two texts as they come, and the differences."""
    offers = service.catalogue()
    with st.sidebar:
        model, accepted = inputs.ask_model(offers, service.in_memory(), f"{PAGE}model")
        fidelity = inputs.ask_fidelity(PAGE)
        method = inputs.ask_method(PAGE)
    one, other = ask_texts()
    question = Question(model, one, fidelity, accept_terms=accepted, **method)
    publish(question, other)
    if not one.strip() or not other.strip():
        st.warning("Two texts are wanted, and one is empty: type at least one word in each, or choose a pair.")
        return
    if one == other:
        st.warning("Both texts are the same: change one of them, or choose a pair.")
        return
    questions = [question, Question(model, other, fidelity, accept_terms=accepted, **method)]
    found = answers(service, offers, questions, PAGE, "pair", show_maps)
    documents = [one.whole for one in found]
    if len(documents) == 2 and documents[0] and documents[1]:
        show_differences(documents[0], documents[1])


def ask_texts() -> tuple[str, str]:
    """Two texts, typed or taken from the sample."""
    named = dict(sample_pairs())

    def take() -> None:
        chosen = st.session_state[f"{PAGE}sample"]
        if chosen:
            st.session_state[f"{PAGE}first"], st.session_state[f"{PAGE}second"] = named[chosen]
            st.session_state[f"{PAGE}sample"] = None

    st.selectbox(
        "Take a pair from the sample",
        list(named),
        index=None,
        format_func=lambda name: f"{name}: {named[name][0]}",
        key=f"{PAGE}sample",
        on_change=take,
        help=PAIR_HELP,
    )
    left, right = st.columns(2, gap="large")
    with left:
        one = live_text_area(NAMES[0], key=f"{PAGE}first", height=90, **KEPT)
    with right:
        other = live_text_area(NAMES[1], key=f"{PAGE}second", height=90, **KEPT)
    return one, other


def publish(question: Question, other: str) -> None:
    """Keeps the address bar a link to what is asked; texts too long for one are left out."""
    link = {**to_link(question), "view": "pair"}
    del link["positions"]
    if len(other) <= LINK_CHARACTERS:
        link["second"] = other
    shared_inputs.publish(link)


def show_maps(found: Sequence[Answered]) -> None:
    """Both texts, above each other."""
    for place, (name, one) in enumerate(zip(NAMES, found, strict=True)):
        if one.document is not None:
            st.markdown(f"**{name}**")
            heatmap(one.document, one.pending, f"{PAGE}pair-chosen-{place}")


def show_differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """The mean densities, and both texts by the differences of their tokens."""
    aligned = pairs([token["id"] for token in one["tokens"]], [token["id"] for token in other["tokens"]])
    found = table(one, other, aligned)
    st.subheader("Second text less first", divider="gray")
    means = [whole_text(document) for document in (one, other)]
    numbers = {
        f"Mean, {name.lower()}": ("none" if value is None else percent(value), MEAN_HELP)
        for name, value in zip(NAMES, means, strict=True)
    }
    if means[0] is not None and means[1] is not None:
        numbers["Difference of means"] = (points(means[1] - means[0]), f"{MEAN_HELP} Second less first.")
    # A token whose place is the same, as are those of all before it, is predicted alike.
    same = sum(1 for place, pair in enumerate(aligned) if pair == (place, place))
    known = [100 * row["difference"] for row in found[same:] if row["difference"] is not None]
    numbers[f"Mean difference, {inputs.counted(len(known), 'aligned token')}"] = (
        with_interval(mean(known), "+.1f") + (" points" if len(known) >= FEWEST else ""),
        ALIGNED_HELP,
    )
    show_metrics(numbers)
    if not aligned:
        st.warning("The two texts have no token in common: only their means can be compared.")
        return
    st.markdown("**Differences of density**", help=DIFFERENCE_HELP)
    legend = difference_legend("density in the second text less in the first, points")
    for place, name in enumerate(NAMES):
        st.markdown(f"{name}, by difference")
        made = differences(one, other, aligned, second=place == 1)
        data = {"name": f"Differences, {name.lower()}", "cells": made, "legend": legend, "chosen": None}
        mount(
            key=f"{PAGE}difference-{place}",
            data=[data],
            on_chosen_change=lambda: None,
            on_span_change=lambda: None,
        )
    with st.expander("Aligned tokens as a table"):
        st.dataframe(found, hide_index=True, alt="Aligned tokens", column_config=columns())


def table(one: Mapping[str, Any], other: Mapping[str, Any], aligned: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Aligned tokens with the density of predicting each in both texts; ``None`` where one is not predicted."""
    first, second = by_token(one), by_token(other)
    rows = []
    for here, there in aligned:
        before, after = first.get(here), second.get(there)
        rows.append(
            {
                "token": quoted(one["tokens"][here]["text"]),
                "first": before,
                "second": after,
                "difference": None if before is None or after is None else after - before,
            }
        )
    return rows


def columns() -> dict[str, Any]:
    """How the table's columns are shown."""
    return {
        "first": st.column_config.NumberColumn("first text", format="percent", help=literal(MEAN_HELP)),
        "second": st.column_config.NumberColumn("second text", format="percent"),
        "difference": st.column_config.NumberColumn("second less first", format="percent", help=DIFFERENCE_HELP),
    }
