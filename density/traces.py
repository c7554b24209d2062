"""Traces: nested families of subgraphs, two numbers a prediction (method: IFR section 2, s-Trace section 3).

``entry(edge) = min(importance(edge), widest(target of edge))`` is the threshold at which an edge enters, ``widest`` the
widest path from the prediction down to a state. A trace is every edge with ``entry >= threshold``, so nothing per edge
is stored per prediction: importances (one forward pass) and widest paths decide.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from density.importance import CHUNK_BYTES, Importances

# Of a product of a size and a number of edges; far less than an edge is of any graph.
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class WidestPaths:
    """The widest path from each prediction's output down to every state; ``-inf`` where there is no path.

    Attributes:
        attention: To the state that attention of a layer writes.
        mlp: To the state that the MLP of a layer writes; the same tensor as ``attention`` in parallel blocks.
        embedding: To the states at depth 0.
    """

    attention: Float[Tensor, "prediction layer query"]
    mlp: Float[Tensor, "prediction layer query"]
    embedding: Float[Tensor, "prediction position"]


@torch.no_grad()
def widest_paths(importances: Importances, positions: Sequence[int]) -> WidestPaths:
    """One max-min sweep down the layers, for all ``positions`` together; the output itself has ``+inf``."""
    layers, _, length, _ = importances.heads.shape
    strongest = importances.heads.amax(1)
    below_mlp = importances.mlp.amax(-1)
    if importances.residual_mlp is not None:
        below_mlp = torch.maximum(below_mlp, importances.residual_mlp)
    widest = strongest.new_full((len(positions), length), -torch.inf)
    widest[torch.arange(len(positions)), torch.as_tensor(positions)] = torch.inf
    attention, mlp = [], []
    for layer in reversed(range(layers)):
        mlp.append(widest)
        skip = importances.residual_attention[layer]
        if importances.parallel:
            skip = torch.maximum(skip, below_mlp[layer])
        else:
            widest = torch.minimum(widest, below_mlp[layer])
        attention.append(widest)
        widest = torch.maximum(torch.minimum(widest, skip), widest_source(strongest[layer], widest))
    up = torch.stack(attention[::-1], 1)
    return WidestPaths(up, up if importances.parallel else torch.stack(mlp[::-1], 1), widest)


def widest_source(
    strongest: Float[Tensor, "query key"], widest: Float[Tensor, "prediction query"]
) -> Float[Tensor, "prediction key"]:
    """The widest path down to each source: max over queries of min(strongest head, path to the query)."""
    step = max(1, CHUNK_BYTES // (strongest.numel() * strongest.element_size()))
    parts = [torch.minimum(strongest, some[:, :, None]).amax(1) for some in widest.split(step)]
    return torch.cat(parts)


@dataclass(frozen=True, slots=True)
class Trace:
    """The edges of one prediction that enter at ``threshold`` or before.

    Attributes:
        position: Last token the prediction sees.
        threshold: Strictly between the entry of the last edge inside and of the first one outside, unless asked for
            as it is; 0 for the full graph.
        level: The entry of the last edge inside, ``+inf`` for the empty trace: what masks are made with.
        edges: How many edges it has.
        edges_full: How many the full graph has.
    """

    position: int
    threshold: float
    level: float
    edges: int
    edges_full: int

    @property
    def size(self) -> float:
        """Share of the full graph's edges."""
        return self.edges / self.edges_full


def sorted_rows(importances: Importances) -> tuple[Float[Tensor, "row edge"], ...]:
    """Importances in ascending order within each state, a row a state; one sort serves every prediction and threshold.

    One tensor for the states that attention writes and one for those that MLPs write, which in parallel blocks are one.
    """
    groups = [[importances.heads.transpose(1, 2), importances.residual_attention[..., None]]]
    if importances.residual_mlp is None:
        groups[0].append(importances.mlp)
    else:
        groups.append([importances.residual_mlp[..., None], importances.mlp])
    return tuple(sorted_together(parts) for parts in groups)


def sorted_together(parts: Sequence[Float[Tensor, "layer query ..."]]) -> Float[Tensor, "row edge"]:
    """The entries of ``parts`` for each layer and query as an ascending row; a layer at a time, to sort in little."""
    layers, length = parts[0].shape[:2]
    rows = parts[0].new_empty(layers, length, sum(part[0, 0].numel() for part in parts))
    for layer, found in enumerate(rows):
        torch.cat([part[layer].flatten(1) for part in parts], -1, out=found)
        found.copy_(found.sort(-1).values)
    return rows.flatten(0, 1)


@dataclass(frozen=True, slots=True)
class Rows:
    """The edges into one kind of state, a row a state: their importances in ascending order."""

    ascending: Float[Tensor, "row edge"]
    widest: Float[Tensor, "prediction row"]


