"""Tiny random models of every family, from their configs: no download, sizes distinct primes where they can be."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from density.families import Family, family_for
from density.models import Model

VOCAB, WIDTH, NEURONS, LAYERS = 53, 24, 37, 3

SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "intermediate_size": NEURONS,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
FULL_HEADS = {**SIZES, "num_key_value_heads": 4}
ONE_KEY_HEAD = {**SIZES, "num_key_value_heads": 1}
NEOX = {key: value for key, value in SIZES.items() if key != "num_key_value_heads"}
OWN_HEADS = {**SIZES, "head_dim": 10}
GEMMA = {**OWN_HEADS, "sliding_window": 4, "query_pre_attn_scalar": 7}
LOCAL_AND_GLOBAL = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
GPT2 = {"vocab_size": VOCAB, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": 4, "n_inner": NEURONS, "n_positions": 128}
GPT2 |= {"initializer_range": 0.3, "bos_token_id": 1, "eos_token_id": 2}
OPT = {"vocab_size": VOCAB, "hidden_size": WIDTH, "ffn_dim": NEURONS, "num_hidden_layers": LAYERS, "init_std": 0.3}
OPT |= {"num_attention_heads": 4, "max_position_embeddings": 128, "word_embed_proj_dim": WIDTH}
EXPERTS = {"num_experts": 5, "num_experts_per_tok": 3, "norm_topk_prob": False}
SHARED_EXPERT = {"moe_intermediate_size": 11, "shared_expert_intermediate_size": 13}
LLAMA3_ROPE = {
    **{"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 64},
    **{"low_freq_factor": 1.0, "high_freq_factor": 4.0},
}
YARN_ROPE = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32}


@dataclass(frozen=True)
class Case:
    """One tiny model: its family, which settings it turns on, its classes and their arguments."""

    family: str
    settings: str
    architecture: str
    config: str
    arguments: dict[str, Any]


def llama(settings: str, **arguments: Any) -> Case:
    return Case("llama", settings, "LlamaForCausalLM", "LlamaConfig", {**SIZES, **arguments})


def rope(kind: str, **arguments: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **arguments}}


def long_rope(original: int, **arguments: Any) -> dict[str, Any]:
    """Other angles for texts of more than ``original`` tokens; a factor for each pair of a head's dimensions."""
    arguments |= {"short_factor": [1.0, 1.5, 2.0], "long_factor": [1.0, 3.0, 7.0], "partial_rotary_factor": 1.0}
    scaled = rope("longrope", original_max_position_embeddings=original, **arguments)
    return {**scaled, "original_max_position_embeddings": original}


