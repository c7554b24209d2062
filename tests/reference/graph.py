"""The run of a model with some edges cut, its computation graph, the traces in it, and their replay.

Read downward: edges, the run, the graph, the traces, the replay. What an architecture computes is
`tests.reference.families`' business.
"""

import heapq
import math
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

import networkx as nx
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tests.reference.families import Expert, Llama, family_of
from tests.reference.pieces import Norm

RULES = ("l1", "l2", "ifr", "projection")
Node = tuple[int, int]


class Edge(NamedTuple):
    """One write into the residual stream; equal to, and hashed like, the plain tuple.

    Attributes:
        kind: ``residual_attention``, ``head``, ``residual_mlp`` or ``mlp``. A parallel block's one residual edge is
            ``residual_attention``.
        layer: Block the write happens in, from 0.
        query: Position written to.
        key: Position read from; equals ``query`` unless ``kind`` is ``head``.
        head: Head index, from 0; ``None`` unless ``kind`` is ``head``.
        expert: Which of a mixture's experts writes, from 0, and -1 for the shared one; ``None`` where there is no
            mixture or ``kind`` is not ``mlp``.
    """

    kind: str
    layer: int
    query: int
    key: int
    head: int | None
    expert: int | None = None


# -------------------------------------------------------------------------------------------------------------- the run


@dataclass(frozen=True)
class Run:
    """What one run made: ``states[depth]`` (pos, d_model), and the rest per layer.

    Attributes:
        probabilities: (head, query, key), before anything is cut.
        writes: (head, key, d_model), what a head moves from a source, before its probability and any output norm.
        bias: (d_model,), the output projection's.
        attended: (pos, d_model), the kept heads' sum and the bias, before any output norm.
        routes: For each position, the experts it goes through; ``(None,)`` where the MLP is no mixture.
        mlp_writes: For each position, what each expert of its route writes, before any output norm.
        mlp: (pos, d_model), the sum of those that are kept, before any output norm.
    """

    states: list[Tensor]
    probabilities: list[Tensor]
    writes: list[Tensor]
    bias: list[Tensor]
    attended: list[Tensor]
    routes: list[list[tuple[Expert, ...]]]
    mlp_writes: list[list[dict[Expert, Tensor]]]
    mlp: list[Tensor]


def head_edges(family: Llama, layer: int, query: int) -> list[Edge]:
    keys = family.keys_seen(layer, query)
    return [Edge("head", layer, query, key, head) for key in keys for head in range(family.n_heads)]


def mlp_edges(layer: int, token: int, route: tuple[Expert, ...]) -> list[Edge]:
    return [Edge("mlp", layer, token, token, None, expert) for expert in route]


def normed(norm: Norm | None, vectors: Tensor) -> Tensor:
    return vectors if norm is None else norm(vectors)


def run(
    family: Llama,
    ids: list[int],
    kept: Callable[[Edge], bool],
    routes: list[list[tuple[Expert, ...]]] | None = None,
) -> Run:
    """The model on ``ids`` with only the edges that are ``kept`` (method.md, section 4).

    Probabilities are not renormalised after the cut. Nothing is subtracted: a state is the sum of what is kept, so that
    without a kept edge it is exactly 0. The output projection's bias is added where at least one head's edge is kept.
    Tokens go through the experts of ``routes`` (per layer and token); if there is none, through those they choose. The
    gates are this run's own, and are not changed by a cut either.
    """
    result = Run([family.embed(ids)], [], [], [], [], [], [], [])
    tokens = range(len(ids))

    def only_kept(kind: str, layer: int, vectors: Tensor) -> Tensor:
        rows = [vectors[t] if kept(Edge(kind, layer, t, t, None)) else torch.zeros_like(vectors[t]) for t in tokens]
        return torch.stack(rows)

    for layer in range(family.n_layers):
        source = result.states[-1]
        probabilities, writes, bias = family.attention(layer, source)
        attended = torch.zeros_like(source)
        for query in tokens:
            edges = [edge for edge in head_edges(family, layer, query) if kept(edge)]
            for edge in edges:
                attended[query] += probabilities[edge.head, query, edge.key] * writes[edge.head, edge.key]
            if edges:
                attended[query] += bias
        mid = only_kept("residual_attention", layer, source) + normed(family.attention_norm(layer), attended)
        read = source if family.parallel else mid
        route = family.route(layer, read) if routes is None else routes[layer]
        mlp_writes, mlp = family.mlp_writes(layer, read, route), torch.zeros_like(source)
        for token in tokens:
            for edge in mlp_edges(layer, token, route[token]):
                if kept(edge):
                    mlp[token] += mlp_writes[token][edge.expert]
        residual = mid if family.parallel else only_kept("residual_mlp", layer, mid)
        after = residual + normed(family.mlp_norm(layer), mlp)
        result.states.extend([after] if family.parallel else [mid, after])
        result.probabilities.append(probabilities)
        result.writes.append(writes)
        result.bias.append(bias)
        result.attended.append(attended)
        result.routes.append(route)
        result.mlp_writes.append(mlp_writes)
        result.mlp.append(mlp)
    return result


