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
from density.graph import Edge, Kind, State
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
        kept, length = self.inner.layer(layer), self.inner.length
        visible = self.inner.importances.heads[layer, :, :length, :length] > -torch.inf
        return Kept(
            residual_attention=torch.ones_like(kept.residual_attention),
            heads=~kept.heads & visible,
            residual_mlp=None if kept.residual_mlp is None else torch.ones_like(kept.residual_mlp),
            mlp=~kept.mlp,
        )


class KeepEdges:
    """Keeps edges of one prediction: for each item of a batch, the first so many of them, and all residual if asked.

    Args:
        importances: Of the text.
        position: Of the prediction.
        edges: In their order.
        residuals: Whether all residual edges are kept besides.
        counts: How many of ``edges`` each item keeps; all of them, in a batch of one item, by default.
    """

    def __init__(
        self,
        importances: Importances,
        position: int,
        edges: Sequence[Edge],
        residuals: bool = False,
        counts: Sequence[int] | None = None,
    ) -> None:
        counts = [len(edges)] if counts is None else counts
        self.positions, self.device, self.parallel = (
            [position] * len(counts),
            importances.heads.device,
            importances.parallel,
        )
        self.counts = torch.tensor(counts, dtype=torch.int32, device=self.device)
        layers, heads, _, _ = importances.heads.shape
        length, never = position + 1, len(edges)
        shapes = {Kind.HEAD: (layers, heads, length, length), Kind.MLP: (layers, length, importances.mlp.shape[-1])}
        # When each edge is taken: an item keeps those before its count.
        self.taken = {
            kind: torch.full(shapes.get(kind, (layers, length)), never, dtype=torch.int32)
            for kind in (Kind.RESIDUAL_ATTENTION, Kind.HEAD, Kind.RESIDUAL_MLP, Kind.MLP)
        }
        if residuals:
            for kind in (Kind.RESIDUAL_ATTENTION, Kind.RESIDUAL_MLP):
                self.taken[kind].fill_(-1)
        for kind, taken in self.taken.items():
            if residuals and kind.group == "residual":
                continue
            mine = [(self.place(importances, edge), number) for number, edge in enumerate(edges) if edge.kind is kind]
            if mine:
                places, numbers = zip(*mine, strict=True)
                taken[tuple(torch.tensor(places).T)] = torch.tensor(numbers, dtype=torch.int32)

    @staticmethod
    def place(importances: Importances, edge: Edge) -> tuple[int, ...]:
        """Where ``edge`` is among those of its kind; of MLP edges, which of its token's it is."""
        if edge.kind is Kind.HEAD:
            assert edge.head is not None
            return edge.layer, edge.head, edge.query, edge.key
        if edge.kind is not Kind.MLP:
            return edge.layer, edge.query
        chosen = (
            0
            if importances.experts is None
            else importances.experts[edge.layer, edge.query].tolist().index(edge.expert)
        )
        return edge.layer, edge.query, chosen

    def layer(self, layer: int) -> Kept:
        kept = {}
        for kind, taken in self.taken.items():
            mine = taken[layer].to(self.device)
            kept[kind] = mine < self.counts.view(-1, *(1 for _ in mine.shape))
        return Kept(
            residual_attention=kept[Kind.RESIDUAL_ATTENTION],
            heads=kept[Kind.HEAD],
            residual_mlp=None if self.parallel else kept[Kind.RESIDUAL_MLP],
            mlp=kept[Kind.MLP],
        )


class OpenState:
    """A reached state and those of its incoming edges that have not been taken: skip and MLPs, then heads."""

    def __init__(self, importances: Importances, visible: Bool[Tensor, "layer query key"], state: State) -> None:
        parallel = importances.parallel
        self.layer = state.depth - 1 if parallel else (state.depth - 1) // 2
        self.position = state.position
        after_attention, after_mlp = parallel or state.depth % 2 == 1, parallel or state.depth % 2 == 0
        skip = Kind.RESIDUAL_ATTENTION if after_attention else Kind.RESIDUAL_MLP
        self.first = [Edge(self.layer, skip, self.position, self.position)]
        if after_mlp:
            experts = [None] if importances.experts is None else importances.experts[self.layer, self.position].tolist()
            self.first += [Edge(self.layer, Kind.MLP, self.position, self.position, expert=one) for one in experts]
        self.keys = visible[self.layer, self.position].nonzero()[:, 0].tolist() if after_attention else []
        # A head edge is a number here, ``head * keys + place of the key``: few of them are ever taken.
        self.heads = list(range(importances.heads.shape[1] * len(self.keys)))

    def take(self, rng: random.Random) -> Edge:
        """One of its edges, at random within the kind."""
        if self.first:
            return swap_pop(self.first, rng.randrange(len(self.first)))
        head, place = divmod(swap_pop(self.heads, rng.randrange(len(self.heads))), len(self.keys))
        return Edge(self.layer, Kind.HEAD, self.position, self.keys[place], head)


def grow_random(importances: Importances, position: int, count: int, seed: int) -> list[Edge]:
    """``count`` edges grown backward from the output of the prediction at ``position``, at random.

    Picks a reached state with edges left, then one of its incoming edges: skip and MLP before heads, at random within
    each. Returns fewer only if the full graph has fewer.
    """
    rng = random.Random(seed)
    visible = importances.heads[:, 0] > -torch.inf
    output = State(len(visible) * (1 if importances.parallel else 2), position)
    reached, open_states = {output}, [OpenState(importances, visible, output)]
    grown: list[Edge] = []
    while len(grown) < count and open_states:
        chosen = rng.randrange(len(open_states))
        edge = open_states[chosen].take(rng)
        grown.append(edge)
        if not open_states[chosen].first and not open_states[chosen].heads:
            swap_pop(open_states, chosen)
        source = edge.source(importances.parallel)
        if source not in reached and source.depth > 0:
            reached.add(source)
            open_states.append(OpenState(importances, visible, source))
    return grown


def swap_pop(items: list, index: int):
    """Takes out one item in constant time; the order of the rest changes."""
    items[index], items[-1] = items[-1], items[index]
    return items.pop()


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