CASES = [
    llama("grouped heads"),
    llama("full heads, biases", **FULL_HEADS, attention_bias=True, mlp_bias=True),
    llama("one key head, own head width", **ONE_KEY_HEAD, head_dim=10),
    llama("rope linear", **rope("linear", factor=3.0)),
    llama("rope dynamic", **rope("dynamic", factor=3.0)),
    llama("rope llama3", rope_parameters=LLAMA3_ROPE),
    llama("rope yarn", rope_parameters=YARN_ROPE),
    llama("tied embeddings", tie_word_embeddings=True),
    Case("mistral", "window 5", "MistralForCausalLM", "MistralConfig", {**SIZES, "sliding_window": 5, "head_dim": 10}),
    Case("mistral", "no window", "MistralForCausalLM", "MistralConfig", {**FULL_HEADS, "sliding_window": None}),
    Case("qwen2", "biased q/k/v", "Qwen2ForCausalLM", "Qwen2Config", SIZES),
    Case(
        *("qwen2", "window 4 above layer 0", "Qwen2ForCausalLM", "Qwen2Config"),
        {**ONE_KEY_HEAD, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    ),
    Case("qwen3", "head norms", "Qwen3ForCausalLM", "Qwen3Config", {**OWN_HEADS, "attention_bias": True}),
    Case("qwen3", "full heads", "Qwen3ForCausalLM", "Qwen3Config", {**FULL_HEADS, "head_dim": 6}),
    Case(
        *("gemma2", "soft caps, window 4", "Gemma2ForCausalLM", "Gemma2Config"),
        {**GEMMA, "final_logit_softcapping": 5.0, "attn_logit_softcapping": 3.0},
    ),
    Case(
        *("gemma2", "no caps, one key head", "Gemma2ForCausalLM", "Gemma2Config"),
        {**GEMMA, "num_key_value_heads": 1, "final_logit_softcapping": None, "attn_logit_softcapping": None},
    ),
    Case(
        *("gemma3_text", "local and global", "Gemma3ForCausalLM", "Gemma3TextConfig"),
        {**GEMMA, **LOCAL_AND_GLOBAL},
    ),
    Case(
        *("gemma3_text", "final cap, biases", "Gemma3ForCausalLM", "Gemma3TextConfig"),
        {**GEMMA, "num_key_value_heads": 4, "final_logit_softcapping": 5.0, "attention_bias": True},
    ),
    Case("olmo", "norm without weights", "OlmoForCausalLM", "OlmoConfig", SIZES),
    Case("olmo2", "post norms, norms over all heads", "Olmo2ForCausalLM", "Olmo2Config", SIZES),
    Case("olmo2", "full heads, biases", "Olmo2ForCausalLM", "Olmo2Config", {**FULL_HEADS, "attention_bias": True}),
    Case("olmo3", "window 4", "Olmo3ForCausalLM", "Olmo3Config", {**SIZES, "sliding_window": 4, **LOCAL_AND_GLOBAL}),
    Case(
        "phi3",
        "fused, partial rotary",
        "Phi3ForCausalLM",
        "Phi3Config",
        {**SIZES, **rope("default", partial_rotary_factor=0.7)},
    ),
    Case("phi3", "rope long, within", "Phi3ForCausalLM", "Phi3Config", {**SIZES, **long_rope(64)}),
    # Its own factor for so short a text would make attention so sharp that most importances are next to nothing.
    Case("phi3", "rope long, beyond", "Phi3ForCausalLM", "Phi3Config", {**SIZES, **long_rope(3, attention_factor=1.1)}),
    Case("phi3", "full heads, window 5", "Phi3ForCausalLM", "Phi3Config", {**FULL_HEADS, "sliding_window": 5}),
    Case("gpt2", "as released", "GPT2LMHeadModel", "GPT2Config", GPT2),
    Case(
        *("gpt2", "unscaled, by layer", "GPT2LMHeadModel", "GPT2Config"),
        {**GPT2, "n_inner": None, "scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True},
    ),
    Case("gpt_neox", "parallel", "GPTNeoXForCausalLM", "GPTNeoXConfig", {**NEOX, "rotary_pct": 0.7}),
    Case(
        *("gpt_neox", "sequential, no biases", "GPTNeoXForCausalLM", "GPTNeoXConfig"),
        {**NEOX, "rotary_pct": 0.7, "use_parallel_residual": False, "attention_bias": False},
    ),
    Case("opt", "as released", "OPTForCausalLM", "OPTConfig", OPT),
    Case(
        *("opt", "narrow embedding, no biases", "OPTForCausalLM", "OPTConfig"),
        {**OPT, "word_embed_proj_dim": 17, "enable_bias": False, "layer_norm_elementwise_affine": False},
    ),
    Case("mixtral", "2 of 5 experts", "MixtralForCausalLM", "MixtralConfig", {**SIZES, "num_local_experts": 5}),
    Case(
        "qwen2_moe", "3 of 5 and shared", "Qwen2MoeForCausalLM", "Qwen2MoeConfig", {**SIZES, **EXPERTS, **SHARED_EXPERT}
    ),
    Case(
        *("olmoe", "3 of 5, gates to 1", "OlmoeForCausalLM", "OlmoeConfig"),
        {**SIZES, **EXPERTS, "norm_topk_prob": True},
    ),
]
LLAMA = CASES[0]
KEY_HEADS = {4: "full heads", 2: "grouped heads", 1: "one key head"}


def with_key_heads() -> list[Case]:
    """For every family that groups heads, the numbers of key heads that none of its cases has."""
    tried = {(case.family, case.arguments.get("num_key_value_heads")) for case in CASES}
    first = {case.family: case for case in reversed(CASES) if "num_key_value_heads" in case.arguments}
    return [
        Case(family, name, case.architecture, case.config, {**case.arguments, "num_key_value_heads": count})
        for family, case in first.items()
        for count, name in KEY_HEADS.items()
        if (family, count) not in tried
    ]


EVERY_CASE = [*CASES, *with_key_heads()]


def tiny(case: Case = LLAMA, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any) -> Family:
    """The model of ``case``, every vector parameter moved off its initial value, bound to its family."""
    config = getattr(transformers, case.config)(**{**case.arguments, **changes})
    family = family_for(config)
    config._attn_implementation = family.attention_implementation
    config._experts_implementation = "eager"
    torch.manual_seed(seed)
    model = getattr(transformers, case.architecture)(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 or name.endswith(".gate.weight"):
            parameter.add_(0.2 * torch.randn_like(parameter))
    return family(model.to(dtype))


def random_ids(length: int, seed: int = 0) -> torch.Tensor:
    """A text of ``length`` random token ids."""
    return torch.randint(3, VOCAB, (length,), generator=torch.Generator().manual_seed(seed))


class Letters:
    """A tokenizer of single characters: 50 of them have a token, every other is the unknown one."""

    KNOWN = " abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTU.'"
    FIRST, UNKNOWN = 3, 0

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        found = [self.KNOWN.find(character) for character in text]
        return {"input_ids": [self.FIRST + place if place >= 0 else self.UNKNOWN for place in found]}

    def decode(self, ids: Sequence[int] | int, **_: Any) -> str:
        every = [ids] if isinstance(ids, int) else ids
        return "".join(self.KNOWN[token - self.FIRST] if token >= self.FIRST else "?" for token in every)


def lettered(case: Case = LLAMA, **changes: Any) -> Model:
    """A tiny model with a tokenizer, as if it had been loaded."""
    decoder = tiny(case, **changes)
    return Model("tiny", "0" * 40, case.family, decoder, Letters(), "cpu", "float32")


class OnMps(torch.Tensor):
    """A tensor as on Apple's MPS, which has no float64, wherever the tests run."""

    @property
    def device(self) -> torch.device:
        return torch.device("mps")

    def double(self) -> torch.Tensor:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.")

    def cpu(self) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)
