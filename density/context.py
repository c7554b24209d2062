"""One prediction, with more and more of what stands before it: what context does to a prediction and to its density.

The context is cut on the left, by tokens of the whole text: those that are kept have the same ids, whatever the
tokenizer would make of the shorter text. A token that the tokenizer puts before every text is kept before every cut,
and is no part of a context's length.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from density.errors import BadInput
from density.fidelity import total_variation
from density.measures import units
from density.models import Model
from density.profile import Prediction, profile, resolve_position
from density.reading import Reading, read_ids


@dataclass(frozen=True, slots=True)
class Step:
    """The prediction with one context.

    Attributes:
        length: Tokens of the text that it sees.
        start: Index, in the whole text, of the first of them.
        prediction: What it is and what it takes; its position is that in the cut text.
        distance: Total variation of the full model's next-token distribution from that with the whole context.
    """

    length: int
    start: int
    prediction: Prediction
    distance: float


def added(model: Model, ids: Sequence[int]) -> int:
    """How many tokens at the start of ``ids`` the tokenizer puts before any text, an empty one too."""
    always = model.tokenizer("", verbose=False)["input_ids"]
    same = [one == other for one, other in zip(ids, always, strict=False)]
    return same.index(False) if False in same else len(same)


def longest(reading: Reading, position: int) -> int:
    """The length of the whole context of the prediction at ``position``.

    Raises:
        BadInput: No such position, or no token of the text before the prediction.
    """
    ids = reading.ids.tolist()
    position = resolve_position(position, len(ids))
    length = position + 1 - added(reading.model, ids)
    if length < 1:
        raise BadInput("the first token of the text has no context; choose a later one.")
    return length


def doubling(most: int) -> list[int]:
    """1, 2, 4, ... tokens, and ``most``."""
    return [*(2**power for power in range(most.bit_length()) if 2**power < most), most]


def by_sentences(texts: Sequence[str], most: int) -> list[int]:
    """From the sentence that the prediction is in back to all ``most`` tokens, a sentence at a time.

    Args:
        texts: Of the tokens up to the one predicted, if there is one after the context; the context is the ``most``
            tokens before it.
        most: Tokens of the whole context.
    """
    starts = [sentence[0] for sentence in units(texts, "sentence")]
    return sorted({most - start for start in starts if start < most})


def lengths(reading: Reading, position: int, by: str) -> list[int]:
    """The lengths to look at, the shortest first; ``by`` is ``"token"``, see `doubling`, or ``"sentence"``."""
    most = longest(reading, position)
    if by == "token":
        return doubling(most)
    end = resolve_position(position, len(reading.tokens)) + 1
    return by_sentences([token.text for token in reading.tokens[end - most : end + 1]], most)


def grow(
    reading: Reading,
    position: int,
    wanted: Sequence[int],
    *,
    fidelity: float = 0.8,
    sweep: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Step]:
    """The prediction at ``position`` with each of the ``wanted`` context lengths, as they are measured.

    Args:
        reading: Of the whole text; the whole context's replays are kept in it.
        position: Of the prediction, in the whole text.
        wanted: Lengths, at most `longest`.
        fidelity: In (0, 1].
        sweep: Measure the grid of sizes instead of searching.
        check: Called between batches; raise in it to stop.
    """
    ids = reading.ids.tolist()
    position = resolve_position(position, len(ids))
    most = longest(reading, position)
    before = added(reading.model, ids)
    whole = reading.full_probabilities([position])
    for length in wanted:
        check()
        start = position + 1 - length
        shown = reading
        if length < most:
            # The token that comes is kept for its surprisal; no prediction sees what is after it.
            kept = [*ids[:before], *ids[start : position + 2]]
            shown = read_ids(reading.model, reading.model.tokenizer.decode(kept), kept, reading.rule)
        here = before + length - 1
        (found,) = profile(shown, fidelity=fidelity, positions=[here], sweep=sweep, check=check)
        distance = float(total_variation(whole, shown.full_probabilities([here]))) if length < most else 0.0
        yield Step(length, start, found, distance)


def enough(likeliest: Sequence[tuple[int, int]]) -> int | None:
    """The shortest context from which on every longer one looked at has the whole context's likeliest token.

    Args:
        likeliest: Each context's length and the id of its likeliest token, the shortest first, the whole one last;
            ``None`` if there are none.
    """
    found = None
    for length, token in reversed(likeliest):
        if token != likeliest[-1][1]:
            break
        found = length
    return found
