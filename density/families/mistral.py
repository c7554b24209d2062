"""Mistral 7B: Llama with a sliding window in every layer."""

from density.families.family import SHARED_SETTINGS
from density.families.llama import Llama


class Mistral(Llama):
    """A query sees ``sliding_window`` positions, itself included; all if that is not set."""

    name = "mistral"
    settings = SHARED_SETTINGS | {"sliding_window"}
