"""A trace as something to look at: the circuit that is drawn, and what traces of every size are made of."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from density.edges import RankedEdge, by_kind, entries, strongest
from density.graph import GROUPS, Kind, State, depth_after
from density.reading import Reading
from density.traces import Trace, Traces


@dataclass(frozen=True, slots=True)
class Circuit:
    """The part of a trace that is drawn: a smaller trace, so that it is connected too.

    Attributes:
        trace: What is drawn.
        edges: Its edges, in the order they enter.
        left_out: How many edges of the larger trace are not drawn.
        parallel: Whether the model's blocks are parallel.
        depths: Depth of the output state; the embeddings are at 0.
    """

    trace: Trace
    edges: tuple[RankedEdge, ...]
    left_out: int
    parallel: bool
    depths: int

    @property
    def output(self) -> State:
        """The state that makes the prediction."""
        return State(self.depths, self.trace.position)


def draw(reading: Reading, trace: Trace, most: int) -> Circuit:
    """The largest trace within ``trace`` of at most ``most`` edges, to be drawn.

    Where even the first level has more edges than that, its first ``most`` are drawn: still connected to the output.
    """
    traces = reading.traces([trace.position])
    (inside,) = traces.largest([trace.position], [min(most, trace.edges)])
    edges = strongest(traces, trace.position, inside.edges or min(most, trace.edges))
    parallel = reading.run.importances.parallel
    depths = depth_after(reading.model.decoder.layers, parallel)
    return Circuit(inside, tuple(edges), trace.edges - len(edges), parallel, depths)


@dataclass(frozen=True, slots=True)
class Makeup:
    """What traces of one prediction are made of, size by size.

    Attributes:
        sizes: Of the traces, as shares of the full graph.
        kinds: Share of each trace's edges by kind, in the order of `density.graph.GROUPS`; 0 for an empty trace.
        layers: Share of each trace's edges by layer.
    """

    sizes: tuple[float, ...]
    kinds: Float[Tensor, "trace kind"]
    layers: Float[Tensor, "trace layer"]


@torch.no_grad()
def makeup(traces: Traces, picked: Sequence[Trace]) -> Makeup:
    """The make-up of each trace of ``picked``, all of one prediction; of the heads' edges, what the others leave."""
    (position,) = {trace.position for trace in picked}
    levels = traces.importances.heads.new_tensor([trace.level for trace in picked])
    layers = traces.count_by_layer([position] * len(picked), levels)
    total = layers.sum(1)
    counts = {group: torch.zeros_like(total) for group in GROUPS}
    for kind, entry in entries(traces, position, [kind for kind in Kind if kind is not Kind.HEAD]).items():
        counts[kind.group] += (entry.flatten() >= levels[:, None]).sum(1)
    counts["head"] = total - counts["residual"] - counts["mlp"]
    every = total.clamp(min=1)[:, None]
    kinds = torch.stack([counts[group] for group in GROUPS], 1)
    return Makeup(tuple(trace.size for trace in picked), (kinds / every).cpu(), (layers / every).cpu())


@torch.no_grad()
def head_map(traces: Traces, trace: Trace) -> tuple[Int[Tensor, "layer head"], Float[Tensor, "layer head"]]:
    """How many edges each head has in ``trace``, and the sum of their importances."""
    entry = entries(traces, trace.position)[Kind.HEAD]
    inside = entry >= trace.level
    importance = by_kind(traces.importances)[Kind.HEAD]
    return inside.sum((1, 3)), torch.where(inside, importance, 0).sum((1, 3))


@torch.no_grad()
def sources(traces: Traces, trace: Trace) -> tuple[Int[Tensor, " position"], Float[Tensor, " position"]]:
    """How many head edges of ``trace`` read from each token at another position, and the sum of their importances."""
    entry = entries(traces, trace.position)[Kind.HEAD]
    inside = entry >= trace.level
    inside.diagonal(dim1=1, dim2=3).fill_(False)
    importance = by_kind(traces.importances)[Kind.HEAD]
    length = trace.position + 1
    return inside.sum((0, 1, 2))[:length], torch.where(inside, importance, 0).sum((0, 1, 2))[:length]
