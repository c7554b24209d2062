"""How long a profile will take and what memory, from this machine's own timing."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from density.health import CHECK_TEXT
from density.models import Model
from density.reading import REPLAY_BYTES, importance_bytes, read

# Replays a prediction takes from nothing, after another fidelity, and for a sweep (means on SmolLM2-135M).
REPLAYS_FRESH, REPLAYS_AGAIN, REPLAYS_SWEEP = 3.8, 2.2, 25.0
# The trace that stands for those of a search.
TYPICAL_SIZE, BATCH = 0.3, 8


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a profile will take.

    Attributes:
        tokens: Of the text.
        predictions: To measure.
        seconds: Expected, once its turn has come.
        memory: Expected, in bytes, besides the model's own.
    """

    tokens: int
    predictions: int
    seconds: float
    memory: int


class Speed:
    """Seconds of replay on this machine: so much a round of probes, so much a token row; corrected by what was seen.

    Attributes:
        per_round: Seconds of a round's fixed cost.
        per_row: Seconds of one token row of a replay.
        correction: By how much finished profiles took longer than these two say.
    """

    def __init__(self, per_round: float, per_row: float) -> None:
        self.per_round, self.per_row, self.correction = per_round, per_row, 1.0
        self._lock = threading.Lock()

    def seconds(self, positions: Iterable[int], replays: float = REPLAYS_FRESH) -> float:
        """Expected for measuring the predictions at ``positions``; one at p replays p + 1 rows."""
        return self.correction * self._uncorrected(positions, replays)

    def learn(self, positions: Iterable[int], seconds: float, replays: float = REPLAYS_FRESH) -> None:
        """Moves halfway to what a profile from nothing at ``positions`` really took."""
        expected = self._uncorrected(positions, replays)
        with self._lock:
            self.correction = (self.correction + seconds / expected) / 2

    def _uncorrected(self, positions: Iterable[int], replays: float) -> float:
        return replays * (self.per_round + self.per_row * sum(position + 1 for position in positions))


def calibrate(model: Model) -> Speed:
    """Times a replay alone and a small batch of it, on the text of the self-check."""
    reading = read(model, CHECK_TEXT)
    position = len(reading.tokens) - 1
    trace = reading.of_sizes([(position, TYPICAL_SIZE)])[0]
    reading.replayed_probabilities([trace])
    alone = timed(lambda: reading.replayed_probabilities([trace]))
    together = timed(lambda: reading.replayed_probabilities([trace] * BATCH))
    per_row = max(together - alone, alone / BATCH) / ((BATCH - 1) * (position + 1))
    return Speed(max(alone - per_row * (position + 1), 0.0), per_row)


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work()`` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def seconds_left(prior: float, spent: float, share: float) -> float:
    """Work still to do: what was expected at first gives way, as it is done, to what the share done took.

    Args:
        prior: Seconds expected of all the work.
        spent: Seconds worked.
        share: Of the work that is done, in [0, 1).
    """
    observed = spent / share if share else 0.0
    return (1 - share) * ((1 - share) * prior + share * observed)


def memory(model: Model, tokens: int, predictions: int) -> int:
    """Bytes of working with a text: of its reading, and of one batch of replays."""
    return reading_bytes(model, tokens, predictions) + REPLAY_BYTES


def reading_bytes(model: Model, tokens: int, predictions: int) -> int:
    """Bytes of a reading: its importances, and the widest paths of its predictions."""
    return importance_bytes(model, tokens) + 2 * 4 * predictions * model.decoder.layers * tokens


def weights_bytes(model: Model) -> int:
    """Bytes of a model's weights, shared ones once."""
    return sum(weight.numel() * weight.element_size() for weight in model.decoder.model.parameters())
