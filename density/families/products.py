"""Products of rows with a weight, by the faster of the two libraries that torch brings for them.

On x86 `torch.nn.functional.linear` takes a float32 product to MKL. oneDNN takes a tenth to a quarter less time, rounds
about one and a half times as much, and makes code for every number of rows it has not met, which takes it longer than
a small product: who has many numbers of rows rounds them up to a multiple of `ROUND`.
"""

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from density.families.parts import Linear

ROUND = 16


@dataclass(frozen=True, slots=True)
class QuickLinear(Linear):
    """`Linear` in float32 on a CPU, by oneDNN."""

    def __call__(self, x: Float[Tensor, "rows in"]) -> Float[Tensor, "rows out"]:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


def quick(part: Any) -> Any:
    """``part`` with each `Linear` in it made a `QuickLinear`, where there is oneDNN and it takes its weights."""
    if not torch.backends.mkldnn.is_available():
        return part
    if isinstance(part, Linear):
        if part.weight.device.type != "cpu" or part.weight.dtype != torch.float32:
            return part
        # oneDNN reads a bias as if it were contiguous.
        return QuickLinear(part.weight, None if part.bias is None else part.bias.contiguous())
    if not is_dataclass(part) or isinstance(part, type):
        return part
    return replace(part, **{field.name: quick(getattr(part, field.name)) for field in fields(part)})
