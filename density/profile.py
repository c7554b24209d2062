"""The density of every prediction of a text: the size of the smallest trace that reaches a fidelity."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from jaxtyping import Float
from torch import Tensor

from density.errors import BadInput
from density.fidelity import entropy, probabilities, total_variation, trapezoid
from density.reading import Point, Reading, token_text
from density.search import EMPTY, LATTICE, SWEEP_GRID, Crossing, check_fidelity, meets, search
from density.traces import Trace


@dataclass(frozen=True, slots=True)
class TopToken:
    """A candidate next token and its probability."""

    text: str
    id: int
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one prediction is and what it takes; the density at ``position`` is that of predicting the *next* token.

    Attributes:
        position: Index of the last token the prediction sees.
        context_token: That token's text.
        next_token: Text of the token that came; ``None`` after the last.
        next_id: Its id.
        surprisal: ``-ln`` of its probability in the full model, in nats.
        entropy: Of the full model's distribution, in nats.
        top_tokens: Ten, most probable first.
        found: The smallest trace found that meets the fidelity, and its total variation.
        below: The failing end of its bracket; ``None`` when nothing smaller is attainable.
        search: ``lattice`` or ``sweep``.
        replays: Run for this answer; replays known before are not counted.
        curve: With a sweep, every distinct trace measured, smallest first; else ``None``.
        empty_distance: Total variation of the empty trace.
    """

    position: int
    context_token: str
    next_token: str | None
    next_id: int | None
    surprisal: float | None
    entropy: float
    top_tokens: tuple[TopToken, ...]
    found: Point
    below: Point | None
    search: str
    replays: int
    curve: tuple[Point, ...] | None
    empty_distance: float

    @property
    def density(self) -> float:
        """Share of the full graph's edges that the trace found has."""
        return self.found.trace.size

    @property
    def auc_linear(self) -> float | None:
        """Area under total variation against size, from the empty trace to the full graph; ``None`` without a sweep."""
        return None if self.curve is None else auc_linear(self.curve, self.empty_distance)

    @property
    def auc_log10(self) -> float | None:
        """Area under total variation against log10 size, from 1e-5 to 1, over 5; ``None`` without a sweep."""
        return None if self.curve is None else auc_log10(self.curve, self.empty_distance)


def auc_linear(curve: Sequence[Point], empty_distance: float) -> float:
    """Area under total variation against relative size in [0, 1]; 0 is sparse, 1 is dense (v1, section 3)."""
    inside = [point for point in curve if 0 < point.trace.size < 1]
    sizes = [0.0, *(point.trace.size for point in inside), 1.0]
    return trapezoid(sizes, [empty_distance, *(point.total_variation for point in inside), 0.0])


def auc_log10(curve: Sequence[Point], empty_distance: float) -> float:
    """Area under total variation against log10 size from 1e-5 to 1, over 5 (s-Trace, section 4).

    Below the first size attained the empty trace's total variation holds.
    """
    inside = [point for point in curve if 0 < point.trace.size < 1]
    sizes = [math.log10(max(point.trace.size, 1e-5)) for point in inside] + [0.0]
    held = empty_distance * (sizes[0] + 5)
    return (held + trapezoid(sizes, [*(point.total_variation for point in inside), 0.0])) / 5


def parse_positions(positions: str | Iterable[int], length: int) -> list[int]:
    """Prediction positions, ascending: ``all``, ``last``, ``last:N``, ``I,J,K``, ``I..J``; negative from the end.

    Raises:
        BadInput: Not of that form, or outside the text.
    """
    if isinstance(positions, str):
        kind, _, count = positions.strip().partition(":")
        if kind == "all" and not count:
            return list(range(length))
        try:
            if kind == "last":
                number = int(count) if count else 1
                if number < 1:
                    raise ValueError
                return list(range(max(0, length - number), length))
            ends = [[int(end) for end in part.split("..")] for part in positions.split(",")]
            if any(len(pair) > 2 for pair in ends):
                raise ValueError
        except ValueError:
            raise BadInput(
                f"positions {positions!r}: write all, last, last:N or numbers such as 3,7,-1 or 3..9."
            ) from None
        pairs = [sorted(resolve_position(end, length) for end in pair) for pair in ends]
        return sorted({position for pair in pairs for position in range(pair[0], pair[-1] + 1)})
    return sorted({resolve_position(position, length) for position in positions})


def resolve_position(position: int, length: int) -> int:
    """``position`` counted from the start; raises `BadInput` if the text has no such prediction."""
    if not -length <= position < length:
        said = f"use 0..{length - 1}, or -{length}..-1 from its end."
        raise BadInput(f"position {position} is outside the text's {length} tokens: {said}")
    return position % length


def profile(
    reading: Reading,
    *,
    fidelity: float = 0.8,
    positions: str | Iterable[int] = "all",
    sweep: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Prediction]:
    """The density of each prediction, yielded as they are found; all advance together, in batches.

    Args:
        reading: From `density.reading.read`; keeps what is measured, so a second fidelity only measures what it lacks.
        fidelity: In (0, 1].
        positions: See `parse_positions`.
        sweep: Measure the whole grid and take its uppermost crossing, instead of searching the lattice.
        check: Called between batches; raise in it to stop.

    Raises:
        BadInput: A fidelity or position out of range.
    """
    check_fidelity(fidelity)
    wanted = parse_positions(positions, len(reading.tokens))
    frame = PredictionFrame(reading, wanted)
    if sweep:
        yield from sweep_all(frame, fidelity, wanted, check)
    else:
        yield from search_all(frame, fidelity, wanted, check)


