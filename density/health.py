"""Does the engine's model equal the model? Measured when one loads, and again on every text."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from density.errors import DensityError
from density.families import Family
from density.fidelity import in_float64, probabilities, total_variation
from density.importance import run_block, run_whole
from density.models import Model, open_model
from density.reading import Reading, tokenise
from density.replay import KeepTraces, replay
from density.traces import Traces

CHECK_TEXT = "The quick brown fox, who can't spell, jumps over 13 lazy dogs."
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.05}


class Unhealthy(DensityError):
    """A model whose replay or writes do not match the model; it is not used."""


@dataclass(frozen=True, slots=True)
class Health:
    """How exactly the engine reproduces a model on a text.

    Attributes:
        full_replay_tv: Total variation of the full graph's replay from Hugging Face's own forward pass, the worst of
            the predictions checked.
        max_state_error: Largest difference between a state and the sum of the writes into it, or between a state after
            a layer and Hugging Face's, as a share of that layer's largest entry.
        max_logit_error: Largest difference between the full graph's logits and Hugging Face's.
    """

    full_replay_tv: float
    max_state_error: float
    max_logit_error: float

    def passes(self, precision: str) -> bool:
        """Whether both shares are within what rounding explains in ``precision``."""
        limit = TOLERANCE[precision]
        return self.full_replay_tv <= limit and self.max_state_error <= limit


@torch.no_grad()
def measure_health(decoder: Family, ids: Int[Tensor, " position"], traces: Traces, experts: Any = None) -> Health:
    """Compares the engine with Hugging Face's own forward pass on ``ids``, at the predictions of ``traces``."""
    positions = list(traces.positions)
    # Their head on a text's every row takes gigabytes.
    kept = torch.tensor(positions, device=ids.device)
    theirs = decoder.model(ids[None], output_hidden_states=True, use_cache=False, logits_to_keep=kept)
    full = traces.largest(positions, [traces.edges_full[position] for position in positions])
    logits = replay(decoder, ids, KeepTraces(traces, full), experts)
    expected = theirs.logits[0].to(logits.dtype)
    distances = total_variation(probabilities(expected), probabilities(logits))
    errors = state_errors(decoder, ids, [state[0] for state in theirs.hidden_states])
    return Health(float(distances.max()), errors, float((expected - logits).abs().max()))


def state_errors(decoder: Family, ids: Int[Tensor, " position"], theirs: list[Tensor]) -> float:
    """The worst of all states' errors, see `Health`; NaN if one is.

    The last of ``theirs`` is no state (normed, even projected).
    """
    state, errors = decoder.embed(ids), [0.0]
    for layer in range(decoder.layers):
        last = layer == decoder.layers - 1
        nodes, _, state = run_block(decoder.block(layer, len(ids)), state, decoder.final_norm() if last else None)
        errors += [relative_error(node.total(), node.state) for node in nodes]
        if not last:
            errors.append(relative_error(state, theirs[layer + 1]))
    return float(torch.tensor(errors, dtype=torch.float64).max())


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest difference as a share of the largest entry expected; no difference is 0, whatever was expected."""
    found, expected = in_float64(found), in_float64(expected)
    difference = (found - expected).abs().max()
    return float(difference / expected.abs().max()) if difference else 0.0


def check(model: Model) -> Health:
    """The self-check of a model, on a short text, at every prediction of it."""
    ids = torch.tensor(tokenise(model, CHECK_TEXT), device=model.decoder.device)
    importances = run_whole(model.decoder, ids).importances
    return measure_health(model.decoder, ids, Traces(importances, range(len(ids))), importances.experts)


def check_reading(reading: Reading, position: int = -1) -> Health:
    """The same on a text at hand, at one prediction: the health every result carries."""
    traces = reading.traces([position % len(reading.tokens)]).covering([position % len(reading.tokens)])
    return measure_health(reading.model.decoder, reading.ids, traces, reading.run.importances.experts)


def load(name: str, **options: Any) -> tuple[Model, Health]:
    """Opens a model (see `density.models.open_model` for ``options``) and checks it.

    Raises:
        Unhealthy: The engine does not reproduce it; the message has the figures.
    """
    model = open_model(name, **options)
    health = check(model)
    require_sound(model, health)
    return model, health


def require_sound(model: Model, health: Health) -> None:
    """Raises `Unhealthy`, with the figures, unless ``health`` passes in the model's precision."""
    if not health.passes(model.precision):
        raise Unhealthy(
            f"{model.name} in {model.precision} fails its self-check: full replay's total variation "
            f"{health.full_replay_tv:.2g}, states off by {health.max_state_error:.2g} of their largest entry; "
            f"wanted {TOLERANCE[model.precision]} at most. Its numbers would be wrong, so it is not used."
        )
