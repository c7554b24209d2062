"""Where to measure next: the density of a prediction as a crossing on a fixed lattice of sizes.

Total variation is not strictly monotone in size, so "the smallest size that meets the fidelity" is made definite: sizes
lie on the lattice ``10^(-k/25)``, and the answer is a neighbouring pair of which the larger meets the fidelity and the
smaller does not. The path of probes depends on one prediction's own total variations alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from density.errors import BadInput

LATTICE = tuple(10 ** (-k / 25) for k in range(126))
EMPTY = len(LATTICE)
SWEEP_GRID = (
    *(1e-5, 2e-5, 4e-5, 8e-5, 1e-4, 2e-4, 4e-4, 8e-4, 1e-3, 1.2e-3, 1.4e-3, 2e-3, 3e-3, 4e-3, 6e-3, 8e-3),
    *(1e-2, 2e-2, 4e-2, 6e-2, 8e-2, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0),
)


@dataclass(frozen=True, slots=True)
class Crossing:
    """Neighbouring lattice points: the size at ``meets`` reaches the fidelity, the one at ``fails`` does not.

    ``EMPTY`` stands for the empty trace; ``fails`` is ``None`` if even that meets the fidelity.
    """

    meets: int
    fails: int | None


def check_fidelity(fidelity: float) -> None:
    """Raises `BadInput` unless ``fidelity`` is in (0, 1]."""
    if not 0 < fidelity <= 1:
        raise BadInput(f"fidelity is a share in (0, 1], got {fidelity}; 0.8 means 80%.")


def meets(total_variation: float, fidelity: float) -> bool:
    """Whether a replay at ``total_variation`` reaches ``fidelity``: its own, 1 less that, is at least as much.

    Compared as fidelities, so that one that was reported is met by the trace it was reported of.
    """
    return 1 - total_variation >= fidelity


def search(fidelity: float, distance: Callable[[int], float | None]) -> int | Crossing:
    """The crossing, or the lattice index to measure before it can be found.

    Walks the whole path from its start, so it needs no memory of its own: ask, measure, ask again. Probes are
    placed by interpolating the logit of the total variation between the bracket's ends, pulled a little towards the
    middle; from the sixth probe on the bracket is halved.

    Args:
        fidelity: In (0, 1].
        distance: Total variation at a lattice index (0, the full graph, to ``EMPTY``); ``None`` if not measured yet.
    """
    limit = 1 - fidelity
    empty = distance(EMPTY)
    if empty is None:
        return EMPTY
    if meets(empty, fidelity):
        return Crossing(EMPTY, None)
    low, high, at_low, at_high = 0, EMPTY, 0.0, empty
    probe, probes = first_probe(limit), 0
    while high - low > 1:
        found = distance(probe)
        if found is None:
            return probe
        if meets(found, fidelity):
            low, at_low = probe, found
        else:
            high, at_high = probe, found
        probes += 1
        probe = next_probe(low, high, at_low, at_high, limit) if probes < 6 else (low + high) // 2
    return Crossing(low, high)


def first_probe(limit: float) -> int:
    """Where small models' predictions cross on average (measured on SmolLM2-135M): size 0.3 for a fidelity of 0.8."""
    return min(max(round(18 + 3.4 * logit(limit)), 1), 60)


def next_probe(low: int, high: int, at_low: float, at_high: float, limit: float) -> int:
    """A lattice index strictly between ``low`` and ``high``, near where the total variation would cross ``limit``."""
    middle = (low + high) / 2
    if high - low <= 3:
        return (low + high) // 2
    start, end = logit(at_low), logit(at_high)
    guess = low + (high - low) * (logit(limit) - start) / (end - start) if end > start else middle
    pull = min(0.05 * (high - low), abs(middle - guess))
    return min(max(round(guess + math.copysign(pull, middle - guess)), low + 1), high - 1)


def logit(share: float) -> float:
    """``log(p / (1-p))`` of ``share``, held within [0.004, 0.996]."""
    held = min(max(share, 0.004), 0.996)
    return math.log(held / (1 - held))
