"""The parts a decoder block is made of, as plain weights: what a family hands to the engine.

Every part maps rows (one row, one token of one run) and knows nothing of batches, masks or graphs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """``x`` in float32, or untouched where it is wider: sums of squares overflow in half precision."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


@dataclass(frozen=True, slots=True)
class Linear:
    """``x W^T + b``."""

    weight: Float[Tensor, "out in"]
    bias: Float[Tensor, " out"] | None = None

    def __call__(self, x: Float[Tensor, "rows in"]) -> Float[Tensor, "rows out"]:
        return torch.nn.functional.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class Norm:
    """RMSNorm, or LayerNorm if ``centred``: ``direction(x) * inverse_scale(x) + bias``.

    Attributes:
        weight: What multiplies the normalised vector (a ``1 + w`` norm stores ``1 + w``); ``None`` for 1.
        bias: LayerNorm's shift; ``None`` for 0.
        eps: Added to the mean square under the root.
        centred: Whether the mean is taken out first.
    """

    weight: Float[Tensor, " width"] | None
    eps: float
    bias: Float[Tensor, " width"] | None = None
    centred: bool = False

    def __call__(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        if x.dtype in (torch.float32, torch.float64):
            width = x.shape[-1:]
            if self.centred:
                return torch.nn.functional.layer_norm(x, width, self.weight, self.bias, self.eps)
            root = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
            y = x * torch.rsqrt(root.square_().div_(x.shape[-1]).add_(self.eps))
            return y if self.weight is None else y.mul_(self.weight)
        y = self.direction(x) * self.inverse_scale(x)[..., None]
        return (y if self.bias is None else y + self.bias.float()).to(x.dtype)

    def direction(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """The linear part: ``x``, centred if the norm centres, times the weight; in float32 or wider."""
        x = at_least_float32(x)
        if self.centred:
            x = x - x.mean(-1, keepdim=True)
        return x if self.weight is None else x * self.weight.to(x.dtype)

    def inverse_scale(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows"]:
        """``1 / rms`` (``1 / standard deviation`` if centred) of each row: constant where the norm is linearised."""
        x = at_least_float32(x)
        if self.centred:
            x = x - x.mean(-1, keepdim=True)
        return torch.rsqrt(x.square().mean(-1) + self.eps)

    def linearised(
        self, x: Float[Tensor, "*writes width"], at: Float[Tensor, "*rows width"]
    ) -> Float[Tensor, "*writes width"]:
        """``x`` through the norm as it acts at ``at`` (which broadcasts): linear in ``x``, so parts stay additive."""
        return self.direction(x) * self.inverse_scale(at)[..., None]


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rotary position embedding of the first ``cos.shape[-1]`` dimensions, halves paired (not interleaved).

    The tables may be wider than what is turned: OLMo keeps them in float32.
    """

    cos: Float[Tensor, "position rotated"]
    sin: Float[Tensor, "position rotated"]

    def __call__(
        self, x: Float[Tensor, "rows heads d_head"], positions: Int[Tensor, " rows"]
    ) -> Float[Tensor, "rows heads d_head"]:
        cos, sin = self.cos.index_select(0, positions)[:, None], self.sin.index_select(0, positions)[:, None]
        width, half = cos.shape[-1], cos.shape[-1] // 2
        first, second, rest = x[..., :half], x[..., half:width], x[..., width:]
        turned = x[..., :width] * cos
        turned[..., :half].addcmul_(second.to(cos.dtype), sin[..., :half], value=-1)
        turned[..., half:].addcmul_(first.to(cos.dtype), sin[..., half:])
        turned = turned.to(x.dtype)
        return torch.cat((turned, rest), dim=-1) if rest.shape[-1] else turned


@dataclass(frozen=True, slots=True)
class HeadProjection:
    """What turns a row into one vector a head: queries, keys or values.

    Attributes:
        linear: ``d_model`` to ``heads * d_head``.
        heads: How many.
        norm: Applied to each head's vector, or to all of them as one if its weight is as wide; ``None`` for none.
        rotary: Applied last; ``None`` for values and for models without it.
    """

    linear: Linear
    heads: int
    norm: Norm | None = None
    rotary: Rotary | None = None

    def __call__(
        self, x: Float[Tensor, "rows d_model"], positions: Int[Tensor, " rows"]
    ) -> Float[Tensor, "rows heads d_head"]:
        y = self.linear(x)
        whole = self.norm is not None and self.norm.weight is not None and len(self.norm.weight) == y.shape[-1]
        if self.norm is not None and whole:
            y = self.norm(y)
        y = y.unflatten(-1, (self.heads, -1))
        if self.norm is not None and not whole:
            y = self.norm(y)
        return y if self.rotary is None else self.rotary(y, positions)


@dataclass(frozen=True, slots=True)
class Attention:
    """Scaled dot-product attention of ``query.heads`` heads over ``key.heads`` key/value heads.

    Attributes:
        output: ``heads * d_head`` to ``d_model``; its bias belongs to no head.
        scale: Multiplies the scores.
        softcap: Scores become ``softcap * tanh(score / softcap)``; ``None`` for none.
        window: A query sees this many positions, itself included; ``None`` for all before it.
    """

    query: HeadProjection
    key: HeadProjection
    value: HeadProjection
    output: Linear
    scale: float
    softcap: float | None = None
    window: int | None = None

    def visible(self, length: int) -> Bool[Tensor, "query key"]:
        """Which positions each query may read: itself and earlier ones, within the window."""
        device = self.output.weight.device
        query, key = torch.arange(length, device=device)[:, None], torch.arange(length, device=device)
        seen = key <= query
        return seen if self.window is None else seen & (key > query - self.window)

    def head_outputs(self) -> Float[Tensor, "d_model head d_head"]:
        """The output projection, a matrix a head: what each head's value vector becomes in the stream."""
        return self.output.weight.unflatten(1, (self.query.heads, -1))

    def pattern(
        self,
        queries: Float[Tensor, "batch query head d_head"],
        keys: Float[Tensor, "batch key kv_head d_head"],
    ) -> Float[Tensor, "batch head query key"]:
        """Attention probabilities; every visible key takes its share."""
        batch, length, count, _ = queries.shape
        grouped = queries.unflatten(2, (keys.shape[2], -1)).permute(0, 2, 3, 1, 4).flatten(2, 3)
        scores = torch.matmul(grouped * self.scale, keys.permute(0, 2, 3, 1))
        scores = at_least_float32(scores).view(batch, count, length, keys.shape[1])
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        ceiling = torch.where(self.visible(length), torch.inf, -torch.inf).to(scores.dtype)
        return torch.minimum(scores, ceiling, out=scores).softmax(dim=-1).to(queries.dtype)


def mix(
    pattern: Float[Tensor, "batch head query key"], values: Float[Tensor, "batch key kv_head d_head"]
) -> Float[Tensor, "batch query head d_head"]:
    """What each head gathers: values summed with the pattern's shares, a key/value head serving its group of heads."""
    batch, heads, length, _ = pattern.shape
    grouped = pattern.view(batch, values.shape[2], -1, pattern.shape[3])
    mixed = torch.matmul(grouped, values.transpose(1, 2))
    return mixed.view(batch, heads, length, -1).transpose(1, 2)


@dataclass(frozen=True, slots=True)
class Mlp:
    """``down(activation(gate(x)) * up(x))``, or ``down(activation(up(x)))`` without a gate."""

    up: Linear
    down: Linear
    activation: Callable[[Tensor], Tensor]
    gate: Linear | None = None

    def neurons(self, x: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows neuron"]:
        """What each neuron passes to ``down``."""
        if self.gate is None:
            return self.activation(self.up(x))
        return self.activation(self.gate(x)).mul_(self.up(x))

    def route(self, x: Float[Tensor, "rows d_model"]) -> None:
        """No experts to choose from."""

    def writes(
        self, x: Float[Tensor, "rows d_model"], routing: Int[Tensor, "rows mlp"] | None = None
    ) -> Float[Tensor, "rows 1 d_model"]:
        """The one write of each row; there is no ``routing``."""
        return self.down(self.neurons(x))[:, None]


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts: each row goes to ``top_k`` gated MLPs, and to a shared one if there is one.

    Attributes:
        router: ``d_model`` to one logit an expert.
        gate_up: Gate and up projections of every expert, stacked in this order.
        down: Down projections of every expert.
        activation: Of the gate.
        top_k: Experts a row.
        renormalise: Whether the chosen experts' gates are made to sum to 1.
        shared: The shared expert; ``None`` for none.
        shared_gate: ``d_model`` to the logit of the shared expert's gate.
    """

    router: Linear
    gate_up: Float[Tensor, "expert two_neurons d_model"]
    down: Float[Tensor, "expert d_model neuron"]
    activation: Callable[[Tensor], Tensor]
    top_k: int
    renormalise: bool
    shared: Mlp | None = None
    shared_gate: Linear | None = None

    def route(self, x: Float[Tensor, "rows d_model"]) -> Int[Tensor, "rows mlp"]:
        """The experts each row goes to, likeliest first; the shared one, last, is -1."""
        chosen = self.router(x).float().softmax(-1).topk(self.top_k, dim=-1).indices
        return chosen if self.shared is None else torch.nn.functional.pad(chosen, (0, 1), value=-1)

    def writes(
        self, x: Float[Tensor, "rows d_model"], routing: Int[Tensor, "rows mlp"] | None
    ) -> Float[Tensor, "rows mlp d_model"]:
        """Each routed expert's output times its gate; gates are those of ``x``, whoever chose the experts."""
        assert routing is not None
        chosen = routing[:, : self.top_k]
        gates = self.gates(x, chosen)
        writes = x.new_zeros(*routing.shape, x.shape[-1])
        for expert in chosen.unique().tolist():
            rows, place = (chosen == expert).nonzero(as_tuple=True)
            gate, up = torch.nn.functional.linear(x[rows], self.gate_up[expert]).chunk(2, dim=-1)
            write = torch.nn.functional.linear(self.activation(gate) * up, self.down[expert])
            writes[rows, place] = write * gates[rows, place, None].to(x.dtype)
        if self.shared is not None and self.shared_gate is not None:
            writes[:, -1] = self.shared.writes(x)[:, 0] * self.shared_gate(x).sigmoid()
        return writes

    def gates(self, x: Float[Tensor, "rows d_model"], chosen: Int[Tensor, "rows top_k"]) -> Float[Tensor, "rows top_k"]:
        """What each of the ``chosen`` experts' outputs is multiplied by, in float32."""
        gates = self.router(x).float().softmax(-1).gather(1, chosen)
        return gates / gates.sum(-1, keepdim=True) if self.renormalise else gates

    def expert_neurons(
        self, x: Float[Tensor, "1 d_model"], routing: Int[Tensor, "1 mlp"], expert: int
    ) -> tuple[Float[Tensor, " neuron"], Float[Tensor, "d_model neuron"]]:
        """What one expert's neurons (-1: the shared one's) pass on at a row, times its gate; their output weights."""
        if expert < 0:
            assert self.shared is not None and self.shared_gate is not None
            return (self.shared.neurons(x) * self.shared_gate(x).sigmoid())[0], self.shared.down.weight
        chosen = routing[:, : self.top_k]
        gate, up = torch.nn.functional.linear(x, self.gate_up[expert]).chunk(2, dim=-1)
        share = self.gates(x, chosen)[chosen == expert].to(x.dtype)
        return (self.activation(gate) * up * share)[0], self.down[expert]


@dataclass(frozen=True, slots=True)
class Block:
    """One decoder block.

    Sequential: attention reads the state, the MLP reads what attention left. ``parallel``: both read the state.
    An output norm is applied to a sub-layer's write before it is added; ``None`` where there is no such norm.
    """

    attention: Attention
    mlp: Mlp | Experts
    attention_norm: Norm | None
    mlp_norm: Norm | None
    attention_output_norm: Norm | None = None
    mlp_output_norm: Norm | None = None
    parallel: bool = False

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.attention.output.weight.device


def through(norm: Norm | None, x: Tensor) -> Tensor:
    """``x`` through a norm that may not be there."""
    return x if norm is None else norm(x)
