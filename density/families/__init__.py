"""Architecture families: a config's ``model_type`` to the family that reads it; anything else is refused by name."""

from transformers import PreTrainedConfig

from density.errors import UnsupportedModel
from density.families.family import Family
from density.families.llama import Llama
from density.families.parts import Block, Norm

FAMILIES: dict[str, type[Family]] = {"llama": Llama}

__all__ = ["FAMILIES", "Block", "Family", "Norm", "family_for"]


def family_for(config: PreTrainedConfig) -> type[Family]:
    """The family that reads models with this ``config``; bind it with ``family_for(config)(model)``.

    Raises:
        UnsupportedModel: No family for its ``model_type``, or a setting that the family has not considered.
    """
    try:
        family = FAMILIES[config.model_type]
    except KeyError:
        raise UnsupportedModel(
            f"no family for model_type={config.model_type!r}; supported: {', '.join(sorted(FAMILIES))}. "
            "To add one, see README, 'Add a model'."
        ) from None
    family.refuse_unknown(config)
    return family
