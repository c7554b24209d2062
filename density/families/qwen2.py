"""Qwen 2, 2.5 and Coder: Llama with biases on queries, keys and values, so a cut token's key is its bias."""

from density.families.family import SHARED_SETTINGS
from density.families.llama import Llama

QWEN_SETTINGS = SHARED_SETTINGS | {"use_sliding_window", "sliding_window", "max_window_layers", "layer_types"}


class Qwen2(Llama):
    """Upper layers may have a sliding window."""

    name = "qwen2"
    settings = QWEN_SETTINGS
