"""How an answer is looked at, as part of the page's link and of what is saved.

The token chosen, tint, unit, view, the size shown, what is switched, and what is drawn and picked of the circuit.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from density.layout import IDENTITY
from density.measures import MEASURES, UNITS
from density.search import EMPTY, LATTICE

VIEWS = ("Fidelity against size", "Likeliest tokens", "What the trace is made of")
AXES = ("log", "linear")
HEADS_BY = ("edges", "importance")
BASES = {"trace": "the trace shown", "full model": "the full model"}
PARTS = {
    None: "whole layer",
    "head": "head",
    "mlp": "MLP",
    "residual_attention": "skip of the attention",
    "residual_mlp": "skip of the MLP",
}
# At most how many edges are drawn, and an exploration has; first as many as `density.explore.DRAWN`.
MOST_DRAWN = (400, 50, 100, 200, 1000, 2000)
# Parameters that are one of a few values, by the key of their widget; the first is what it is unless a link says.
CHOICES: dict[str, Sequence[str | int]] = {
    "tint": tuple(MEASURES),
    "unit": UNITS,
    "view": VIEWS,
    "axis": AXES,
    "heads-by": HEADS_BY,
    "circuit-most": MOST_DRAWN,
    "switch-base": tuple(BASES),
}
OTHERS = ("token", "size", "switches", "picked")
# Of a switch, in the order a link has them; see `density.switches.Switch`.
SWITCH = ("layer", "kind", "head", "query", "key", "expert", "on")
MOST_SWITCHES = 40
MOST_NUMBER = 10**6


def parameters() -> dict[str, str]:
    """What this session's widgets are set to, where it is not what they begin at."""
    state = st.session_state
    found = {key: str(state[key]) for key, values in CHOICES.items() if state.get(key, values[0]) in values[1:]}
    if state.get("chosen") is not None:
        found["token"] = str(state.chosen)
    if state.get("size-shown") is not None:
        found["size"] = size_word(state["size-shown"])
    if state.get("switches"):
        found["switches"] = json.dumps(
            [[switch[name] for name in SWITCH] for switch in state.switches[:MOST_SWITCHES]], separators=(",", ":")
        )
    of, pick = state.get("circuit-picked", (None, None))
    if of and [*of[:2], of[-1]] == [state.get(name) for name in ("model", "text", "chosen")]:
        found["picked"] = picked_word(pick)
    return found


def saved() -> dict[str, dict[str, str]]:
    """These parameters under the name that a saved profile has them by; what is returned is kept up to date.

    A file is made when it is pressed for, where the session cannot be asked.
    """
    kept: dict[str, dict[str, str]] = st.session_state.setdefault("saved-view", {})
    kept["view"] = parameters()
    return kept


def publish() -> None:
    """Keeps these parameters of the address bar as the widgets are; the others stay."""
    names, wanted = {*CHOICES, *OTHERS}, saved()["view"]
    others = {name: value for name, value in st.query_params.to_dict().items() if name not in names}
    if st.query_params.to_dict() != {**others, **wanted}:
        st.query_params.from_dict({**others, **wanted})


def restore(given: Mapping[str, str], model: str, text: str) -> list[str]:
    """Sets this session's widgets from a link's parameters; a sentence for each value passed over."""
    complaints = []
    token = given.get("token", "")
    if token.isdecimal() and len(token) < 6:
        st.session_state.chosen = int(token)
    for key, choices in CHOICES.items():
        values = {str(value): value for value in choices}
        if given.get(key) in values:
            st.session_state[key] = values[given[key]]
        elif key in given:
            complaints.append(f"The link's {key} {given[key][:40]!r} is not known here; it was passed over.")
    if "size" in given:
        st.session_state["size-linked"] = step = size_step(given["size"])
        if step is None:
            complaints.append(f"The link's size {given['size'][:40]!r} is no share from 0 to 1; it was passed over.")
    if "picked" in given:
        st.session_state["picked-linked"] = picked = read_picked(given["picked"])
        if picked is None:
            complaints.append("The link's pick in the circuit cannot be read; it was passed over.")
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


def picked_word(pick: Mapping[str, Any]) -> str:
    """A pick in a circuit as a link has it: a state's depth and position, or what tells an edge from others."""
    edge = pick.get("edge")
    names, values = (("depth", "position"), pick["state"]) if edge is None else (IDENTITY, edge)
    return json.dumps([values[name] for name in names], separators=(",", ":"))


def read_picked(written: str) -> list[Any] | None:
    """What a link picks in a circuit, as `picked_word` has it; ``None`` if it is not that."""
    try:
        values = json.loads(written)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, list) or len(values) not in (2, len(IDENTITY)):
        return None
    wholes = values if len(values) == 2 else [value for value in values[1:] if value is not None]
    return values if all(type(value) is int and -1 <= value <= MOST_NUMBER for value in wholes) else None


def pick_linked(about: Sequence[Any], circuit: Mapping[str, Any]) -> None:
    """Picks what the link does, once it is in the circuit drawn, unless something has been picked in it."""
    linked, (of, _) = st.session_state.get("picked-linked"), st.session_state.get("circuit-picked", (None, None))
    if linked is None or of == about:
        return
    edges = [edge for edge in circuit["edges"] if [edge[name] for name in IDENTITY] == linked]
    if edges or len(linked) == 2:
        pick = {"edge": edges[0]} if edges else {"state": dict(zip(("depth", "position"), linked, strict=True))}
        st.session_state["circuit-picked"] = (about, pick)
        st.session_state["picked-linked"] = None


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
