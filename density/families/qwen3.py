"""Qwen 3: Llama with a norm on each head's queries and keys."""

from torch import nn

from density.families.llama import Llama
from density.families.parts import Attention
from density.families.qwen2 import QWEN_SETTINGS


class Qwen3(Llama):
    """One RMSNorm as wide as a head serves all query heads, another all key heads."""

    name = "qwen3"
    settings = QWEN_SETTINGS | {"attention_bias"}

    def attention(self, module: nn.Module, layer: int, length: int) -> Attention:
        return self.with_head_norms(super().attention(module, layer, length), module)
