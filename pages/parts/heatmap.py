"""The token heatmap, a component of our own; what it shows and how it behaves is in assets/heatmap."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import streamlit as st

from density.measures import MEASURES, tinted
from density.view import percent
from pages.parts.page import ASSETS

mount = st.components.v2.component(
    "density_heatmap",
    js=(ASSETS / "heatmap" / "component.js").read_text(encoding="utf-8"),
    css=(ASSETS / "heatmap" / "component.css").read_text(encoding="utf-8"),
)


def heatmap(
    document: Mapping[str, Any],
    pending: Collection[int],
    key: str,
    measure: str = "density",
    unit: str = "token",
    zipf: Mapping[int, float | None] | None = None,
    marked: Collection[int] = (),
    groups: Sequence[Sequence[int]] | None = None,
    told: Mapping[int, Mapping[str, Any]] | None = None,
) -> None:
    """The text of a profile, tinted by one of its measures.

    The position of the prediction clicked is kept in ``st.session_state[key]``, the first and last of a range that was
    shift-clicked in ``st.session_state[f"{key}-span"]``.

    Args:
        document: The profile, whole or not.
        pending: Positions whose predictions are still to come.
        key: Of what is chosen, in the session.
        measure: One of `density.measures.MEASURES`.
        unit: One of `density.measures.UNITS`.
        zipf: Frequencies by token id, see `density.measures.tinted`.
        marked: Indices of tokens that are underlined.
        groups: The indices of every unit's tokens, see `density.measures.tinted`.
        told: What cells say instead of what they would, by index.
    """

    def choose() -> None:
        chosen = st.session_state[f"{key}-heatmap"].get("chosen")
        if valid(chosen, document):
            st.session_state[key] = chosen

    def mark() -> None:
        ends = st.session_state[f"{key}-heatmap"].get("span")
        if valid_span(ends, document):
            st.session_state[f"{key}-span"] = tuple(ends)

    scale = MEASURES[measure]
    data = {
        "name": f"Tokens by the {scale.title}, at fidelity {percent(document['fidelity'])}",
        "cells": [
            {**cell, "marked": index in marked, **(told or {}).get(index, {})}
            for index, cell in enumerate(tinted(document, pending, measure, unit, groups, zipf))
        ],
        "legend": scale.legend() if unit == "token" else {**scale.legend(), "title": f"{scale.title}, mean by {unit}"},
        "chosen": st.session_state.get(key),
    }
    # The browser gets strict JSON or nothing.
    json.dumps(data, allow_nan=False)
    # In a list: Streamlit looks through the values of a dictionary for data frames, and imports pandas to know one.
    mount(key=f"{key}-heatmap", data=[data], on_chosen_change=choose, on_span_change=mark)


def valid(chosen: object, document: Mapping[str, Any]) -> bool:
    """Whether ``chosen``, which comes from a browser, is the position of one of the predictions."""
    return type(chosen) is int and any(prediction["position"] == chosen for prediction in document["predictions"])


def valid_span(ends: object, document: Mapping[str, Any]) -> bool:
    """Whether ``ends``, which come from a browser, are two positions of the text, in order."""
    if not isinstance(ends, list) or len(ends) != 2 or not all(type(end) is int for end in ends):
        return False
    return 0 <= ends[0] <= ends[1] < len(document["tokens"])
