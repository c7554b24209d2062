"""What the engine asks of a model, and how a decoder in the shape of Llama answers.

A family reads weights where Hugging Face keeps them and returns `parts`; the engine runs the parts. A family file
states only how its architecture departs from what is here.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedConfig

from density.errors import UnsupportedModel, shown
from density.families.parts import Attention, Block, HeadProjection, Linear, Mlp, Norm, Rotary

ROPE_TYPES = frozenset({"default", "linear", "dynamic", "yarn", "longrope", "llama3"})
# Written by other tools into config.json; no modelling code reads them.
REMARKS = frozenset({"transformers.js_config", "is_llama_config", "unsloth_version", "unsloth_fixed", "torch_dtype"})
SHARED_SETTINGS = frozenset(
    {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "hidden_act", "tie_word_embeddings"}
    | {"num_attention_heads", "num_key_value_heads", "head_dim", "rms_norm_eps", "attention_dropout"}
    | {"max_position_embeddings", "rope_parameters", "initializer_range", "use_cache"}
    | {"pad_token_id", "bos_token_id", "eos_token_id"}
)


class Family:
    """A decoder as parts: embedding, blocks, final norm, head. Holds the Hugging Face model and never changes it.

    Attributes:
        name: The family's name, its config's ``model_type``.
        settings: Config settings this family has considered; any other that is set is refused by name.
        attention_implementation: Which of Hugging Face's own attention functions is exact for this family.
        parallel: Whether attention and MLP of a block read the same state.
    """

    name: ClassVar[str] = "llama"
    settings: ClassVar[frozenset[str]] = SHARED_SETTINGS
    attention_implementation: ClassVar[str] = "sdpa"
    parallel: bool = False

    def __init__(self, model: Any) -> None:
        self.model = model
        self.config = model.config
        self.layers: int = self.config.num_hidden_layers
        self.heads: int = self.config.num_attention_heads
        self.kv_heads: int = getattr(self.config, "num_key_value_heads", None) or self.heads
        self.d_model: int = self.config.hidden_size
        self.d_neuron: int = getattr(self.config, "intermediate_size", None) or 4 * self.d_model
        self._rotary_tables: OrderedDict[Any, Rotary] = OrderedDict()

    @classmethod
    def refuse_unknown(cls, config: PreTrainedConfig) -> None:
        """Raises `UnsupportedModel` for a setting, or a value of one, that this family has not considered."""
        generic = PreTrainedConfig().to_dict().keys() | REMARKS | cls.settings
        for name, value in config.to_dict().items():
            if name not in generic and not name.startswith("_") and value not in (None, False):
                raise UnsupportedModel(
                    f"{cls.name} model with a setting nobody has looked at: {setting(name)}={shown(value)}. "
                    "To support it, see README, 'Add a model'."
                )
        for name, value in cls.required(config).items():
            found = getattr(config, name, value)
            if found != value and (found or value):
                raise UnsupportedModel(f"{cls.name} model with {name}={shown(found)}; only {value!r} is supported.")
        for kind in set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}:
            raise UnsupportedModel(
                f"{cls.name} model with a layer of type {shown(kind)}; full and sliding are supported."
            )
        for rope in cls.rope_settings(config):
            kind = rope.get("rope_type", "default")
            if kind not in ROPE_TYPES:
                known = ", ".join(sorted(ROPE_TYPES))
                raise UnsupportedModel(f"{cls.name} model with rope_type={shown(kind)}; supported: {known}.")

    @classmethod
    def required(cls, config: PreTrainedConfig) -> dict[str, Any]:
        """Settings that must have one value for the parts to be exact; unset, ``False`` and empty are the same."""
        return {}

    @classmethod
    def rope_settings(cls, config: PreTrainedConfig) -> list[dict[str, Any]]:
        """The rotary settings of every kind of layer."""
        rope = getattr(config, "rope_parameters", None) or {}
        nested = [value for value in rope.values() if isinstance(value, dict)]
        return nested or [rope]

    @property
    def device(self) -> torch.device:
        """Where ids go in and states begin."""
        embedding = self.model.get_input_embeddings()
        return weights(embedding).device

    @property
    def dtype(self) -> torch.dtype:
        """What states are held in."""
        return self.model.dtype

    def embed(self, ids: Int[Tensor, " position"]) -> Float[Tensor, "position d_model"]:
        """The states at depth 0."""
        return self.model.get_input_embeddings()(ids)

    def block(self, layer: int, length: int) -> Block:
        """Layer ``layer`` as parts, for a text of ``length`` tokens."""
        module = self.model.model.layers[layer]
        return Block(
            attention=self.attention(module.self_attn, layer, length),
            mlp=self.mlp(module.mlp),
            attention_norm=self.norm(module.input_layernorm),
            mlp_norm=self.norm(module.post_attention_layernorm),
        )

    def attention(self, module: nn.Module, layer: int, length: int) -> Attention:
        """The attention of ``layer``, for a text of ``length`` tokens."""
        rotary = self.rotary(layer, length)
        return Attention(
            query=HeadProjection(linear(module.q_proj), self.heads, rotary=rotary),
            key=HeadProjection(linear(module.k_proj), self.kv_heads, rotary=rotary),
            value=HeadProjection(linear(module.v_proj), self.kv_heads),
            output=linear(module.o_proj),
            scale=module.scaling,
            window=self.window(layer),
        )

    def with_head_norms(self, attention: Attention, module: nn.Module) -> Attention:
        """``attention`` with the norms of its queries and keys."""
        query = replace(attention.query, norm=self.norm(module.q_norm))
        return replace(attention, query=query, key=replace(attention.key, norm=self.norm(module.k_norm)))

    def window(self, layer: int) -> int | None:
        """How many positions a query of ``layer`` sees, itself included; ``None`` for all before it."""
        kinds = getattr(self.config, "layer_types", None)
        local = kinds is None or kinds[layer] == "sliding_attention"
        return getattr(self.config, "sliding_window", None) if local else None

    def mlp(self, module: nn.Module) -> Mlp:
        """The MLP of a layer."""
        return Mlp(
            up=linear(module.up_proj),
            down=linear(module.down_proj),
            activation=in_place(module.act_fn),
            gate=linear(module.gate_proj),
        )

    def norm(self, module: nn.Module) -> Norm:
        """A norm of the model, of whatever width."""
        return Norm(weight=weights(module), eps=module.variance_epsilon)

    def rotary(self, layer: int, length: int) -> Rotary:
        """The rotary tables of ``layer`` for a text of ``length`` tokens: the same for every replay of that text."""
        key = (self.rotary_kind(layer), length)
        if key not in self._rotary_tables:
            while len(self._rotary_tables) > 8:
                self._rotary_tables.popitem(last=False)
            probe = torch.empty(1, length, 1, dtype=self.dtype, device=self.device)
            positions = torch.arange(length, device=self.device)[None]
            kind = () if key[0] is None else (key[0],)
            cos, sin = self.rotary_module()(probe, positions, *kind)
            self._rotary_tables[key] = Rotary(cos[0], sin[0])
        return self._rotary_tables[key]

    def rotary_module(self) -> nn.Module:
        """What makes the rotary tables."""
        return self.model.model.rotary_emb

    def rotary_kind(self, layer: int) -> str | None:
        """Which rotary tables ``layer`` uses, where a model has several; ``None`` where it has one."""
        return None

    def final_norm(self) -> Norm:
        """The norm between the last state and the head."""
        return self.norm(self.model.model.norm)

    def unembed(self, x: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows vocab"]:
        """Logits, in float32 or wider, of rows that have passed the final norm."""
        logits = self.model.lm_head(x)
        return logits if logits.dtype == torch.float64 else logits.float()


def setting(name: str) -> str:
    """A setting's name as a message has it: as it is if it is one, else as any text."""
    return name if name.isidentifier() and len(name) <= 60 else shown(name)


def linear(module: nn.Module) -> Linear:
    """A ``torch.nn.Linear`` as a part."""
    return Linear(weights(module), weights(module, "bias"))


def layer_norm(module: nn.LayerNorm) -> Norm:
    """A ``torch.nn.LayerNorm`` as a part."""
    return Norm(weights(module), module.eps, weights(module, "bias"), centred=True)


def weights(module: nn.Module, name: str = "weight") -> Tensor | None:
    """A parameter of ``module``, fetched from where `accelerate` keeps it if it has been offloaded."""
    tensor = getattr(module, name)
    if tensor is None or tensor.device.type != "meta":
        return tensor
    hook = module._hf_hook
    return hook.weights_map[name].to(hook.execution_device)


def in_place(activation: nn.Module) -> Callable[[Tensor], Tensor]:
    """``activation``, overwriting its input where torch can: fresh memory for it takes a third of an MLP's time."""
    return partial(nn.functional.silu, inplace=True) if isinstance(activation, nn.SiLU) else activation
