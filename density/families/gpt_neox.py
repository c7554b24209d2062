"""GPT-NeoX, Pythia: LayerNorm, partial rotary, biases, and attention and MLP side by side."""

from jaxtyping import Float
from torch import Tensor, nn

from density.families.family import SHARED_SETTINGS, Family, layer_norm, linear
from density.families.parts import Attention, Block, HeadProjection, Linear, Mlp, Norm


class GptNeox(Family):
    """``use_parallel_residual=False`` makes the blocks sequential."""

    name = "gpt_neox"
    settings = SHARED_SETTINGS | {
        *("layer_norm_eps", "hidden_dropout", "classifier_dropout", "use_parallel_residual", "attention_bias"),
        *("rotary_pct", "rotary_emb_base", "partial_rotary_factor"),
    }

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.parallel = model.config.use_parallel_residual

    def block(self, layer: int, length: int) -> Block:
        module = self.model.gpt_neox.layers[layer]
        mlp = module.mlp
        return Block(
            attention=self.attention(module.attention, layer, length),
            mlp=Mlp(up=linear(mlp.dense_h_to_4h), down=linear(mlp.dense_4h_to_h), activation=mlp.act),
            attention_norm=layer_norm(module.input_layernorm),
            mlp_norm=layer_norm(module.post_attention_layernorm),
            parallel=self.parallel,
        )

    def attention(self, module: nn.Module, layer: int, length: int) -> Attention:
        fused, rotary = linear(module.query_key_value), self.rotary(layer, length)
        query, key, value = (self.slice(fused, part) for part in range(3))
        return Attention(
            query=HeadProjection(query, self.heads, rotary=rotary),
            key=HeadProjection(key, self.heads, rotary=rotary),
            value=HeadProjection(value, self.heads),
            output=linear(module.dense),
            scale=module.scaling,
        )

    def slice(self, fused: Linear, part: int) -> Linear:
        """Queries, keys or values (0, 1, 2): the fused matrix holds the three of each head side by side."""

        def take(rows: Float[Tensor, "out *in"]) -> Tensor:
            return rows.unflatten(0, (self.heads, 3, -1))[:, part].flatten(0, 1)

        return Linear(take(fused.weight), None if fused.bias is None else take(fused.bias))

    def rotary_module(self) -> nn.Module:
        return self.model.gpt_neox.rotary_emb

    def final_norm(self) -> Norm:
        return layer_norm(self.model.gpt_neox.final_layer_norm)
