"""Mixtral: Mistral with a mixture of experts for an MLP; and what its relatives share."""

from torch import nn

from density.families.family import SHARED_SETTINGS, Linear, weights
from density.families.llama import Llama
from density.families.parts import Experts

ROUTER_SETTINGS = frozenset({"num_experts_per_tok", "output_router_logits", "router_aux_loss_coef"})


class Mixtral(Llama):
    """The chosen experts' gates sum to 1."""

    name = "mixtral"
    settings = SHARED_SETTINGS | ROUTER_SETTINGS | {"num_local_experts", "router_jitter_noise", "sliding_window"}

    def mlp(self, module: nn.Module) -> Experts:
        return Experts(
            router=Linear(weights(module.gate)),
            gate_up=weights(module.experts, "gate_up_proj"),
            down=weights(module.experts, "down_proj"),
            activation=module.experts.act_fn,
            top_k=module.gate.top_k,
            renormalise=getattr(module.gate, "norm_topk_prob", True),
        )
