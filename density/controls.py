"""The controls of s-Trace (section 4): is a trace better than as many random edges, and is the rest worse?

In both replays every residual edge is kept besides, so that a control is not beaten by a mere break in the stream.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from density.fidelity import probabilities, total_variation
from density.graph import Edge, Kind
from density.importance import Importances
from density.reading import Reading
from density.replay import Keep, KeepTraces, Kept, replay
from density.traces import Trace, Traces, composition


@dataclass(frozen=True, slots=True)
class ControlResult:
    """A control's replay.

    Attributes:
        edges: Edges chosen.
        edges_kept: Edges kept, with the residual edges that were not chosen.
        total_variation: From the full model's distribution.
    """

    edges: int
    edges_kept: int
    total_variation: float


class KeepComplement:
    """Keeps everything but a trace's edges, and all residual edges; one trace an item."""

    def __init__(self, traces: Traces, batch: Sequence[Trace]) -> None:
        self.inner = KeepTraces(traces, batch)
        self.positions = self.inner.positions

    def layer(self, layer: int) -> Kept:
        kept = self.inner.layer(layer)
        return Kept(
            residual_attention=torch.ones_like(kept.residual_attention),
            heads=~kept.heads,
            residual_mlp=None if kept.residual_mlp is None else torch.ones_like(kept.residual_mlp),
            mlp=~kept.mlp,
        )


class KeepEdges:
    """Keeps the given edges of one prediction, and all residual edges if asked; a batch of one item."""

    def __init__(self, importances: Importances, position: int, edges: Sequence[Edge], residuals: bool = False) -> None:
        self.positions = [position]
        layers, heads, _, _ = importances.heads.shape
        length, device = position + 1, importances.heads.device
        self.heads = torch.zeros(layers, heads, length, length, dtype=torch.bool)
        self.mlp = torch.zeros(layers, length, importances.mlp.shape[-1], dtype=torch.bool)
        self.skips = {
            kind: torch.full((layers, length), residuals) for kind in (Kind.RESIDUAL_ATTENTION, Kind.RESIDUAL_MLP)
        }
        for edge in edges:
            if edge.kind is Kind.HEAD:
                self.heads[edge.layer, edge.head, edge.query, edge.key] = True
            elif edge.kind is Kind.MLP:
                self.mlp[edge.layer, edge.query, self.place(importances, edge)] = True
            else:
                self.skips[edge.kind][edge.layer, edge.query] = True
        self.device, self.parallel = device, importances.parallel

    @staticmethod
    def place(importances: Importances, edge: Edge) -> int:
        """Which of its token's MLP edges ``edge`` is."""
        if importances.experts is None:
            return 0
        return importances.experts[edge.layer, edge.query].tolist().index(edge.expert)

    def layer(self, layer: int) -> Kept:
        second = self.skips[Kind.RESIDUAL_MLP][layer][None].to(self.device)
        return Kept(
            residual_attention=self.skips[Kind.RESIDUAL_ATTENTION][layer][None].to(self.device),
            heads=self.heads[layer][None].to(self.device),
            residual_mlp=None if self.parallel else second,
            mlp=self.mlp[layer][None].to(self.device),
        )


def grow_random(importances: Importances, position: int, count: int, seed: int) -> list[Edge]:
    """``count`` edges grown backward from the output of the prediction at ``position``, at random.

    Picks a reached state with edges left, then one of its incoming edges: skip and MLP before heads, at random within
    each. Returns fewer only if the full graph has fewer.
    """
    rng = random.Random(seed)
    visible = importances.heads[:, 0] > -torch.inf
    last = 2 * len(visible) if not importances.parallel else len(visible)
    reached = {(last, position)}
    open_states = [incoming_edges(importances, visible, last, position)]
    grown: list[Edge] = []
    while len(grown) < count and open_states:
        chosen = rng.randrange(len(open_states))
        first, heads = open_states[chosen]
        edges = first or heads
        edge = swap_pop(edges, rng.randrange(len(edges)))
        grown.append(edge)
        if not first and not heads:
            swap_pop(open_states, chosen)
        source = edge.source(importances.parallel)
        if (source.depth, source.position) not in reached and source.depth > 0:
            reached.add((source.depth, source.position))
            open_states.append(incoming_edges(importances, visible, source.depth, source.position))
    return grown


def swap_pop(items: list, index: int):
    """Takes out one item in constant time; the order of the rest changes."""
    items[index], items[-1] = items[-1], items[index]
    return items.pop()


def incoming_edges(
    importances: Importances, visible: Bool[Tensor, "layer query key"], depth: int, position: int
) -> tuple[list[Edge], list[Edge]]:
    """The edges into a state: skip and MLPs, and heads."""
    layer = depth - 1 if importances.parallel else (depth - 1) // 2
    after_attention = importances.parallel or depth % 2 == 1
    after_mlp = importances.parallel or depth % 2 == 0
    skip = Kind.RESIDUAL_ATTENTION if after_attention else Kind.RESIDUAL_MLP
    first, heads = [Edge(layer, skip, position, position)], []
    if after_mlp:
        experts = [None] if importances.experts is None else importances.experts[layer, position].tolist()
        first += [Edge(layer, Kind.MLP, position, position, expert=expert) for expert in experts]
    if after_attention:
        keys = visible[layer, position].nonzero()[:, 0].tolist()
        heads = [
            Edge(layer, Kind.HEAD, position, key, head) for head in range(importances.heads.shape[1]) for key in keys
        ]
    return first, heads


def run_control(reading: Reading, keep: Keep, edges: int, edges_kept: int) -> ControlResult:
    """Replays ``keep``, one item, and measures its distance from the full model."""
    found = probabilities(replay(reading.model.decoder, reading.ids, keep, reading.run.importances.experts))
    distance = total_variation(reading.full_probabilities(keep.positions), found)
    return ControlResult(edges, edges_kept, float(distance[0]))


def random_control(reading: Reading, trace: Trace, seed: int) -> ControlResult:
    """As many random edges as ``trace`` has."""
    importances, traces = reading.run.importances, reading.traces([trace.position])
    edges = grow_random(importances, trace.position, trace.edges, seed)
    residuals = residual_edges(traces, traces.of_size(trace.position, 1.0))
    kept = len(edges) + residuals - sum(edge.kind.group == "residual" for edge in edges)
    return run_control(reading, KeepEdges(importances, trace.position, edges, residuals=True), len(edges), kept)


def complement_control(reading: Reading, trace: Trace) -> ControlResult:
    """Everything but ``trace``."""
    traces = reading.traces([trace.position])
    chosen = trace.edges_full - trace.edges
    kept = chosen + residual_edges(traces, trace)
    return run_control(reading, KeepComplement(traces, [trace]), chosen, kept)


def residual_edges(traces: Traces, trace: Trace) -> int:
    """How many of a trace's edges are residual."""
    return composition(traces, trace).by_kind["residual"]
