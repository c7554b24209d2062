"""Gemma 2: a norm before and after each sub-layer, ``1 + w`` norms, soft caps, local and global layers in turn."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedConfig

from density.families.family import SHARED_SETTINGS, weights
from density.families.llama import Llama
from density.families.parts import Attention, Block, Norm

GEMMA_SETTINGS = SHARED_SETTINGS | {
    *("hidden_activation", "attention_bias", "query_pre_attn_scalar", "sliding_window", "layer_types"),
    *("final_logit_softcapping", "attn_logit_softcapping", "use_bidirectional_attention"),
}


class Gemma2(Llama):
    """The embedding scales itself; Hugging Face's fused attention leaves out the score cap: its eager one is used."""

    name = "gemma2"
    settings = GEMMA_SETTINGS
    attention_implementation = "eager"

    @classmethod
    def required(cls, config: PreTrainedConfig) -> dict[str, Any]:
        return {"use_bidirectional_attention": False}

    def block(self, layer: int, length: int) -> Block:
        module = self.model.model.layers[layer]
        return replace(
            super().block(layer, length),
            attention_output_norm=self.norm(module.post_attention_layernorm),
            mlp_norm=self.norm(module.pre_feedforward_layernorm),
            mlp_output_norm=self.norm(module.post_feedforward_layernorm),
        )

    def attention(self, module: nn.Module, layer: int, length: int) -> Attention:
        return replace(super().attention(module, layer, length), softcap=self.config.attn_logit_softcapping)

    def norm(self, module: nn.Module) -> Norm:
        return Norm(weight=1 + weights(module).float(), eps=module.eps)

    def unembed(self, x: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows vocab"]:
        logits, cap = super().unembed(x), self.config.final_logit_softcapping
        return logits if cap is None else cap * torch.tanh(logits / cap)
