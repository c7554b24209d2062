"""Gemma 3, text: Gemma 2 with norms on queries and keys, and rotary bases of their own in local and global layers."""

from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from density.families.gemma2 import Gemma2
from density.families.parts import Attention


class Gemma3(Gemma2):
    """Hugging Face never applies ``attn_logit_softcapping`` here, so a model that sets it is refused."""

    name = "gemma3_text"
    attention_implementation = "sdpa"

    @classmethod
    def required(cls, config: PreTrainedConfig) -> dict[str, Any]:
        return {"use_bidirectional_attention": False, "attn_logit_softcapping": None}

    def attention(self, module: nn.Module, layer: int, length: int) -> Attention:
        return self.with_head_norms(super().attention(module, layer, length), module)

    def rotary_kind(self, layer: int) -> str:
        return self.config.layer_types[layer]
