"""One prediction of one tiny model, by the engine and by the reference: what both of their tests compare."""

import itertools
from collections.abc import Iterator

import torch

from density.edges import edge_at, kept_edges
from density.fidelity import probabilities, total_variation
from density.importance import run_whole
from density.replay import KeepTraces, replay
from density.traces import Traces
from tests import reference
from tests.tiny import Case, random_ids, tiny

# Hugging Face keeps rotary frequencies in float32; the reference does not.
CLOSE = 1e-6
FROM_NOTHING_TO_ALL = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.95, 1.0)


def as_tuple(edge) -> reference.Edge:
    """An edge of the engine as the reference names it."""
    return reference.Edge(edge.kind.value, edge.layer, edge.query, edge.key, edge.head, edge.expert)


class Pair:
    """One prediction of one tiny model, by the engine and by the reference; both in float64."""

    def __init__(self, case: Case, length: int, position: int, rule: str, seed: int = 0) -> None:
        self.family, self.ids, self.position = tiny(case, seed, dtype=torch.float64), random_ids(length, seed), position
        self.importances = run_whole(self.family, self.ids, rule).importances
        self.traces = Traces(self.importances, [position])
        self.graph = reference.build_graph(self.family.model, self.ids.tolist(), position, rule)
        self.growth = reference.grow(self.graph, self.graph.graph["output"])

    def edges(self, masks) -> set[reference.Edge]:
        """The engine's edges at ``True``, as the reference names them."""
        return {
            as_tuple(edge_at(self.importances, kind, place))
            for kind, mask in masks.items()
            for place in mask.nonzero().tolist()
        }

    def boundaries(self) -> Iterator[tuple[float, int]]:
        """Thresholds between two levels that rounding cannot mistake, each with the number of edges above it."""
        levels = reference.levels(self.growth)
        for (upper, count), (lower, _) in itertools.pairwise(levels):
            if upper - lower > 4 * CLOSE:
                yield (upper + lower) / 2, count

    def replays(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, float, float]]:
        """Traces of several sizes replayed: the engine's logits and the reference's, then the total variation of each.

        Both total variations are to the reference's full run.
        """
        traces = [self.traces.of_size(self.position, size) for size in FROM_NOTHING_TO_ALL]
        mine = replay(self.family, self.ids, KeepTraces(self.traces, traces), self.importances.experts)
        ids = self.ids.tolist()
        full = reference.forward(self.family.model, ids[: self.position + 1])
        distances = total_variation(probabilities(mine), probabilities(full)[None]).tolist()
        for trace, logits, distance in zip(traces, mine, distances, strict=True):
            edges = self.edges(kept_edges(self.traces, trace))
            theirs = reference.replay(self.family.model, ids, self.position, edges)
            yield logits, theirs, distance, reference.total_variation(theirs, full)
