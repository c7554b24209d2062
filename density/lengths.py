"""Does density fall as the context grows? Over the predictions of a corpus, and within each of its texts.

The context of a prediction is all its text has before it, so a mean at one length is over other tokens, and at great
lengths over fewer texts, than at another; within a text, each length has one prediction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from density.errors import BadInput
from density.observations import group_of, sees_text
from density.statistics import FEWEST, Estimate, correlation, mean

Row = Mapping[str, Any]

# A rank correlation of fewer predictions says next to nothing.
FEWEST_PREDICTIONS = 8


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions with contexts of like length.

    Attributes:
        first: Shortest, in tokens.
        last: Longest.
        mean: Of their measure; the interval draws whole texts.
    """

    first: int
    last: int
    mean: Estimate

    @property
    def name(self) -> str:
        """Its lengths: ``1``, ``3-4``."""
        return f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Within:
    """The rank correlation of length and measure within one text.

    Attributes:
        text_id: Which text.
        rho: Spearman's.
        predictions: It is of.
    """

    text_id: str
    rho: float
    predictions: int


@dataclass(frozen=True, slots=True)
class Correlations:
    """All texts' correlations.

    Attributes:
        texts: Those that have one, in their order.
        mean: Of them; the interval draws texts.
        negative: How many are below 0.
        left_out: Texts with fewer than `FEWEST_PREDICTIONS` predictions, or with a constant measure.
    """

    texts: tuple[Within, ...]
    mean: Estimate
    negative: int
    left_out: int


def measured(rows: Sequence[Row], model: str, measure: str) -> list[Row]:
    """The rows of one model that have the measure, and see a token of their text, not only what the tokenizer adds.

    Raises:
        BadInput: There are none, or only one a text: nothing grows there.
    """
    mine = (row for row in rows if row["model"] == model and row[measure] is not None)
    found = [row for row in mine if sees_text(row)]
    if not found:
        raise BadInput(f"the dataset has no {measure} by {model}; measure it, or choose another.")
    if len({row["text_id"] for row in found}) == len(found):
        raise BadInput(
            "the dataset has one prediction a text, so that no context grows in it; "
            "measure every prediction: python -m density corpus TEXTS --out FOLDER --positions all"
        )
    return found


def length_power(position: Any) -> Any:
    """The number of the bin of `by_length` that predictions at ``position`` are in."""
    return np.ceil(np.log2(np.asarray(position) + 1)).astype(int)


def by_length(rows: Sequence[Row], measure: str = "density") -> list[Bin]:
    """The mean measure of predictions that see 1, 2, 3-4, 5-8, ... tokens; without lengths that no row has.

    Args:
        rows: Of one model, each with ``text_id`` and ``pair``, by which intervals draw whole texts and pairs, and a
            ``position``: of the last token that the prediction sees, from 0.
        measure: A column that all of them have.
    """
    bins: dict[int, list[Row]] = {}
    for row in rows:
        bins.setdefault(int(length_power(row["position"])), []).append(row)
    return [
        Bin(
            2 ** (power - 1) + 1 if power else 1,
            2**power,
            mean([row[measure] for row in bins[power]], [group_of(row) for row in bins[power]]),
        )
        for power in sorted(bins)
    ]


def not_drawn(bins: Sequence[Bin]) -> str:
    """How many predictions are in bins too small for a mean, in a sentence; empty if none is."""
    count = sum(one.mean.n for one in bins if one.mean.value is None)
    verb = "is" if count == 1 else "are"
    said = f"{count:,} of the predictions {verb} in no bin drawn: a mean of fewer than {FEWEST} is not estimated."
    return said if count else ""


def per_text(rows: Sequence[Row], measure: str = "density") -> Correlations:
    """The correlation of context length and measure in every text of one model's rows."""
    texts: dict[str, list[Row]] = {}
    for row in rows:
        texts.setdefault(row["text_id"], []).append(row)
    found = []
    for text_id, members in texts.items():
        if len(members) < FEWEST_PREDICTIONS:
            continue
        rho = correlation(np.array([[row["position"], row[measure]] for row in members], float))
        if np.isfinite(rho):
            found.append(Within(text_id, rho, len(members)))
    negative = sum(one.rho < 0 for one in found)
    return Correlations(tuple(found), mean([one.rho for one in found]), negative, len(texts) - len(found))
