"""OPT: LayerNorm, learned positions, biases; embeddings may be narrower than the states."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedConfig

from density.families.family import Family, layer_norm, linear
from density.families.parts import Attention, Block, HeadProjection, Mlp, Norm


class Opt(Family):
    """OPT-350m's LayerNorm after the addition takes the residual inside the norm: refused."""

    name = "opt"
    settings = frozenset(
        {"vocab_size", "hidden_size", "num_hidden_layers", "ffn_dim", "max_position_embeddings"}
        | {"do_layer_norm_before", "word_embed_proj_dim", "dropout", "attention_dropout", "num_attention_heads"}
        | {"activation_function", "layerdrop", "init_std", "use_cache", "pad_token_id", "bos_token_id", "eos_token_id"}
        | {"enable_bias", "layer_norm_elementwise_affine", "tie_word_embeddings", "activation_dropout", "prefix"}
    )

    @classmethod
    def required(cls, config: PreTrainedConfig) -> dict[str, Any]:
        return {"do_layer_norm_before": True, "_remove_final_layer_norm": False}

    @property
    def decoder(self) -> nn.Module:
        """Where Hugging Face keeps the layers."""
        return self.model.model.decoder

    def embed(self, ids: Int[Tensor, " position"]) -> Float[Tensor, "position d_model"]:
        tokens = self.decoder.embed_tokens(ids)
        if self.decoder.project_in is not None:
            tokens = self.decoder.project_in(tokens)
        return tokens + self.decoder.embed_positions(torch.ones_like(ids)[None])[0]

    def block(self, layer: int, length: int) -> Block:
        module = self.decoder.layers[layer]
        return Block(
            attention=self.attention(module.self_attn, layer, length),
            mlp=Mlp(up=linear(module.fc1), down=linear(module.fc2), activation=module.activation_fn),
            attention_norm=layer_norm(module.self_attn_layer_norm),
            mlp_norm=layer_norm(module.final_layer_norm),
        )

    def attention(self, module: nn.Module, layer: int, length: int) -> Attention:
        sources = (module.q_proj, module.k_proj, module.v_proj)
        query, key, value = (HeadProjection(linear(source), self.heads) for source in sources)
        return Attention(query, key, value, output=linear(module.out_proj), scale=module.scaling)

    def final_norm(self) -> Norm:
        return layer_norm(self.decoder.final_layer_norm)

    def unembed(self, x: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows vocab"]:
        return super().unembed(x if self.decoder.project_out is None else self.decoder.project_out(x))
