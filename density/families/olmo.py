"""OLMo 1: Llama with a LayerNorm that has no weights."""

from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from density.families.family import SHARED_SETTINGS
from density.families.llama import Llama
from density.families.parts import Norm


class Olmo(Llama):
    """Clipped queries, keys and values (``clip_qkv``) are refused."""

    name = "olmo"
    settings = SHARED_SETTINGS | {"attention_bias", "clip_qkv"}

    @classmethod
    def required(cls, config: PreTrainedConfig) -> dict[str, Any]:
        return {"clip_qkv": None}

    def norm(self, module: nn.Module) -> Norm:
        return Norm(weight=None, eps=1e-5, centred=True)
