"""The pieces that architectures are made of: norms, linear layers, activations, rotary positions; all in float64."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class Norm:
    """``weight * (x - mean) / sqrt(mean of squares + eps) + shift``; the mean is 0 unless ``centred`` (LayerNorm)."""

    weight: Tensor
    shift: Tensor | None
    eps: float
    centred: bool

    def centre(self, vector: Tensor) -> Tensor:
        return vector - vector.mean(-1, keepdim=True) if self.centred else vector

    def linear(self, vector: Tensor, at: Tensor) -> Tensor:
        """The norm linearised at the state ``at``: its scale is a constant, its shift is left out."""
        mean_square = (self.centre(at) ** 2).mean(-1, keepdim=True)
        return self.weight * self.centre(vector) / torch.sqrt(mean_square + self.eps)

    def __call__(self, state: Tensor) -> Tensor:
        normed = self.linear(state, at=state)
        return normed if self.shift is None else normed + self.shift


def float64(parameter: Tensor) -> Tensor:
    return parameter.detach().to(torch.float64)


def layer_norm(module: nn.LayerNorm) -> Norm:
    """LayerNorm, with or without weight and shift of its own."""
    weight = torch.ones(module.normalized_shape, dtype=torch.float64) if module.weight is None else module.weight
    shift = None if module.bias is None else float64(module.bias)
    return Norm(float64(weight), shift, module.eps, centred=True)


def affine(module: nn.Module, x: Tensor, transposed: bool = False) -> Tensor:
    """``x W + b`` of a linear layer; ``transposed`` for GPT-2's Conv1D, which stores W as (in, out)."""
    weight = float64(module.weight)
    result = x @ (weight if transposed else weight.T)
    return result if module.bias is None else result + float64(module.bias)


def activation(name: str, x: Tensor) -> Tensor:
    if name == "relu":
        return x * (x > 0)
    if name == "silu":
        return x / (1 + torch.exp(-x))
    if name == "gelu":
        return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    if name in ("gelu_new", "gelu_pytorch_tanh"):
        return x * 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    raise ValueError(f"activation {name!r} is not written out here; use relu, silu, gelu, gelu_new, gelu_pytorch_tanh")


def soft_cap(x: Tensor, cap: float | None) -> Tensor:
    return x if cap is None else cap * torch.tanh(x / cap)


def rotate(
    vectors: Float[Tensor, "heads pos d_head"], frequencies: Sequence[float], scale: float
) -> Float[Tensor, "heads pos d_head"]:
    """Rotary positions: of the first 2n dimensions, i and i + n turn together by position * frequency i, n of them.

    The turned dimensions are multiplied by ``scale`` besides; the others stay as they are.
    """
    n, turned = len(frequencies), vectors.clone()
    positions = torch.arange(vectors.shape[1], dtype=torch.float64)
    for i, frequency in enumerate(frequencies):
        cos, sin = scale * torch.cos(positions * frequency), scale * torch.sin(positions * frequency)
        first, second = vectors[..., i], vectors[..., i + n]
        turned[..., i], turned[..., i + n] = first * cos - second * sin, second * cos + first * sin
    return turned
