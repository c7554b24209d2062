"""The controls of s-Trace (section 4): is a trace better than as many random edges, and is the rest worse?

In both replays every residual edge is kept besides, so that a control is not beaten by a mere break in the stream.
"""

import copy
import random
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from density.edges import composition
from density.errors import TooLarge
from density.fidelity import probabilities, total_variation
from density.graph import Edge, Kind, State, depth_after, layer_of
from density.importance import Importances
from density.reading import Reading
from density.replay import Keep, KeepTraces, Kept, replay
from density.traces import Trace, Traces

# Random edges are grown one by one, in seconds a million: so many at most, with a look up after so many.
MOST_GROWN, GLANCE = 50_000_000, 2**14


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
        visible = self.inner.heads[layer] > -torch.inf
        return Kept(
            residual_attention=torch.ones_like(kept.residual_attention),
            heads=~kept.heads & visible,
            residual_mlp=None if kept.residual_mlp is None else torch.ones_like(kept.residual_mlp),
            mlp=~kept.mlp,
        )


class KeepEdges:
    """Keeps edges of one prediction, and all residual ones if asked; a batch of one item unless `first` is asked.

    Args:
        importances: Of the text.
        position: Of the prediction.
        edges: In their order; they are looked at once, and not held.
        residuals: Whether all residual edges are kept besides.
    """

    def __init__(self, importances: Importances, position: int, edges: Iterable[Edge], residuals: bool = False) -> None:
        self.device, self.parallel = importances.heads.device, importances.parallel
        layers, heads, _, _ = importances.heads.shape
        length = position + 1
        shapes = {Kind.HEAD: (layers, heads, length, length), Kind.MLP: (layers, length, importances.mlp.shape[-1])}
        # When each edge is taken: an item keeps those before its count.
        never = torch.iinfo(torch.int32).max
        self.taken = {
            kind: torch.full(shapes.get(kind, (layers, length)), never, dtype=torch.int32)
            for kind in (Kind.RESIDUAL_ATTENTION, Kind.HEAD, Kind.RESIDUAL_MLP, Kind.MLP)
        }
        places, number = {kind: taken.numpy() for kind, taken in self.taken.items()}, 0
        for number, edge in enumerate(edges, 1):
            places[edge.kind][self.place(importances, edge)] = number - 1
        if residuals:
            for kind in (Kind.RESIDUAL_ATTENTION, Kind.RESIDUAL_MLP):
                self.taken[kind].fill_(-1)
        self._keep([position], [number])

    def _keep(self, positions: list[int], counts: Sequence[int]) -> None:
        self.positions = positions
        self.counts = torch.tensor(counts, dtype=torch.int32, device=self.device)

    def first(self, counts: Sequence[int]) -> "KeepEdges":
        """The same with an item a count, which keeps the first so many of the edges."""
        found = copy.copy(self)
        found._keep(self.positions[:1] * len(counts), counts)
        return found

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
        layer = layer_of(state.depth, parallel)
        assert layer is not None
        self.layer, self.position = layer, state.position
        after_attention, after_mlp = parallel or state.depth % 2 == 1, parallel or state.depth % 2 == 0
        skip = Kind.RESIDUAL_ATTENTION if after_attention else Kind.RESIDUAL_MLP
        self.first = [Edge(self.layer, skip, self.position, self.position)]
        if after_mlp:
            experts = [None] if importances.experts is None else importances.experts[self.layer, self.position].tolist()
            self.first += [Edge(self.layer, Kind.MLP, self.position, self.position, expert=one) for one in experts]
        self.keys = visible[self.layer, self.position].nonzero()[:, 0].tolist() if after_attention else []
        # A head edge is a number here, ``head * keys + place of the key``: few of them are ever taken.
        self.heads = array("I", range(importances.heads.shape[1] * len(self.keys)))

    def take(self, rng: random.Random) -> Edge:
        """One of its edges, at random within the kind."""
        if self.first:
            return swap_pop(self.first, rng.randrange(len(self.first)))
        head, place = divmod(swap_pop(self.heads, rng.randrange(len(self.heads))), len(self.keys))
        return Edge(self.layer, Kind.HEAD, self.position, self.keys[place], head)


def grow_random(
    importances: Importances, position: int, count: int, seed: int, check: Callable[[], None] = lambda: None
) -> Iterator[Edge]:
    """``count`` edges grown backward from the output of the prediction at ``position``, at random.

    Picks a reached state with edges left, then one of its incoming edges: skip and MLP before heads, at random within
    each. Yields fewer only if the full graph has fewer. ``check`` is called now and then; what it raises stops it.

    Raises:
        TooLarge: More than `MOST_GROWN`.
    """
    if count > MOST_GROWN:
        raise TooLarge(
            f"{count:,} random edges would be grown for a control, and {MOST_GROWN:,} are grown at most; choose a "
            "shorter text or a smaller trace, or leave the controls out."
        )
    rng = random.Random(seed)
    visible = importances.heads[:, 0] > -torch.inf
    output = State(depth_after(len(visible), importances.parallel), position)
    reached, open_states = {output}, [OpenState(importances, visible, output)]
    for grown in range(count):
        if not open_states:
            return
        if grown % GLANCE == 0:
            check()
        chosen = rng.randrange(len(open_states))
        edge = open_states[chosen].take(rng)
        yield edge
        if not open_states[chosen].first and not open_states[chosen].heads:
            swap_pop(open_states, chosen)
        source = edge.source(importances.parallel)
        if source not in reached and source.depth > 0:
            reached.add(source)
            open_states.append(OpenState(importances, visible, source))


def swap_pop(items: list | array, index: int):
    """Takes out one item in constant time; the order of the rest changes."""
    items[index], items[-1] = items[-1], items[index]
    return items.pop()


def run_control(reading: Reading, keep: Keep, edges: int, edges_kept: int) -> ControlResult:
    """Replays ``keep``, one item, and measures its distance from the full model."""
    found = probabilities(replay(reading.model.decoder, reading.ids, keep, reading.run.importances.experts))
    distance = total_variation(reading.full_probabilities(keep.positions), found)
    return ControlResult(edges, edges_kept, float(distance[0]))


def random_edges(reading: Reading, trace: Trace, seed: int, check: Callable[[], None] = lambda: None) -> KeepEdges:
    """Keeps as many random edges as ``trace`` has, and all residual ones; its first are those of a smaller trace."""
    importances, position = reading.run.importances, trace.position
    edges = grow_random(importances, position, trace.edges, seed, check)
    return KeepEdges(importances, position, edges, residuals=True)


def random_control(reading: Reading, trace: Trace, grown: KeepEdges) -> ControlResult:
    """As many random edges as ``trace`` has, the first of those ``grown`` (see `random_edges`)."""
    traces = reading.traces([trace.position])
    others = sum(int((grown.taken[kind] < trace.edges).sum()) for kind in (Kind.HEAD, Kind.MLP))
    kept = others + residual_edges(traces, traces.of_size(trace.position, 1.0))
    return run_control(reading, grown.first([trace.edges]), trace.edges, kept)


def complement_control(reading: Reading, trace: Trace) -> ControlResult:
    """Everything but ``trace``."""
    traces = reading.traces([trace.position])
    chosen = trace.edges_full - trace.edges
    kept = chosen + residual_edges(traces, trace)
    return run_control(reading, KeepComplement(traces, [trace]), chosen, kept)


def residual_edges(traces: Traces, trace: Trace) -> int:
    """How many of a trace's edges are residual."""
    return composition(traces, trace).by_kind["residual"]