class Traces:
    """Every trace of the predictions at ``positions``, found by counting.

    Attributes:
        importances: Of the text's edges.
        positions: The predictions covered, ascending.
        widest: Their widest paths.
    """

    def __init__(
        self, importances: Importances, positions: Sequence[int], ascending: tuple[Tensor, ...] | None = None
    ) -> None:
        self.importances = importances
        self.positions = tuple(positions)
        self.index = {position: i for i, position in enumerate(self.positions)}
        self.widest = widest_paths(importances, self.positions)
        ascending = ascending or sorted_rows(importances)
        widest = (self.widest.mlp,) if importances.parallel else (self.widest.attention, self.widest.mlp)
        self.rows = tuple(Rows(row, paths.flatten(1)) for row, paths in zip(ascending, widest, strict=True))

    def covering(self, positions: Sequence[int]) -> "Traces":
        """The traces of other predictions of the same text; what is sorted is shared."""
        return Traces(self.importances, positions, tuple(rows.ascending for rows in self.rows))

    @cached_property
    def edges_full(self) -> dict[int, int]:
        """Edges of each prediction's full graph: all that can reach its output."""
        counts = self.count(self.positions, self.importances.heads.new_zeros(len(self.positions)))
        return dict(zip(self.positions, counts.tolist(), strict=True))

    @torch.no_grad()
    def count(self, positions: Sequence[int], thresholds: Float[Tensor, " prediction"]) -> Int[Tensor, " prediction"]:
        """Edges of the trace of each prediction at its threshold."""
        return self.count_by_layer(positions, thresholds).sum(1)

    @torch.no_grad()
    def count_by_layer(
        self, positions: Sequence[int], thresholds: Float[Tensor, " prediction"]
    ) -> Int[Tensor, "prediction layer"]:
        """The same, of each layer."""
        which = torch.tensor([self.index[position] for position in positions], device=thresholds.device)
        layers = len(self.importances.heads)
        total = torch.zeros(len(which), layers, dtype=torch.long, device=thresholds.device)
        for rows in self.rows:
            inside = rows.widest[which] >= thresholds[:, None]
            wanted = thresholds.expand(len(rows.ascending), -1).contiguous()
            entered = rows.ascending.shape[1] - torch.searchsorted(rows.ascending, wanted)
            total += (entered.T * inside).unflatten(1, (layers, -1)).sum(2)
        return total

    @torch.no_grad()
    def neighbours(
        self, positions: Sequence[int], thresholds: Float[Tensor, " prediction"]
    ) -> tuple[Float[Tensor, " prediction"], Float[Tensor, " prediction"]]:
        """The smallest entry at or above each threshold (``+inf``: none) and the largest below it (``-inf``: none)."""
        which = torch.tensor([self.index[position] for position in positions], device=thresholds.device)
        above = thresholds.new_full((len(which),), torch.inf)
        below = thresholds.new_full((len(which),), -torch.inf)
        for rows in self.rows:
            widest = rows.widest[which]
            wanted = thresholds.expand(len(rows.ascending), -1).contiguous()
            found = torch.searchsorted(rows.ascending, wanted)
            last = rows.ascending.shape[1] - 1
            upper = rows.ascending.gather(1, found.clamp(max=last)).T
            inside = (widest >= thresholds[:, None]) & (found <= last).T
            upper = torch.where(inside, upper, torch.inf)
            lower = rows.ascending.gather(1, (found - 1).clamp(min=0)).T
            lower = torch.where(found.T > 0, lower, -torch.inf)
            lower = torch.where(widest >= thresholds[:, None], lower, torch.minimum(widest, rows.ascending[:, -1]))
            above = torch.minimum(above, upper.amin(1))
            below = torch.maximum(below, lower.amax(1))
        return above, below

    @torch.no_grad()
    def largest(self, positions: Sequence[int], most: Sequence[int]) -> list[Trace]:
        """For each prediction, the largest trace with at most ``most`` edges, possibly empty.

        Bisects on the bits of the threshold (floats in [0, 2) are ordered as their bits are), so the level is exact.
        """
        dtype = self.importances.heads.dtype
        bits = {torch.float32: torch.int32, torch.float64: torch.int64}[dtype]
        limit = torch.tensor(most, device=self.importances.heads.device)
        low = torch.zeros(len(positions), dtype=bits, device=limit.device)
        high = torch.full_like(low, int(torch.tensor(2.0, dtype=dtype).view(bits)))
        high = torch.where(self.count(positions, low.view(dtype)) <= limit, low, high)
        while bool((high - low > 1).any()):
            middle = low + (high - low) // 2
            fits = self.count(positions, middle.view(dtype)) <= limit
            high, low = torch.where(fits, middle, high), torch.where(fits, low, middle)
        return self.at_levels(positions, high.view(dtype))

    def at_levels(self, positions: Sequence[int], thresholds: Float[Tensor, " prediction"]) -> list[Trace]:
        """The traces at ``thresholds``, their own threshold set half way to the next level below."""
        above, below = self.neighbours(positions, thresholds)
        edges = self.count(positions, thresholds)
        found = []
        for position, count, up, down in zip(positions, edges.tolist(), above.tolist(), below.tolist(), strict=True):
            threshold = 0.0 if down == -math.inf else (down + min(up, 1.0 if down < 1 else 2.0)) / 2
            found.append(Trace(position, threshold, up, count, self.edges_full[position]))
        return found

    def at_threshold(self, position: int, threshold: float) -> Trace:
        """The trace of one prediction at ``threshold`` exactly (an edge whose entry equals it is inside)."""
        wanted = torch.tensor([threshold], dtype=self.importances.heads.dtype)
        if wanted.item() < threshold:
            wanted = torch.nextafter(wanted, torch.full_like(wanted, torch.inf))
        (trace,) = self.at_levels([position], wanted.to(self.importances.heads.device))
        return Trace(position, threshold, trace.level, trace.edges, trace.edges_full)

    def of_size(self, position: int, size: float) -> Trace:
        """The largest trace of one prediction with at most ``floor(size * edges_full)`` edges."""
        return self.largest([position], [edge_budget(size, self.edges_full[position])])[0]

    def connected_to_input(self, trace: Trace) -> bool:
        """Whether some path of the trace's edges leads from an embedding to the output."""
        return bool((self.widest.embedding[self.index[trace.position]] >= trace.level).any())


def edge_budget(size: float, edges_full: int) -> int:
    """The most edges a trace of relative ``size`` may have: ``floor(size * edges_full)``.

    A product that only rounding keeps below a whole number is that number: 0.7 of 360 is 252, and a size that was
    attained has the edges it was attained with.
    """
    return math.floor(size * edges_full * (1 + ROUNDING))
