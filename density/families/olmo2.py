"""OLMo 2 and 3: norms after each sub-layer instead of before, and on all heads' queries and keys as one vector."""

from torch import nn

from density.families.family import SHARED_SETTINGS
from density.families.llama import Llama
from density.families.parts import Attention, Block


class Olmo2(Llama):
    """The sub-layers read the state as it is; their writes are normed."""

    name = "olmo2"
    settings = SHARED_SETTINGS | {"attention_bias"}

    def block(self, layer: int, length: int) -> Block:
        module = self.model.model.layers[layer]
        return Block(
            attention=self.attention(module.self_attn, layer, length),
            mlp=self.mlp(module.mlp),
            attention_norm=None,
            mlp_norm=None,
            attention_output_norm=self.norm(module.post_attention_layernorm),
            mlp_output_norm=self.norm(module.post_feedforward_layernorm),
        )

    def attention(self, module: nn.Module, layer: int, length: int) -> Attention:
        return self.with_head_norms(super().attention(module, layer, length), module)


class Olmo3(Olmo2):
    """Local and global layers in turn, each kind with its rotary tables."""

    name = "olmo3"
    settings = Olmo2.settings | {"sliding_window", "layer_types"}

    def rotary_kind(self, layer: int) -> str:
        return self.config.layer_types[layer]
