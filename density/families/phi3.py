"""Phi-3 and Phi-4: Llama with queries, keys and values in one matrix, and gate and up in another; partial rotary."""

from torch import nn

from density.families.family import SHARED_SETTINGS, linear, weights
from density.families.llama import Llama
from density.families.parts import Attention, HeadProjection, Linear, Mlp

DROPOUTS = frozenset({"resid_pdrop", "embd_pdrop"})


class Phi3(Llama):
    """The fused matrices are read in slices."""

    name = "phi3"
    settings = (
        SHARED_SETTINGS | DROPOUTS | {"original_max_position_embeddings", "sliding_window", "partial_rotary_factor"}
    )

    def attention(self, module: nn.Module, layer: int, length: int) -> Attention:
        rotary = self.rotary(layer, length)
        counts = (self.heads, self.kv_heads, self.kv_heads)
        query, key, value = weights(module.qkv_proj).split([count * module.head_dim for count in counts])
        return Attention(
            query=HeadProjection(Linear(query), self.heads, rotary=rotary),
            key=HeadProjection(Linear(key), self.kv_heads, rotary=rotary),
            value=HeadProjection(Linear(value), self.kv_heads),
            output=linear(module.o_proj),
            scale=module.scaling,
            window=self.window(layer),
        )

    def mlp(self, module: nn.Module) -> Mlp:
        gate, up = weights(module.gate_up_proj).chunk(2)
        return Mlp(up=Linear(up), down=linear(module.down_proj), activation=module.activation_fn, gate=Linear(gate))
