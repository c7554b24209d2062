"""One forward pass: the importance of every edge of a text, for every prediction at once (method: s-Trace, section 3).

The importance of an edge is its strength over the summed strengths of the edges into the same state; a *rule* says
what strength is. Attention probabilities are non-negative scalars, so a head's write from `key` to `query` is
``pattern[head, query, key] * vector[head, key]`` with one vector per head and key: a norm of it factorises, and no
tensor of tokens x tokens x heads x width is ever made.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from density.errors import BadInput, NotFinite
from density.families import Block, Family, Norm
from density.families.parts import at_least_float32, mix, through

CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Importances:
    """The importance of every edge of a text; ``-inf`` where there is no edge.

    Attributes:
        residual_attention: Skip past attention; in parallel blocks, the only skip.
        heads: Attention heads; ``-inf`` where ``key`` is hidden from ``query``.
        residual_mlp: Skip past the MLP; ``None`` in parallel blocks.
        mlp: MLPs: one a token, or one a routed (or shared) expert.
        experts: Which expert each MLP edge is, ``-1`` for a shared one; ``None`` without experts.
    """

    residual_attention: Float[Tensor, "layer query"]
    heads: Float[Tensor, "layer head query key"]
    residual_mlp: Float[Tensor, "layer query"] | None
    mlp: Float[Tensor, "layer query mlp"]
    experts: Int[Tensor, "layer query mlp"] | None = None

    @property
    def parallel(self) -> bool:
        """Whether attention and MLP write into the same state."""
        return self.residual_mlp is None


@dataclass(frozen=True, slots=True)
class FullRun:
    """The model run whole on one text.

    Attributes:
        importances: Of every edge.
        outputs: The last states after the final norm, what the head reads.
    """

    importances: Importances
    outputs: Float[Tensor, "position d_model"]


@dataclass(frozen=True, slots=True)
class HeadWrites:
    """What every head writes from every key to every query, factorised: ``pattern * scale * vectors``.

    Attributes:
        pattern: Attention probabilities.
        values: What each head reads at each key.
        output: The output projection, a matrix a head.
        norms: Norms the writes pass, linearised at the run: their linear part acts on the vectors ...
        scale: ... and the product of their ``1 / rms`` is here, one number a query.
    """

    pattern: Float[Tensor, "head query key"]
    values: Float[Tensor, "head key d_head"]
    output: Float[Tensor, "head d_head d_model"]
    norms: tuple[Norm, ...]
    scale: Float[Tensor, " query"]

    def chunks(self) -> Iterator[tuple[slice, Float[Tensor, "some key d_model"]]]:
        """Slices of heads and their vectors, before ``scale``; a slice's vectors take about ``CHUNK_BYTES``."""
        heads, length, _ = self.values.shape
        step = max(1, CHUNK_BYTES // (length * self.output.shape[-1] * 4))
        for start in range(0, heads, step):
            some = slice(start, start + step)
            vectors = at_least_float32(torch.matmul(self.values[some], self.output[some]))
            for norm in self.norms:
                vectors = norm.direction(vectors)
            yield some, vectors


@dataclass(frozen=True, slots=True)
class Incoming:
    """The writes into one state of every token: some one vector each, the heads' factorised.

    Attributes:
        direct: The skip, then the MLPs.
        heads: The heads' writes, if any come in here.
        edgeless: What has no edge: the output projection's bias, LayerNorm's shift.
        state: The state itself: the sum of all the above.
    """

    direct: Float[Tensor, "write query d_model"]
    heads: HeadWrites | None
    edgeless: Float[Tensor, "query d_model"]
    state: Float[Tensor, "query d_model"]

    def through(self, norm: Norm) -> "Incoming":
        """The writes as they pass ``norm``, linearised at the state."""
        heads = self.heads
        if heads is not None:
            scale = heads.scale * norm.inverse_scale(self.state)
            heads = replace(heads, norms=(*heads.norms, norm), scale=scale)
        edgeless = norm.linearised(self.edgeless, self.state)
        if norm.bias is not None:
            edgeless = edgeless + norm.bias
        return Incoming(norm.linearised(self.direct, self.state), heads, edgeless, norm(self.state))

    def total(self) -> Float[Tensor, "query d_model"]:
        """The writes added up, one by one: `state`, but for rounding."""
        total = self.direct.sum(0) + self.edgeless
        if self.heads is not None:
            scaled = self.heads.pattern * self.heads.scale[:, None]
            for some, vectors in self.heads.chunks():
                total = total + torch.matmul(scaled[some], vectors).sum(0)
        return total


Direct = Callable[[Tensor, Tensor], Tensor]
ByHead = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Rule:
    """How strong a write is.

    Attributes:
        direct: (write query d_model), (query d_model) -> (write query).
        heads: Vectors (head key d_model), shares (head query key), states (query d_model) -> (head query key).
    """

    direct: Direct
    heads: ByHead


def norm_rule(order: int) -> Rule:
    """Strength is the write's L-``order`` norm."""

    def direct(writes: Tensor, state: Tensor) -> Tensor:
        return torch.linalg.vector_norm(writes, ord=order, dim=-1)

    def heads(vectors: Tensor, shares: Tensor, state: Tensor) -> Tensor:
        return shares * torch.linalg.vector_norm(vectors, ord=order, dim=-1)[:, None, :]

    return Rule(direct, heads)


def projection_rule() -> Rule:
    """Strength is ``max(0, write . state)``: the part of the write along the state it adds to."""

    def direct(writes: Tensor, state: Tensor) -> Tensor:
        return (writes * state).sum(-1).clamp(min=0)

    def heads(vectors: Tensor, shares: Tensor, state: Tensor) -> Tensor:
        return shares * torch.matmul(state, vectors.mT).clamp(min=0)

    return Rule(direct, heads)


def ifr_rule() -> Rule:
    """Strength is IFR's proximity, ``max(0, ||state||_1 - ||state - write||_1)`` (arXiv 2403.00824, section 2.2)."""

    def direct(writes: Tensor, state: Tensor) -> Tensor:
        return (state.abs().sum(-1) - (state - writes).abs().sum(-1)).clamp(min=0)

    def heads(vectors: Tensor, shares: Tensor, state: Tensor) -> Tensor:
        strengths = torch.empty_like(shares)
        step = max(1, CHUNK_BYTES // (vectors[0].numel() * vectors.element_size()))
        for head, own in enumerate(vectors):
            for start in range(0, len(state), step):
                some = slice(start, start + step)
                writes = shares[head, some, :, None] * own
                strengths[head, some] = direct(writes, state[some, None])
        return strengths

    return Rule(direct, heads)


RULES = {"l1": norm_rule(1), "l2": norm_rule(2), "ifr": ifr_rule(), "projection": projection_rule()}


def rule_named(name: str) -> Rule:
    """The rule called ``name``.

    Raises:
        BadInput: There is none of that name.
    """
    if name not in RULES:
        raise BadInput(f"no importance rule {name!r}; choose one of {', '.join(RULES)}.")
    return RULES[name]


def shares(
    incoming: Incoming, visible: Bool[Tensor, "query key"], rule: Rule, into: str = "a state"
) -> tuple[Float[Tensor, "write query"], Float[Tensor, "head query key"] | None]:
    """The importances of the writes into one state of every token; they sum to 1 over a token's writes (0/0 is 0).

    Raises:
        NotFinite: Writes too strong for their strengths to be added up; the message has the state's name, ``into``.
    """
    state = at_least_float32(incoming.state)
    direct = rule.direct(at_least_float32(incoming.direct), state)
    total = direct.sum(0)
    heads = None
    if incoming.heads is not None:
        scaled = at_least_float32(incoming.heads.pattern) * incoming.heads.scale[:, None]
        heads = torch.empty_like(scaled)
        for some, vectors in incoming.heads.chunks():
            heads[some] = rule.heads(vectors, scaled[some], state)
        total = total + heads.sum((0, 2))
    check_finite(total[:, None], f"the strength of the writes into {into}")
    share = torch.where(total > 0, 1 / total, 0)
    if heads is not None:
        heads = heads.mul_(share[:, None]).masked_fill_(~visible, -torch.inf)
    return direct * share, heads


@torch.no_grad()
def run_whole(family: Family, ids: Int[Tensor, " position"], rule: str = "l1") -> FullRun:
    """Runs the model whole on ``ids`` and measures every edge.

    At the last layer's last state the writes first pass the final norm, linearised at the actual state.

    Raises:
        BadInput: Unknown rule.
        NotFinite: A state holds an infinity or NaN; the message names it.
    """
    strength = rule_named(rule)
    state = family.embed(ids)
    check_finite(state, "the embedding")
    length = len(ids)
    first, by_head, second, mlp, experts = [], [], [], [], []
    for layer in range(family.layers):
        block = family.block(layer, length)
        state = state.to(block.device)
        final = family.final_norm() if layer == family.layers - 1 else None
        nodes, routing, state = run_block(block, state, final)
        check_finite(state, f"the state after layer {layer}")
        visible = block.attention.visible(length)
        direct, heads = shares(nodes[0], visible, strength, f"the first state of layer {layer}")
        first.append(direct[0])
        assert heads is not None
        by_head.append(heads)
        if not block.parallel:
            direct, _ = shares(nodes[1], visible, strength, f"the last state of layer {layer}")
            second.append(direct[0])
        mlp.append(direct[1:].T)
        if routing is not None:
            experts.append(routing)
    importances = Importances(
        residual_attention=stacked(first, ids.device),
        heads=stacked(by_head, ids.device),
        residual_mlp=stacked(second, ids.device) if second else None,
        mlp=stacked(mlp, ids.device),
        experts=stacked(experts, ids.device) if experts else None,
    )
    return FullRun(importances, family.final_norm()(state))


def stacked(layers: list[Tensor], device: torch.device) -> Tensor:
    """One tensor a layer, wherever each of them is, as one on ``device``."""
    return torch.stack([tensor.to(device) for tensor in layers])


def run_block(
    block: Block, state: Float[Tensor, "position d_model"], final: Norm | None
) -> tuple[list[Incoming], Int[Tensor, "position mlp"] | None, Float[Tensor, "position d_model"]]:
    """One block of the full run: the writes into each of its states, its experts' routing, and the state it leaves.

    ``final``, if given, is the norm that the writes into the block's last state pass.
    """
    attention = block.attention
    positions = torch.arange(len(state), device=state.device)
    normed = through(block.attention_norm, state)
    values = attention.value(normed, positions)
    pattern = attention.pattern(attention.query(normed, positions)[None], attention.key(normed, positions)[None])
    write = attention.output(mix(pattern, values[None])[0].flatten(1))
    norm = block.attention_output_norm
    heads = HeadWrites(
        pattern=pattern[0],
        values=values.repeat_interleave(attention.query.heads // attention.value.heads, dim=1).transpose(0, 1),
        output=attention.head_outputs().permute(1, 2, 0),
        norms=() if norm is None else (norm,),
        scale=torch.ones(len(state), device=state.device) if norm is None else norm.inverse_scale(write),
    )
    edgeless = torch.zeros_like(state)
    if attention.output.bias is not None:
        edgeless += attention.output.bias
    if norm is not None:
        edgeless = norm.linearised(edgeless, write).to(state.dtype)
    middle = state + through(norm, write)
    read = through(block.mlp_norm, state if block.parallel else middle)
    routing = block.mlp.route(read)
    writes = block.mlp.writes(read, routing)
    if block.mlp_output_norm is not None:
        summed = writes.sum(1)
        left = middle + block.mlp_output_norm(summed)
        writes = block.mlp_output_norm.linearised(writes, summed[:, None]).to(state.dtype)
    else:
        left = middle + writes.sum(1)
    mlps = writes.transpose(0, 1)
    if block.parallel:
        nodes = [Incoming(torch.cat((state[None], mlps)), heads, edgeless, left)]
    else:
        nodes = [
            Incoming(state[None], heads, edgeless, middle),
            Incoming(torch.cat((middle[None], mlps)), None, torch.zeros_like(state), left),
        ]
    if final is not None:
        nodes[-1] = nodes[-1].through(final)
    return nodes, routing, left


def check_finite(state: Float[Tensor, "row d_model"], name: str, positions: Int[Tensor, " row"] | None = None) -> None:
    """Raises `NotFinite`, with the state's ``name`` and the token, if ``state`` holds an infinity or NaN.

    Args:
        positions: The token of each row; its number unless given.
    """
    bad = ~torch.isfinite(state).all(-1)
    if bad.any():
        row = int(bad.nonzero()[0])
        token = row if positions is None else int(positions[row])
        raise NotFinite(f"{name} at token {token} is not finite; half precision can overflow: try precision float32.")
