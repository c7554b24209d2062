"""The edges of a trace: which they are, of which kinds and layers, and the strongest first."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from density.graph import GROUPS, Edge, Kind
from density.importance import Importances
from density.traces import Trace, Traces


@dataclass(frozen=True, slots=True)
class Composition:
    """What a trace is made of: edge counts by kind (``residual``, ``head``, ``mlp``) and by layer."""

    by_kind: dict[str, int]
    by_layer: list[int]


@torch.no_grad()
def composition(traces: Traces, trace: Trace) -> Composition:
    """Counts the edges of ``trace`` by kind and by layer."""
    kept = kept_edges(traces, trace)
    counts = {kind: mask.flatten(1).sum(1) for kind, mask in kept.items()}
    by_group = {group: 0 for group in GROUPS}
    for kind, count in counts.items():
        by_group[kind.group] += int(count.sum())
    return Composition(by_group, torch.stack(list(counts.values())).sum(0).tolist())


def entries(
    traces: Traces, position: int, kinds: Collection[Kind] = tuple(Kind)
) -> dict[Kind, Float[Tensor, "layer query ..."]]:
    """The threshold at which each edge enters the traces of the prediction at ``position``; ``-inf``: never."""
    which = traces.index[position]
    attention, mlp = traces.widest.attention[which], traces.widest.mlp[which]
    into = {Kind.RESIDUAL_ATTENTION: attention, Kind.HEAD: attention[..., None, None], Kind.RESIDUAL_MLP: mlp}
    into[Kind.MLP] = mlp[..., None]
    given = by_kind(traces.importances)
    return {kind: torch.minimum(given[kind], into[kind]) for kind in kinds if kind in given}


def by_kind(importances: Importances) -> dict[Kind, Float[Tensor, "layer query ..."]]:
    """Importances, a tensor a kind: (layer, query), then head and key for heads, the MLP's number for MLPs."""
    found = {
        Kind.RESIDUAL_ATTENTION: importances.residual_attention,
        Kind.HEAD: importances.heads.transpose(1, 2),
        Kind.MLP: importances.mlp,
    }
    if importances.residual_mlp is not None:
        found[Kind.RESIDUAL_MLP] = importances.residual_mlp
    return found


def kept_edges(traces: Traces, trace: Trace) -> dict[Kind, Tensor]:
    """``True`` for the edges of ``trace``, by kind: (layer, query), heads (layer, query, head, key)."""
    return {kind: entry >= trace.level for kind, entry in entries(traces, trace.position).items()}


@dataclass(frozen=True, slots=True)
class RankedEdge:
    """An edge with its importance and the threshold at which it enters."""

    edge: Edge
    importance: float
    entry: float


@torch.no_grad()
def strongest(traces: Traces, position: int, count: int) -> list[RankedEdge]:
    """The ``count`` edges of one prediction that enter first; ties nearer the output first, then by importance.

    So every prefix is connected to the output: a path to it has entries at least as large, at larger depths.
    """
    given = traces.importances
    importance = by_kind(given)
    found: list[RankedEdge] = []
    for kind, entry in entries(traces, position).items():
        flat = entry.flatten()
        count_here = min(count, int((flat > -torch.inf).sum()))
        if count_here == 0:
            continue
        least = flat.topk(count_here).values[-1]
        for place in (entry >= least).nonzero().tolist():
            ranked = RankedEdge(
                edge_at(given, kind, place), float(importance[kind][tuple(place)]), float(entry[tuple(place)])
            )
            found.append(ranked)

    def order(ranked: RankedEdge) -> tuple:
        edge = ranked.edge
        depth = edge.target(given.parallel).depth
        return -ranked.entry, -depth, -ranked.importance, edge.query, edge.key, edge.head or 0, edge.kind

    return sorted(found, key=order)[:count]


def edge_at(importances: Importances, kind: Kind, place: Sequence[int]) -> Edge:
    """The edge at ``place`` of its kind's array: (layer, query), with (head, key) or the MLP's number behind."""
    layer, query, *rest = place
    if kind is Kind.HEAD:
        head, key = rest
        return Edge(layer, kind, query, key, head)
    if kind is Kind.MLP and importances.experts is not None:
        return Edge(layer, kind, query, query, expert=int(importances.experts[layer, query, rest[0]]))
    return Edge(layer, kind, query, query)
