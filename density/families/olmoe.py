"""OLMoE: a mixture of experts with norms on all heads' queries and keys as one vector."""

from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from density.families.family import SHARED_SETTINGS
from density.families.mixtral import ROUTER_SETTINGS, Mixtral
from density.families.parts import Attention


class Olmoe(Mixtral):
    """Clipped queries, keys and values (``clip_qkv``) are refused."""

    name = "olmoe"
    settings = SHARED_SETTINGS | ROUTER_SETTINGS | {"num_experts", "norm_topk_prob", "attention_bias", "clip_qkv"}

    @classmethod
    def required(cls, config: PreTrainedConfig) -> dict[str, Any]:
        return {"clip_qkv": None}

    def attention(self, module: nn.Module, layer: int, length: int) -> Attention:
        return self.with_head_norms(super().attention(module, layer, length), module)
