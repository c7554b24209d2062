"""How an answer is looked at, as part of the page's link: tint, unit, view, the size shown, and what is switched."""

import json
import math
from collections.abc import Mapping
from typing import Any

import streamlit as st

from density.measures import MEASURES, UNITS
from density.search import EMPTY, LATTICE

VIEWS = ("Fidelity against size", "Likeliest tokens", "What the trace is made of")
AXES = ("log", "linear")
BASES = {"trace": "the trace shown", "full model": "the full model"}
PARTS = {
    None: "whole layer",
    "head": "head",
    "mlp": "MLP",
    "residual_attention": "skip of the attention",
    "residual_mlp": "skip of the MLP",
}
# Parameters that are one of a few words, by the key of their widget; the first is what it is unless a link says.
CHOICES: dict[str, tuple[str, ...]] = {
    "tint": tuple(MEASURES),
    "unit": UNITS,
    "view": VIEWS,
    "axis": AXES,
    "switch-base": tuple(BASES),
}
# Of a switch, in the order a link has them; see `density.switches.Switch`.
SWITCH = ("layer", "kind", "head", "query", "key", "expert", "on")
MOST_SWITCHES = 40
MOST_NUMBER = 10**6


def parameters() -> dict[str, str]:
    """What this session's widgets are set to, where it is not what they begin at."""
    state = st.session_state
    found = {key: state[key] for key, words in CHOICES.items() if state.get(key, words[0]) in words[1:]}
    if state.get("size-shown") is not None:
        found["size"] = size_word(state["size-shown"])
    if state.get("switches"):
        found["switches"] = json.dumps(
            [[switch[name] for name in SWITCH] for switch in state.switches[:MOST_SWITCHES]], separators=(",", ":")
        )
    return found


def publish() -> None:
    """Keeps these parameters of the address bar as the widgets are; the others stay."""
    names, wanted = {*CHOICES, "size", "switches"}, parameters()
    others = {name: value for name, value in st.query_params.to_dict().items() if name not in names}
    if st.query_params.to_dict() != {**others, **wanted}:
        st.query_params.from_dict({**others, **wanted})


def restore(given: Mapping[str, str], model: str, text: str) -> list[str]:
    """Sets this session's widgets from a link's parameters; a sentence for each value passed over."""
    complaints = []
    for key, words in CHOICES.items():
        if given.get(key) in words:
            st.session_state[key] = given[key]
        elif key in given:
            complaints.append(f"The link's {key} {given[key][:40]!r} is not known here; it was passed over.")
    if "size" in given:
        st.session_state["size-linked"] = step = size_step(given["size"])
        if step is None:
            complaints.append(f"The link's size {given['size'][:40]!r} is no share from 0 to 1; it was passed over.")
    if "switches" in given:
        switches = read_switches(given["switches"])
        if switches is None:
            complaints.append("The link's switches cannot be read; they were passed over.")
        else:
            st.session_state["switches-of"], st.session_state.switches = (model, text), switches
    return complaints


def size_word(step: int) -> str:
    """A step of the lattice as a link has it: the size, to three figures; 0 for the empty trace."""
    return "0" if step == EMPTY else f"{LATTICE[step]:.3g}"


def size_step(word: str) -> int | None:
    """The step of the lattice nearest to a size; ``None`` if it is no share."""
    try:
        size = float(word)
    except ValueError:
        return None
    if not 0 <= size <= 1:
        return None
    return EMPTY if size < LATTICE[-1] / 2 else min(round(-25 * math.log10(size)), EMPTY - 1)


def read_switches(written: str) -> list[dict[str, Any]] | None:
    """What a link switches, as keyword arguments of `density.switches.Switch`; ``None`` if it is not that."""
    try:
        rows = json.loads(written)
    except (ValueError, RecursionError):
        return None
    if not isinstance(rows, list) or len(rows) > MOST_SWITCHES:
        return None
    switches = [
        dict(zip(SWITCH, row, strict=True)) for row in rows if isinstance(row, list) and len(row) == len(SWITCH)
    ]
    return switches if len(switches) == len(rows) and all(map(is_switch, switches)) else None


def is_switch(given: Mapping[str, Any]) -> bool:
    """Whether a link's values are of a switch; whether the model has such a part is another question."""

    def whole(name: str, least: int = 0) -> bool:
        return type(given[name]) is int and least <= given[name] <= MOST_NUMBER

    optional = all(given[name] is None or whole(name) for name in ("head", "query", "key"))
    known = given["kind"] is None or (isinstance(given["kind"], str) and given["kind"] in PARTS)
    expert = given["expert"] is None or whole("expert", -1)
    return whole("layer") and known and optional and expert and type(given["on"]) is bool
