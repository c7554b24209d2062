"""GPT-2 and DistilGPT-2: LayerNorm with shifts, learned positions, biases everywhere, transposed matrices."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from density.families.family import Family, layer_norm, weights
from density.families.parts import Attention, Block, HeadProjection, Linear, Mlp, Norm


class Gpt2(Family):
    """One matrix holds queries, keys and values; the output biases have no edge."""

    name = "gpt2"
    settings = frozenset(
        {"vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner", "activation_function"}
        | {"resid_pdrop", "embd_pdrop", "attn_pdrop", "layer_norm_epsilon", "initializer_range", "n_ctx"}
        | {"summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels"}
        | {"summary_first_dropout", "scale_attn_weights", "use_cache", "bos_token_id", "eos_token_id"}
        | {"pad_token_id", "scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "tie_word_embeddings"}
        | {"task_specific_params"}
    )

    def embed(self, ids: Int[Tensor, " position"]) -> Float[Tensor, "position d_model"]:
        positions = torch.arange(len(ids), device=ids.device)
        return self.model.transformer.wte(ids) + self.model.transformer.wpe(positions)

    def block(self, layer: int, length: int) -> Block:
        module = self.model.transformer.h[layer]
        mlp = Mlp(up=transposed(module.mlp.c_fc), down=transposed(module.mlp.c_proj), activation=module.mlp.act)
        return Block(
            attention=self.attention(module.attn, layer, length),
            mlp=mlp,
            attention_norm=layer_norm(module.ln_1),
            mlp_norm=layer_norm(module.ln_2),
        )

    def attention(self, module: nn.Module, layer: int, length: int) -> Attention:
        fused = transposed(module.c_attn)
        parts = zip(fused.weight.chunk(3), fused.bias.chunk(3), strict=True)
        query, key, value = (HeadProjection(Linear(weight, bias), self.heads) for weight, bias in parts)
        return Attention(query, key, value, output=transposed(module.c_proj), scale=module.scaling)

    def final_norm(self) -> Norm:
        return layer_norm(self.model.transformer.ln_f)


def transposed(module: nn.Module) -> Linear:
    """A ``Conv1D``, which keeps its matrix the other way round, as a part."""
    return Linear(weights(module).T, weights(module, "bias"))
