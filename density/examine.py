"""Traces of one prediction, looked at closely: how far each is from the model, what it is made of, and its controls."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from density.controls import ControlResult, complement_control, random_control, random_edges
from density.edges import Composition, RankedEdge, composition, strongest
from density.errors import BadInput
from density.fidelity import Comparison, compare, entropy
from density.profile import TopToken, profile, resolve_position, top_tokens
from density.reading import Reading
from density.traces import Trace


@dataclass(frozen=True, slots=True)
class SharedToken:
    """A token likely in the full model or in a replay, with its probability in both."""

    text: str
    id: int
    full: float
    trace: float


@dataclass(frozen=True, slots=True)
class TraceResult:
    """One trace of one prediction.

    Attributes:
        trace: The trace.
        size_requested: The size asked for; ``None`` if it was found by fidelity or threshold.
        comparison: Its replay's distribution against the full model's.
        top_tokens: Of the replay, ten, most probable first.
        full_entropy: Entropy of the full model's distribution, in nats.
        full_top_tokens: Of the full model, ten, most probable first.
        tokens: Those of both, each once, the likeliest in the full model first.
        composition: Its edges by kind and by layer.
        connected_to_input: Whether a path of its edges leads from an embedding to the output.
        parallel: Whether the model's blocks are parallel.
        seed: Of the random control.
        random: As many random edges, if asked for.
        complement: Everything but the trace, if asked for.
        strongest: The edges that enter first, if asked for.
    """

    trace: Trace
    size_requested: float | None
    comparison: Comparison
    top_tokens: tuple[TopToken, ...]
    full_entropy: float
    full_top_tokens: tuple[TopToken, ...]
    tokens: tuple[SharedToken, ...]
    composition: Composition
    connected_to_input: bool
    parallel: bool
    seed: int
    random: ControlResult | None
    complement: ControlResult | None
    strongest: tuple[RankedEdge, ...] | None


def traces_asked(
    reading: Reading,
    position: int,
    *,
    fidelity: float | None = None,
    sizes: Sequence[float] = (),
    thresholds: Sequence[float] = (),
) -> list[tuple[Trace, float | None]]:
    """The traces of one prediction by fidelity, sizes or thresholds (one of the three), each with the size asked for.

    Raises:
        BadInput: None or several of the three, a size outside (0, 1], a threshold that is negative or infinite, a
            position out of range.
    """
    position = resolve_position(position, len(reading.tokens))
    if (fidelity is not None) + bool(sizes) + bool(thresholds) != 1:
        raise BadInput("say which traces: by a fidelity, by sizes or by thresholds, one of the three.")
    for size in sizes:
        if not 0 < size <= 1:
            raise BadInput(f"a size is a share of the graph's edges in (0, 1], got {size}.")
    for threshold in thresholds:
        if not 0 <= threshold < math.inf:
            raise BadInput(f"a threshold is an importance of 0 or more, got {threshold}.")
    if fidelity is not None:
        (prediction,) = profile(reading, fidelity=fidelity, positions=[position])
        return [(prediction.found.trace, None)]
    if sizes:
        return list(zip(reading.of_sizes([(position, size) for size in sizes]), sizes, strict=True))
    return [(reading.traces([position]).at_threshold(position, threshold), None) for threshold in thresholds]


def examine(
    reading: Reading, trace: Trace, *, size: float | None = None, controls: bool = False, edges: int = 0, seed: int = 0
) -> TraceResult:
    """Replays ``trace`` and describes it; with its two controls and its ``edges`` first edges if asked.

    Raises:
        BadInput: A negative number of edges.
    """
    if edges < 0:
        raise BadInput(f"list 0 edges or more, got {edges}.")
    traces = reading.traces([trace.position])
    full = reading.full_probabilities([trace.position])[0]
    replayed = reading.replayed_probabilities([trace])[0]
    return TraceResult(
        trace=trace,
        size_requested=size,
        comparison=compare(full, replayed),
        top_tokens=top_tokens(reading, replayed),
        full_entropy=float(entropy(full)),
        full_top_tokens=top_tokens(reading, full),
        tokens=shared_tokens(reading, full, replayed),
        composition=composition(traces, trace),
        connected_to_input=traces.connected_to_input(trace),
        parallel=reading.run.importances.parallel,
        seed=seed,
        random=random_control(reading, trace, random_edges(reading, trace, seed)) if controls else None,
        complement=complement_control(reading, trace) if controls else None,
        strongest=tuple(strongest(traces, trace.position, min(edges, trace.edges))) if edges else None,
    )


def shared_tokens(
    reading: Reading, full: Float[Tensor, " vocab"], replayed: Float[Tensor, " vocab"], count: int = 10
) -> tuple[SharedToken, ...]:
    """The ``count`` likeliest tokens of each of two distributions, each once with both probabilities; by the first."""
    found = {token.id: token.text for row in (full, replayed) for token in top_tokens(reading, row, count)}
    both = [SharedToken(text, token, float(full[token]), float(replayed[token])) for token, text in found.items()]
    return tuple(sorted(both, key=lambda token: -token.full))