def everything(edge: Edge) -> bool:
    return True


# ------------------------------------------------------------------------------------------------------------ the graph


def incoming(family: Llama, full: Run, node: Node) -> list[tuple[Node, Edge]]:
    """The edges into a node, each with the node it comes from; none at depth 0."""
    depth, token = node
    if depth == 0:
        return []
    below = (depth - 1, token)
    layer, after_mlp = (depth - 1, False) if family.parallel else ((depth - 1) // 2, depth % 2 == 0)
    from_mlp = [(below, edge) for edge in mlp_edges(layer, token, full.routes[layer][token])]
    if after_mlp:
        return [(below, Edge("residual_mlp", layer, token, token, None)), *from_mlp]
    edges = [(below, Edge("residual_attention", layer, token, token, None))]
    edges += [((depth - 1, edge.key), edge) for edge in head_edges(family, layer, token)]
    return edges + from_mlp if family.parallel else edges


def vector(family: Llama, full: Run, source: Node, edge: Edge) -> Tensor:
    """What one edge adds to its target's state in the full run; an output norm is linearised at that run."""
    layer, target = edge.layer, edge.query
    if edge.kind == "mlp":
        write, norm, total = full.mlp_writes[layer][target][edge.expert], family.mlp_norm(layer), full.mlp[layer]
    elif edge.kind == "head":
        write = full.probabilities[layer][edge.head, target, edge.key] * full.writes[layer][edge.head, edge.key]
        norm, total = family.attention_norm(layer), full.attended[layer]
    else:
        return full.states[source[0]][source[1]]
    return write if norm is None else norm.linear(write, at=total[target])


def no_edge(family: Llama, full: Run, node: Node) -> Tensor:
    """What a node at depth >= 1 holds that came by no edge: where attention is added, its output projection's bias."""
    depth, token = node
    if not family.parallel and depth % 2 == 0:
        return torch.zeros_like(full.states[depth][token])
    layer = depth - 1 if family.parallel else (depth - 1) // 2
    norm = family.attention_norm(layer)
    return full.bias[layer] if norm is None else norm.linear(full.bias[layer], at=full.attended[layer][token])


def parts_of_state(family: Llama, full: Run, node: Node) -> tuple[dict[Edge, Tensor], Tensor, Tensor]:
    """A node's incoming vectors, what has no edge, and its state: the first two add up to the third.

    At the last depth all three have passed the final norm, linearised at the actual state; its shift has no edge.
    """
    depth, token = node
    vectors = {edge: vector(family, full, source, edge) for source, edge in incoming(family, full, node)}
    rest, state = no_edge(family, full, node), full.states[depth][token]
    if depth < family.n_depths:
        return vectors, rest, state
    norm = family.final_norm
    vectors = {edge: norm.linear(x, at=state) for edge, x in vectors.items()}
    rest = norm.linear(rest, at=state)
    return vectors, rest if norm.shift is None else rest + norm.shift, norm(state)


def states_add_up(model: nn.Module, ids: list[int]) -> float:
    """The largest difference between a state and its incoming vectors plus what has no edge, over nodes and dimensions.

    Every node at depth >= 1 is checked as it stands, and those of the last depth once more behind the final norm.
    """
    family = family_of(model)
    full, worst = run(family, ids, everything), 0.0
    for depth in range(1, family.n_depths + 1):
        for token in range(len(ids)):
            node = (depth, token)
            total = no_edge(family, full, node)
            for source, edge in incoming(family, full, node):
                total = total + vector(family, full, source, edge)
            worst = max(worst, (full.states[depth][token] - total).abs().max().item())
            vectors, rest, state = parts_of_state(family, full, node)
            worst = max(worst, (state - rest - sum(vectors.values())).abs().max().item())
    return worst


def strength(rule: str, x: Tensor, y: Tensor) -> float:
    """How strong a vector ``x`` is among those that add up to ``y``, before it is made a share."""
    if rule == "l1":
        return x.abs().sum().item()
    if rule == "l2":
        return (x**2).sum().sqrt().item()
    if rule == "ifr":
        return max(0.0, (y.abs().sum() - (y - x).abs().sum()).item())
    if rule == "projection":
        return max(0.0, (x * y).sum().item())
    raise ValueError(f"rule {rule!r} is none of {', '.join(RULES)}")


def build_graph(model: nn.Module, ids: list[int], position: int, rule: str = "l1") -> nx.MultiDiGraph:
    """The computation graph of the prediction at ``position``: all that can reach its output node, and nothing else.

    Nodes are ``(depth, token)``; the output node is ``graph.graph["output"]``. Each edge's key is its ``Edge``, its
    ``importance`` the share in [0, 1] of its strength among the edges into its target, 0 where all are 0.
    """
    family = family_of(model)
    full = run(family, ids[: position + 1], everything)
    output = (family.n_depths, position)
    graph = nx.MultiDiGraph(output=output)
    graph.add_node(output)
    reached, waiting = {output}, [output]
    while waiting:
        node = waiting.pop()
        sources = incoming(family, full, node)
        if not sources:
            continue
        vectors, _, state = parts_of_state(family, full, node)
        strengths = {edge: strength(rule, x, state) for edge, x in vectors.items()}
        total = sum(strengths.values())
        for source, edge in sources:
            graph.add_edge(source, node, key=edge, importance=strengths[edge] / total if total > 0 else 0.0)
            if source not in reached:
                reached.add(source)
                waiting.append(source)
    return graph


# ----------------------------------------------------------------------------------------------------------- the traces


def grow(graph: nx.MultiDiGraph, output: Node) -> list[tuple[Edge, float]]:
    """s-Trace's growth: backward from ``output``, always the strongest edge on the frontier, until none is left.

    Returns every edge in the order it enters, with its entry: the smallest importance met so far. Ties go to the edge
    that is smaller as a tuple.
    """
    frontier, reached, growth, entry = [], set(), [], math.inf

    def reach(node: Node) -> None:
        if node not in reached:
            reached.add(node)
            for source, _, edge, importance in graph.in_edges(node, keys=True, data="importance"):
                heapq.heappush(frontier, (-importance, edge, source))

    reach(output)
    while frontier:
        negated, edge, source = heapq.heappop(frontier)
        entry = min(entry, -negated)
        growth.append((edge, entry))
        reach(source)
    return growth


def levels(growth: list[tuple[Edge, float]]) -> list[tuple[float, int]]:
    """Each level of a growth, strongest first, with how many edges have entered once the level is complete."""
    boundaries = []
    for count, (_, entry) in enumerate(growth, start=1):
        if boundaries and boundaries[-1][0] == entry:
            boundaries.pop()
        boundaries.append((entry, count))
    return boundaries


def trace_at(graph: nx.MultiDiGraph, output: Node, theta: float) -> set[Edge]:
    """The other definition: edges of importance >= ``theta`` that reach ``output`` through such edges alone."""
    trace, reached, waiting = set(), {output}, [output]
    while waiting:
        node = waiting.pop()
        for source, _, edge, importance in graph.in_edges(node, keys=True, data="importance"):
            if importance >= theta:
                trace.add(edge)
                if source not in reached:
                    reached.add(source)
                    waiting.append(source)
    return trace


# ---------------------------------------------------------------------------------------------- the replay, and how far


def replay(model: nn.Module, ids: list[int], position: int, edges: AbstractSet[Edge]) -> Float[Tensor, " vocab"]:
    """The logits at ``position`` of the model run with ``edges`` alone, on tokens 0..position.

    Tokens go through the experts that they choose in the full run.
    """
    family, ids = family_of(model), ids[: position + 1]
    routes = run(family, ids, everything).routes if family.has_experts else None
    cut = run(family, ids, lambda edge: edge in edges, routes)
    return family.logits(cut.states[-1][position])


def forward(model: nn.Module, ids: list[int]) -> Float[Tensor, " vocab"]:
    """The logits after the last of ``ids``, nothing cut."""
    family = family_of(model)
    return family.logits(run(family, ids, everything).states[-1][-1])


def total_variation(p_logits: Float[Tensor, " vocab"], q_logits: Float[Tensor, " vocab"]) -> float:
    """Half the L1 distance between the two next-token distributions, in [0, 1]."""
    p, q = (torch.softmax(logits.to(torch.float64), dim=-1) for logits in (p_logits, q_logits))
    return 0.5 * (p - q).abs().sum().item()