def search_all(
    frame: "PredictionFrame", fidelity: float, wanted: Sequence[int], check: Callable[[], None]
) -> Iterator[Prediction]:
    """Walks every prediction's search one probe at a time, together."""
    reading, unfinished = frame.reading, list(wanted)
    while unfinished:
        asked = {}
        for position in list(unfinished):
            step = search(fidelity, partial(frame.distance, position))
            if isinstance(step, Crossing):
                unfinished.remove(position)
                below = None if step.fails is None else frame.point(position, step.fails)
                yield frame.finish(position, frame.point(position, step.meets), below, "lattice")
            else:
                asked[position] = step
        traces = reading.of_sizes([(position, LATTICE[index]) for position, index in asked.items()])
        frame.attained.update(zip(asked.items(), traces, strict=True))
        for point in reading.measure(traces, check):
            frame.replays[point.trace.position] += 1


def sweep_all(
    frame: "PredictionFrame", fidelity: float, wanted: Sequence[int], check: Callable[[], None]
) -> Iterator[Prediction]:
    """Measures the grid for every prediction, a prediction at a time, and takes each one's uppermost crossing."""
    reading = frame.reading
    for position in wanted:
        traces = reading.of_sizes([(position, size) for size in (0.0, *SWEEP_GRID)])
        for _ in reading.measure(traces, check):
            frame.replays[position] += 1
        distinct = {trace.edges: reading.measured(trace) for trace in traces}
        curve = [distinct[edges] for edges in sorted(distinct)]
        found, below = uppermost_crossing(curve, fidelity)
        yield frame.finish(position, found, below, "sweep", tuple(point for point in curve if point.trace.edges))


def uppermost_crossing(curve: Sequence[Point], fidelity: float) -> tuple[Point, Point | None]:
    """The smallest point from which on up all meet ``fidelity``, and the one below it (``None``: there is none)."""
    failing = [i for i, point in enumerate(curve) if not meets(point.total_variation, fidelity)]
    first = failing[-1] + 1 if failing else 0
    return curve[first], curve[first - 1] if first else None


class PredictionFrame:
    """The full model's side of some predictions of a reading, and the traces of each met so far."""

    def __init__(self, reading: Reading, positions: Sequence[int]) -> None:
        self.reading = reading
        self.replays = dict.fromkeys(positions, 0)
        self.attained: dict[tuple[int, int], Trace] = {}
        self.full: dict[int, tuple[float, float | None, tuple[TopToken, ...]]] = reading.described
        reading.traces(positions)
        none = reading.of_sizes([(position, 0.0) for position in positions])
        self.attained.update({(trace.position, EMPTY): trace for trace in none})
        fresh = [trace for trace in none if trace.position not in self.full or not reading.known(trace)]
        if not fresh:
            return
        empty = reading.empty_probabilities()
        for start in range(0, len(fresh), 16):
            some = fresh[start : start + 16]
            positions = [trace.position for trace in some]
            logits = reading.full_logits(positions)
            for trace, given, row in zip(some, logits, probabilities(logits, positions), strict=True):
                surprisal = self.surprisal(trace.position, given)
                self.full[trace.position] = float(entropy(row)), surprisal, top_tokens(reading, row)
                reading.record(trace, float(total_variation(row, empty)))

    def surprisal(self, position: int, logits: Float[Tensor, " vocab"]) -> float | None:
        """``-ln p`` of the token that came after ``position``, in nats; ``None`` after the last.

        From the logits: a token may be too unlikely for its probability to be told from 0.
        """
        following = self.reading.tokens[position + 1 : position + 2]
        return float(logits.logsumexp(-1) - logits[following[0].id]) if following else None

    def distance(self, position: int, index: int) -> float | None:
        """Total variation at lattice ``index``; ``None`` until its trace has been measured."""
        trace = self.attained.get((position, index))
        known = trace and self.reading.known(trace)
        return known.total_variation if known else None

    def point(self, position: int, index: int) -> Point:
        """The measured point at lattice ``index``."""
        size = 0.0 if index == EMPTY else LATTICE[index]
        return self.reading.measured(self.reading.of_sizes([(position, size)])[0])

    def finish(
        self, position: int, found: Point, below: Point | None, name: str, curve: tuple[Point, ...] | None = None
    ) -> Prediction:
        """The prediction with its answer."""
        tokens = self.reading.tokens
        following = tokens[position + 1] if position + 1 < len(tokens) else None
        spread, surprisal, likely = self.full[position]
        return Prediction(
            position=position,
            context_token=tokens[position].text,
            next_token=following.text if following else None,
            next_id=following.id if following else None,
            surprisal=surprisal,
            entropy=spread,
            top_tokens=likely,
            found=found,
            below=below,
            search=name,
            replays=self.replays[position],
            curve=curve,
            empty_distance=self.point(position, EMPTY).total_variation,
        )


def top_tokens(reading: Reading, probabilities: Float[Tensor, " vocab"], count: int = 10) -> tuple[TopToken, ...]:
    """The ``count`` likeliest tokens, ties by id."""
    best = probabilities.sort(descending=True, stable=True).indices[:count].tolist()
    tokenizer = reading.model.tokenizer
    return tuple(TopToken(token_text(tokenizer, token), token, float(probabilities[token])) for token in best)
