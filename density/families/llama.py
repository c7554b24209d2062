"""Llama 1-3, SmolLM, TinyLlama, DeepSeek-LLM: the shape every other family departs from."""

from density.families.family import SHARED_SETTINGS, Family


class Llama(Family):
    """RMSNorm before each sub-layer, rotary positions, grouped-query attention, a gated MLP; biases if configured."""

    name = "llama"
    settings = SHARED_SETTINGS | {"attention_bias", "mlp_bias", "pretraining_tp", "rope_interleaved"}

    @classmethod
    def required(cls, config):
        return {"rope_interleaved": False}
