"""A circuit as a drawing: states on the grid of tokens and depths, edges between them that never lie on each other.

Everything is made from plain documents, the ``circuit`` of the schema ``density.explore/1``; nothing is measured here.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from density.graph import Kind, depth_after, layer_of, part_name, writer_of
from density.view import visible

# Between columns whose tokens are not neighbours in the text.
GAP = 0.6
# What tells an edge from every other of its circuit, together with its states.
IDENTITY = ("write", "layer", "head", "expert", "query", "key")
SENT = ("name", "kind", "write", "layer", "head", "expert", "importance", "entry")


def first(circuit: Mapping[str, Any], most: int) -> dict[str, Any]:
    """The largest trace within ``circuit`` of at most ``most`` edges, drawn as `density.circuit.draw` draws it.

    Edges that enter together stay together; only where the first level alone has more than ``most``, it is cut.
    """
    edges = circuit["edges"]
    count = min(most, len(edges))
    end = count
    while 0 < end < len(edges) and edges[end - 1]["entry"] == edges[end]["entry"]:
        end -= 1
    kept = edges[: end or count]
    return {**circuit, "edges": kept, "edges_left_out": circuit["edges_left_out"] + len(edges) - len(kept)}


def drawn_in_words(circuit: Mapping[str, Any]) -> str:
    """How much of the trace is drawn."""
    drawn, left = len(circuit["edges"]), circuit["edges_left_out"]
    if drawn + left == 0:
        return "The trace is empty: it has no edges."
    if left == 0:
        return f"All {drawn:,} edges of the trace."
    return f"The first {drawn:,} of the trace's {drawn + left:,} edges; {left:,} are left out."


def lay_out(circuit: Mapping[str, Any], tokens: Sequence[str]) -> dict[str, Any]:
    """Where everything is: x in columns, y in depths, both from 0; strict JSON.

    Args:
        circuit: To be drawn.
        tokens: The text of every token.

    Returns:
        ``columns``, one a token that has a state, from the left; ``states``, the output first, then downwards;
        ``edges``, a list an attribute, in the order of the circuit, with the numbers of their states and their bends.
    """
    output = circuit["output"]
    found = {(output["depth"], output["position"])}
    for edge in circuit["edges"]:
        found |= {place(edge["source"]), place(edge["target"])}
    columns = lay_columns({position for _, position in found}, tokens)
    x = {column["position"]: column["x"] for column in columns}
    ordered = sorted(found, key=lambda state: (-state[0], state[1]))
    number = {state: index for index, state in enumerate(ordered)}
    drawn = {name: [edge[name] for edge in circuit["edges"]] for name in SENT}
    drawn["source"] = [number[place(edge["source"])] for edge in circuit["edges"]]
    drawn["target"] = [number[place(edge["target"])] for edge in circuit["edges"]]
    drawn["bend"] = bends(circuit["edges"])
    return {
        "depths": output["depth"],
        "ticks": ticks(output["depth"], circuit["parallel"]),
        "columns": columns,
        "states": [
            {"depth": depth, "position": position, "x": x[position], "y": depth, "name": name}
            for depth, position in ordered
            for name in [state_name(depth, position, circuit["parallel"], tokens)]
        ],
        "output": number[place(output)],
        "edges": drawn,
    }


def place(state: Mapping[str, int]) -> tuple[int, int]:
    """A state's depth and position."""
    return state["depth"], state["position"]


def lay_columns(positions: set[int], tokens: Sequence[str]) -> list[dict[str, Any]]:
    """A column a position, one apart; `GAP` more where positions in between have none, which ``skipped`` counts."""
    ordered = sorted(positions)
    x = 0.0
    columns = [{"position": ordered[0], "token": visible(tokens[ordered[0]]), "x": x, "skipped": ordered[0]}]
    for before, position in pairwise(ordered):
        skipped = position - before - 1
        x += 1 + (GAP if skipped else 0)
        columns.append({"position": position, "token": visible(tokens[position]), "x": x, "skipped": skipped})
    return columns


