"""What each architecture computes, read off a Hugging Face model's weights and written out in float64.

`Llama` is written in full; every other adapter states only how it differs. An adapter gives the pieces that
`tests.reference.graph` adds up: attention's probabilities and what each head moves, the MLP's writes, norms, logits.
Settings that are not written out are refused by name (``assumes``).
"""

import math
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from tests.reference.pieces import Norm, activation, affine, float64, layer_norm, rotate, soft_cap

SHARED = -1  # the expert that every token goes to, beside the routed ones
Expert = int | None  # None: the MLP is no mixture


class Llama:
    """Llama; the other adapters say how they differ. Biases are used where the weights have them."""

    assumes: ClassVar[dict[str, Any]] = {}  # settings that must have this value, or be absent
    parallel = False
    transposed = False  # whether linear layers are stored as (in, out)
    gate = "hidden_act"  # the name of the setting that says how the MLP's gate is activated
    has_experts = False
    rope_by_layer_type = False  # whether local and global layers have rotary settings of their own
    partial_rotary = False  # whether a share of each head's dimensions may be all that is turned

    def __init__(self, model: nn.Module):
        self.config = model.config
        for name, value in self.assumes.items():
            if getattr(self.config, name, value) != value:
                raise ValueError(f"{name}={getattr(self.config, name)!r} is not written out here; only {value!r} is")
        self.n_layers, self.n_heads = self.config.num_hidden_layers, self.config.num_attention_heads
        self.d_head = getattr(self.config, "head_dim", None) or self.config.hidden_size // self.n_heads
        self.unembedding = model.lm_head
        self.take_parts(model)
        self.n_depths = self.n_layers if self.parallel else 2 * self.n_layers

    def take_parts(self, model: nn.Module) -> None:
        self.body, self.blocks = model.model, model.model.layers
        self.final_norm = self.norm(self.body.norm)

    def norm(self, module: nn.Module) -> Norm:
        return Norm(float64(module.weight), None, self.config.rms_norm_eps, centred=False)

    # ---- both ends

    def embed(self, ids: list[int]) -> Tensor:
        return float64(self.body.embed_tokens.weight)[ids]

    def logits(self, state: Tensor) -> Tensor:
        return affine(self.unembedding, self.final_norm(state))

    # ---- attention

    def window(self, layer: int) -> int | None:
        """How many sources a query sees, itself included; ``None`` for all of them."""
        return None

    def keys_seen(self, layer: int, query: int) -> list[int]:
        window = self.window(layer)
        return [key for key in range(query + 1) if window is None or query - key < window]

    def into_attention(self, layer: int, states: Tensor) -> Tensor:
        """What queries, keys and values are made from."""
        return self.norm(self.blocks[layer].input_layernorm)(states)

    def project(self, layer: int, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (pos, its heads * d_head)."""
        attention = self.blocks[layer].self_attn
        return affine(attention.q_proj, normed), affine(attention.k_proj, normed), affine(attention.v_proj, normed)

    def norm_heads(self, layer: int, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys, head by head, as they are before they are turned; some families norm them."""
        return q, k

    def frequencies(self, layer: int, n_tokens: int) -> tuple[list[float], float]:
        """Radians per position of each turned pair of dimensions, and what cosine and sine are multiplied by.

        Of an odd number of turned dimensions there are as many pairs as of the next even one, at the odd one's angles.
        The scaled kinds of rope are not what is put to the test here: their frequencies are Hugging Face's, in float32,
        the dynamic and the long ones those of a text of ``n_tokens``.
        """
        kind = self.config.layer_types[layer] if self.rope_by_layer_type else None
        rope = self.config.rope_parameters if kind is None else self.config.rope_parameters[kind]
        if rope["rope_type"] in ("linear", "dynamic", "llama3", "longrope", "yarn"):
            values, scale = ROPE_INIT_FUNCTIONS[rope["rope_type"]](
                self.config, torch.device("cpu"), seq_len=n_tokens, layer_type=kind
            )
            return values.tolist(), scale
        if rope["rope_type"] != "default":
            raise ValueError(f"rope_type={rope['rope_type']!r} is not written out here")
        turned = int(self.d_head * rope.get("partial_rotary_factor", 1.0)) if self.partial_rotary else self.d_head
        return [rope["rope_theta"] ** (-2 * i / turned) for i in range(math.ceil(turned / 2))], 1.0

    def turn(self, layer: int, vectors: Tensor) -> Tensor:
        """Puts the position into queries or keys."""
        return rotate(vectors, *self.frequencies(layer, vectors.shape[1]))

    def scale(self, layer: int) -> float:
        return self.d_head**-0.5

    def cap_scores(self, scores: Tensor) -> Tensor:
        return scores

    def output_projection(self, layer: int) -> nn.Module:
        return self.blocks[layer].self_attn.o_proj

    def attention_norm(self, layer: int) -> Norm | None:
        """The norm that attention's output passes before it is added, if any."""
        return None

    def queries_keys_values(self, layer: int, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each (head, pos, d_head); the key and value heads repeated, one for each of their group of query heads."""
        flat = self.project(layer, self.into_attention(layer, states))
        q, k, v = (part.reshape(len(part), -1, self.d_head).transpose(0, 1) for part in flat)
        q, k = self.norm_heads(layer, q, k)
        q, k = self.turn(layer, q), self.turn(layer, k)
        kv_head = [head // (len(q) // len(k)) for head in range(len(q))]
        return q, k[kv_head], v[kv_head]

    def attention(self, layer: int, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities (head, query, key), what each head moves from each source (head, key, d_model), the bias."""
        q, k, v = self.queries_keys_values(layer, states)
        n_heads, n_tokens, d_head = q.shape
        probabilities = torch.zeros(n_heads, n_tokens, n_tokens, dtype=torch.float64)
        for query in range(n_tokens):
            keys = self.keys_seen(layer, query)
            scores = torch.einsum("hd,hkd->hk", q[:, query], k[:, keys]) * self.scale(layer)
            probabilities[:, query, keys] = torch.softmax(self.cap_scores(scores), dim=-1)
        projection = self.output_projection(layer)
        weight = float64(projection.weight)
        per_head = (weight if self.transposed else weight.T).reshape(n_heads, d_head, -1)
        writes = torch.einsum("hkd,hdm->hkm", v, per_head)
        bias = torch.zeros(writes.shape[-1], dtype=torch.float64)
        return probabilities, writes, bias if projection.bias is None else float64(projection.bias)

    # ---- the MLP

    def into_mlp(self, layer: int, states: Tensor) -> Tensor:
        """What the MLP, or every expert, is given."""
        return self.norm(self.blocks[layer].post_attention_layernorm)(states)

    def gated(self, mlp: nn.Module, normed: Tensor) -> Tensor:
        gate = activation(getattr(self.config, self.gate), affine(mlp.gate_proj, normed))
        return affine(mlp.down_proj, gate * affine(mlp.up_proj, normed))

    def mlp(self, layer: int, normed: Tensor) -> Tensor:
        return self.gated(self.blocks[layer].mlp, normed)

    def route(self, layer: int, states: Tensor) -> list[tuple[Expert, ...]]:
        """For each token, the experts whose outputs are added up; ``(None,)`` where there is but the one MLP."""
        return [(None,)] * len(states)

    def mlp_writes(self, layer: int, states: Tensor, routes: list[tuple[Expert, ...]]) -> list[dict[Expert, Tensor]]:
        """For each token, what each expert of its route writes, before any output norm."""
        return [{None: write} for write in self.mlp(layer, self.into_mlp(layer, states))]

    def mlp_norm(self, layer: int) -> Norm | None:
        """The norm that the MLP's output passes before it is added, if any."""
        return None


class Mistral(Llama):
    """Every layer sees a window of sources, where there is one."""

    def window(self, layer: int) -> int | None:
        return self.config.sliding_window


class Qwen2(Llama):
    """Some layers see a window. (Queries, keys and values have biases.)"""

    def window(self, layer: int) -> int | None:
        return self.config.sliding_window if self.config.layer_types[layer] == "sliding_attention" else None


class Qwen3(Qwen2):
    """Each head's query and key pass a norm."""

    def norm_heads(self, layer: int, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        attention = self.blocks[layer].self_attn
        return self.norm(attention.q_norm)(q), self.norm(attention.k_norm)(k)


class Gemma2(Qwen2):
    """Norms on both sides of each sub-layer, weights stored less one, scaled embeddings, soft caps."""

    assumes: ClassVar = {"use_bidirectional_attention": None}
    gate = "hidden_activation"

    def norm(self, module: nn.Module) -> Norm:
        return Norm(1 + float64(module.weight), None, self.config.rms_norm_eps, centred=False)

    def embed(self, ids: list[int]) -> Tensor:
        return super().embed(ids) * math.sqrt(self.config.hidden_size)

    def scale(self, layer: int) -> float:
        return self.config.query_pre_attn_scalar**-0.5

    def cap_scores(self, scores: Tensor) -> Tensor:
        return soft_cap(scores, self.config.attn_logit_softcapping)

    def attention_norm(self, layer: int) -> Norm:
        return self.norm(self.blocks[layer].post_attention_layernorm)

    def into_mlp(self, layer: int, states: Tensor) -> Tensor:
        return self.norm(self.blocks[layer].pre_feedforward_layernorm)(states)

    def mlp_norm(self, layer: int) -> Norm:
        return self.norm(self.blocks[layer].post_feedforward_layernorm)

    def logits(self, state: Tensor) -> Tensor:
        return soft_cap(super().logits(state), self.config.final_logit_softcapping)


class Gemma3(Gemma2):
    """Each head's query and key pass a norm; local and global layers turn them at their own speeds."""

    assumes: ClassVar = {"use_bidirectional_attention": False, "attn_logit_softcapping": None}
    rope_by_layer_type = True

    def norm_heads(self, layer: int, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        attention = self.blocks[layer].self_attn
        return self.norm(attention.q_norm)(q), self.norm(attention.k_norm)(k)


class Olmo(Llama):
    """LayerNorm without weight or shift."""

    assumes: ClassVar = {"clip_qkv": None}

    def norm(self, module: nn.Module) -> Norm:
        return Norm(torch.ones(self.config.hidden_size, dtype=torch.float64), None, 1e-5, centred=True)


class Olmo2(Llama):
    """Norms behind each sub-layer, none before it; all heads' queries pass one norm together, and so do all keys."""

    def into_attention(self, layer: int, states: Tensor) -> Tensor:
        return states

    def project(self, layer: int, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = super().project(layer, normed)
        attention = self.blocks[layer].self_attn
        return self.norm(attention.q_norm)(q), self.norm(attention.k_norm)(k), v

    def attention_norm(self, layer: int) -> Norm:
        return self.norm(self.blocks[layer].post_attention_layernorm)

    def into_mlp(self, layer: int, states: Tensor) -> Tensor:
        return states

    def mlp_norm(self, layer: int) -> Norm:
        return self.norm(self.blocks[layer].post_feedforward_layernorm)


class Olmo3(Olmo2):
    """Some layers see a window; those layers and the others have rotary settings of their own."""

    rope_by_layer_type = True

    def window(self, layer: int) -> int | None:
        return self.config.sliding_window if self.config.layer_types[layer] == "sliding_attention" else None


class Phi3(Mistral):
    """Queries, keys and values in one matrix, the MLP's gate and up in another; partial rotary."""

    partial_rotary = True

    def project(self, layer: int, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fused = affine(self.blocks[layer].self_attn.qkv_proj, normed)
        d_keys = self.config.num_key_value_heads * self.d_head
        q, k, v = fused.split([self.n_heads * self.d_head, d_keys, d_keys], dim=-1)
        return q, k, v

    def mlp(self, layer: int, normed: Tensor) -> Tensor:
        mlp = self.blocks[layer].mlp
        gate, up = affine(mlp.gate_up_proj, normed).chunk(2, dim=-1)
        return affine(mlp.down_proj, activation(self.config.hidden_act, gate) * up)


class GPT2(Llama):
    """LayerNorm, learned positions, queries, keys and values in one (in, out) matrix, a bias everywhere."""

    assumes: ClassVar = {"add_cross_attention": False}
    transposed = True

    def take_parts(self, model: nn.Module) -> None:
        self.body, self.blocks = model.transformer, model.transformer.h
        self.final_norm = layer_norm(self.body.ln_f)

    def embed(self, ids: list[int]) -> Tensor:
        return float64(self.body.wte.weight)[ids] + float64(self.body.wpe.weight)[: len(ids)]

    def into_attention(self, layer: int, states: Tensor) -> Tensor:
        return layer_norm(self.blocks[layer].ln_1)(states)

    def project(self, layer: int, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = affine(self.blocks[layer].attn.c_attn, normed, transposed=True).chunk(3, dim=-1)
        return q, k, v

    def turn(self, layer: int, vectors: Tensor) -> Tensor:
        return vectors

    def scale(self, layer: int) -> float:
        scale = self.d_head**-0.5 if self.config.scale_attn_weights else 1.0
        return scale / (layer + 1) if self.config.scale_attn_by_inverse_layer_idx else scale

    def output_projection(self, layer: int) -> nn.Module:
        return self.blocks[layer].attn.c_proj

    def into_mlp(self, layer: int, states: Tensor) -> Tensor:
        return layer_norm(self.blocks[layer].ln_2)(states)

    def mlp(self, layer: int, normed: Tensor) -> Tensor:
        mlp = self.blocks[layer].mlp
        inner = activation(self.config.activation_function, affine(mlp.c_fc, normed, transposed=True))
        return affine(mlp.c_proj, inner, transposed=True)


class GPTNeoX(Llama):
    """LayerNorm, parallel or sequential residual, q, k and v fused head by head, partial rotary, biases."""

    partial_rotary = True

    def take_parts(self, model: nn.Module) -> None:
        self.body, self.blocks = model.gpt_neox, model.gpt_neox.layers
        self.final_norm = self.norm(self.body.final_layer_norm)
        self.parallel = self.config.use_parallel_residual

    def norm(self, module: nn.Module) -> Norm:
        return layer_norm(module)

    def embed(self, ids: list[int]) -> Tensor:
        return float64(self.body.embed_in.weight)[ids]

    def project(self, layer: int, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fused = affine(self.blocks[layer].attention.query_key_value, normed)
        q, k, v = fused.reshape(len(fused), self.n_heads, 3, self.d_head).unbind(2)
        return q.flatten(1), k.flatten(1), v.flatten(1)

    def output_projection(self, layer: int) -> nn.Module:
        return self.blocks[layer].attention.dense

    def mlp(self, layer: int, normed: Tensor) -> Tensor:
        mlp = self.blocks[layer].mlp
        return affine(mlp.dense_4h_to_h, activation(self.config.hidden_act, affine(mlp.dense_h_to_4h, normed)))


class OPT(Llama):
    """LayerNorm, learned positions that start at row 2, and a projection to and from an embedding of another width."""

    assumes: ClassVar = {"do_layer_norm_before": True, "_remove_final_layer_norm": False}

    def take_parts(self, model: nn.Module) -> None:
        self.body, self.blocks = model.model.decoder, model.model.decoder.layers
        self.final_norm = layer_norm(self.body.final_layer_norm)

    def embed(self, ids: list[int]) -> Tensor:
        tokens, positions = float64(self.body.embed_tokens.weight)[ids], float64(self.body.embed_positions.weight)
        project_in = self.body.project_in
        return (tokens if project_in is None else affine(project_in, tokens)) + positions[2 : 2 + len(ids)]

    def logits(self, state: Tensor) -> Tensor:
        normed, project_out = self.final_norm(state), self.body.project_out
        return affine(self.unembedding, normed if project_out is None else affine(project_out, normed))

    def into_attention(self, layer: int, states: Tensor) -> Tensor:
        return layer_norm(self.blocks[layer].self_attn_layer_norm)(states)

    def turn(self, layer: int, vectors: Tensor) -> Tensor:
        return vectors

    def output_projection(self, layer: int) -> nn.Module:
        return self.blocks[layer].self_attn.out_proj

    def into_mlp(self, layer: int, states: Tensor) -> Tensor:
        return layer_norm(self.blocks[layer].final_layer_norm)(states)

    def mlp(self, layer: int, normed: Tensor) -> Tensor:
        block = self.blocks[layer]
        return affine(block.fc2, activation(self.config.activation_function, affine(block.fc1, normed)))


class Mixtral(Mistral):
    """Of several MLPs each token goes through a few; their gates are a softmax over all, made to sum to 1."""

    has_experts = True

    def gates_to_one(self) -> bool:
        """Whether the gates of a token's experts are divided by their sum."""
        return True

    def shares(self, layer: int, normed: Tensor) -> Float[Tensor, "pos expert"]:
        """The router's softmax over every expert."""
        return torch.softmax(normed @ float64(self.blocks[layer].mlp.gate.weight).T, dim=-1)

    def route(self, layer: int, states: Tensor) -> list[tuple[Expert, ...]]:
        shares = self.shares(layer, self.into_mlp(layer, states))
        return [tuple(row.argsort(descending=True).tolist()[: self.config.num_experts_per_tok]) for row in shares]

    def mlp_writes(self, layer: int, states: Tensor, routes: list[tuple[Expert, ...]]) -> list[dict[Expert, Tensor]]:
        normed = self.into_mlp(layer, states)
        result = []
        for row, shares, route in zip(normed, self.shares(layer, normed), routes, strict=True):
            routed = [expert for expert in route if expert != SHARED]
            total = shares[routed].sum() if self.gates_to_one() else 1.0
            result.append({expert: shares[expert] / total * self.expert(layer, expert, row) for expert in routed})
        return result

    def expert(self, layer: int, expert: int, normed: Tensor) -> Tensor:
        experts = self.blocks[layer].mlp.experts
        gate, up = (float64(experts.gate_up_proj[expert]) @ normed).chunk(2)
        return float64(experts.down_proj[expert]) @ (activation(self.config.hidden_act, gate) * up)


class Olmoe(Mixtral):
    """No window, Olmo 2's norms over all queries and over all keys; the gates may keep the sum they have."""

    assumes: ClassVar = {"clip_qkv": None}

    def window(self, layer: int) -> int | None:
        return None

    def project(self, layer: int, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = super().project(layer, normed)
        attention = self.blocks[layer].self_attn
        return self.norm(attention.q_norm)(q), self.norm(attention.k_norm)(k), v

    def gates_to_one(self) -> bool:
        return self.config.norm_topk_prob


class Qwen2Moe(Mixtral):
    """Qwen 2's windows and biases, and one more expert for every token, with a sigmoid for a gate of its own."""

    assumes: ClassVar = {"mlp_only_layers": [], "decoder_sparse_step": 1}

    def window(self, layer: int) -> int | None:
        return self.config.sliding_window if self.config.layer_types[layer] == "sliding_attention" else None

    def gates_to_one(self) -> bool:
        return self.config.norm_topk_prob

    def route(self, layer: int, states: Tensor) -> list[tuple[Expert, ...]]:
        return [(*route, SHARED) for route in super().route(layer, states)]

    def mlp_writes(self, layer: int, states: Tensor, routes: list[tuple[Expert, ...]]) -> list[dict[Expert, Tensor]]:
        mlp, normed = self.blocks[layer].mlp, self.into_mlp(layer, states)
        shared = torch.sigmoid(affine(mlp.shared_expert_gate, normed)) * self.gated(mlp.shared_expert, normed)
        routed = super().mlp_writes(layer, states, routes)
        return [{**writes, SHARED: write} for writes, write in zip(routed, shared, strict=True)]


FAMILIES = {
    "llama": Llama,
    "mistral": Mistral,
    "qwen2": Qwen2,
    "qwen3": Qwen3,
    "gemma2": Gemma2,
    "gemma3_text": Gemma3,
    "olmo": Olmo,
    "olmo2": Olmo2,
    "olmo3": Olmo3,
    "phi3": Phi3,
    "gpt2": GPT2,
    "gpt_neox": GPTNeoX,
    "opt": OPT,
    "mixtral": Mixtral,
    "olmoe": Olmoe,
    "qwen2_moe": Qwen2Moe,
}


def family_of(model: nn.Module) -> Llama:
    """The adapter that reads ``model``; an unknown ``model_type`` is a ``ValueError``."""
    if model.config.model_type not in FAMILIES:
        raise ValueError(f"no reference for model_type={model.config.model_type!r}; there is {', '.join(FAMILIES)}")
    return FAMILIES[model.config.model_type](model)
