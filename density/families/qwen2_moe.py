"""Qwen 1.5/2 MoE: Qwen 2 with a mixture of experts and a gated shared expert."""

from dataclasses import replace
from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from density.families.family import linear
from density.families.mixtral import ROUTER_SETTINGS, Mixtral
from density.families.parts import Experts
from density.families.qwen2 import QWEN_SETTINGS


class Qwen2Moe(Mixtral):
    """Models that mix dense and sparse layers are refused."""

    name = "qwen2_moe"
    settings = (
        QWEN_SETTINGS
        | ROUTER_SETTINGS
        | {"decoder_sparse_step", "moe_intermediate_size", "shared_expert_intermediate_size", "num_experts"}
        | {"norm_topk_prob", "mlp_only_layers", "qkv_bias"}
    )

    @classmethod
    def required(cls, config: PreTrainedConfig) -> dict[str, Any]:
        return {"decoder_sparse_step": 1, "mlp_only_layers": []}

    def mlp(self, module: nn.Module) -> Experts:
        shared = super(Mixtral, self).mlp(module.shared_expert)
        return replace(super().mlp(module), shared=shared, shared_gate=linear(module.shared_expert_gate))