def bends(edges: Sequence[Mapping[str, Any]]) -> list[int]:
    """How each edge bends, so that no two between the same states lie on each other.

    The residual is straight, 0; MLPs bend to the right, 1, 2, ...; a head's edge at its own token to the left, -1, -2,
    ...; heads between two tokens fan out, 0, 1, -1, 2, ...
    """
    met: Counter[tuple[Any, ...]] = Counter()
    found = []
    for edge in edges:
        pair = (place(edge["source"]), place(edge["target"]), edge["kind"])
        before = met[pair]
        met[pair] += 1
        if edge["kind"] == "residual":
            found.append(0)
        elif edge["kind"] == "mlp":
            found.append(before + 1)
        elif edge["query"] == edge["key"]:
            found.append(-before - 1)
        else:
            found.append((before + 1) // 2 * (1 if before % 2 else -1))
    return found


def ticks(depths: int, parallel: bool) -> list[list[Any]]:
    """The depths that a layer ends at, with its number; the embeddings are at 0."""
    step = depth_after(1, parallel)
    return [[depth, str(layer_of(depth, parallel))] for depth in range(step, depths + 1, step)]


def state_name(depth: int, position: int, parallel: bool, tokens: Sequence[str]) -> str:
    """A state in words; the token's text is between marks that keep its direction to itself."""
    token = f"\N{FIRST STRONG ISOLATE}“{visible(tokens[position])}”\N{POP DIRECTIONAL ISOLATE} (token {position})"
    return f"{token} after {writer_of(depth, parallel)}" if depth else f"{token}, embedding"


def around(circuit: Mapping[str, Any], depth: int, position: int, count: int) -> tuple[list[Any], list[Any]]:
    """Of the circuit's edges, the ``count`` most important into a state, and out of it."""
    sides = []
    for side in ("target", "source"):
        edges = [edge for edge in circuit["edges"] if place(edge[side]) == (depth, position)]
        sides.append(sorted(edges, key=lambda edge: -edge["importance"])[:count])
    return sides[0], sides[1]


def beside(circuit: Mapping[str, Any], edge: Mapping[str, Any]) -> list[Any]:
    """The circuit's edges of ``edge``'s kind between its two states, itself among them; the most important first."""
    ends = ("kind", "source", "target")
    found = [one for one in circuit["edges"] if all(one[name] == edge[name] for name in ends)]
    return sorted(found, key=lambda one: -one["importance"])


def signature(laid: Mapping[str, Any]) -> str:
    """A name for a drawing: another drawing has another."""
    return hashlib.sha256(json.dumps(laid, allow_nan=False, sort_keys=True).encode()).hexdigest()[:16]


def picked(given: object, name: str, laid: Mapping[str, Any], circuit: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was clicked in a drawing, out of the circuit itself: ``{"state": ...}`` or ``{"edge": ...}``.

    Args:
        given: Comes from a browser, and may be anything: ``{"circuit": name, "state": number}``, or ``"edge"``.
        name: The drawing's `signature`.
        laid: The drawing.
        circuit: What it is of.

    Returns:
        ``None`` for a click in another drawing, or none at all.
    """
    if not isinstance(given, Mapping) or given.get("circuit") != name:
        return None
    for kind, numbered in (("state", laid["states"]), ("edge", circuit["edges"])):
        number = given.get(kind)
        if type(number) is int and 0 <= number < len(numbered):
            if kind == "edge":
                return {"edge": numbered[number]}
            return {"state": {"depth": numbered[number]["depth"], "position": numbered[number]["position"]}}
    return None


def find(pick: Mapping[str, Any] | None, laid: Mapping[str, Any], circuit: Mapping[str, Any]) -> dict[str, int] | None:
    """A pick as its number in a drawing; ``None`` if it is not in this one."""
    if pick is None:
        return None
    if "state" in pick:
        wanted: Any = place(pick["state"])
        numbers = [number for number, state in enumerate(laid["states"]) if place(state) == wanted]
        return {"state": numbers[0]} if numbers else None
    wanted = [pick["edge"][name] for name in IDENTITY]
    numbers = [number for number, edge in enumerate(circuit["edges"]) if [edge[name] for name in IDENTITY] == wanted]
    return {"edge": numbers[0]} if numbers else None


def switches_for(pick: Mapping[str, Any], parallel: bool) -> dict[str, dict[str, Any]]:
    """What can be switched at a pick, by what it is called; values are arguments of `density.switches.Switch`."""
    if "state" in pick:
        depth, position = place(pick["state"])
        layer = layer_of(depth, parallel)
        if layer is None:
            return {}
        return {
            f"Layer {layer} at token {position}": switch(layer, query=position),
            f"Layer {layer} everywhere": switch(layer),
        }
    edge = pick["edge"]
    layer, write, query = edge["layer"], edge["write"], edge["query"]
    same = {"kind": write, "head": edge["head"], "expert": edge["expert"]}
    if edge["kind"] == "residual":
        return {"This edge": switch(layer, **same, query=query)}
    found = {}
    if edge["kind"] == "head":
        found["This edge"] = switch(layer, **same, query=query, key=edge["key"])
    name = part_name(layer, Kind(write), edge["head"], edge["expert"])
    found[f"{name} at token {query}"] = switch(layer, **same, query=query)
    found[f"{name} everywhere"] = switch(layer, **same)
    found[f"Layer {layer} everywhere"] = switch(layer)
    return found


def switch(layer: int, **given: Any) -> dict[str, Any]:
    """Every argument of a switch that switches off."""
    empty = {"kind": None, "head": None, "query": None, "key": None, "expert": None}
    return {"layer": layer, **empty, **given, "on": False}
