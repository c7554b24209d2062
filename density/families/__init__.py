"""Architecture families: a config's ``model_type`` to the family that reads it; anything else is refused by name."""

from transformers import PreTrainedConfig

from density.errors import UnsupportedModel, shown
from density.families.family import Family
from density.families.gemma2 import Gemma2
from density.families.gemma3 import Gemma3
from density.families.gpt2 import Gpt2
from density.families.gpt_neox import GptNeox
from density.families.llama import Llama
from density.families.mistral import Mistral
from density.families.mixtral import Mixtral
from density.families.olmo import Olmo
from density.families.olmo2 import Olmo2, Olmo3
from density.families.olmoe import Olmoe
from density.families.opt import Opt
from density.families.parts import Block, Norm
from density.families.phi3 import Phi3
from density.families.qwen2 import Qwen2
from density.families.qwen2_moe import Qwen2Moe
from density.families.qwen3 import Qwen3

FAMILIES: dict[str, type[Family]] = {
    family.name: family
    for family in (
        *(Llama, Mistral, Mixtral, Qwen2, Qwen2Moe, Qwen3, Phi3),
        *(Gemma2, Gemma3, Olmo, Olmo2, Olmo3, Olmoe, Gpt2, GptNeox, Opt),
    )
}

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
            f"no family for model_type={shown(config.model_type)}; supported: {', '.join(sorted(FAMILIES))}. "
            "To add one, see README, 'Add a model'."
        ) from None
    family.refuse_unknown(config)
    return family
