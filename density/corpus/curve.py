"""One prediction along the sweep's sizes: everything the papers plot against size, measured in the same replays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from density.controls import KeepComplement, KeepEdges, random_edges
from density.edges import composition
from density.fidelity import NUCLEUS_PERCENTS, nucleus_recovered, probabilities, total_variation
from density.graph import QUARTERS, quarter_of
from density.reading import Reading
from density.replay import replay
from density.search import SWEEP_GRID
from density.traces import Trace


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One trace of a sweep.

    Attributes:
        trace: The trace.
        total_variation: Of its replay from the full model.
        nucleus_recovered: In percent, see `density.fidelity.nucleus_recovered`.
        top_id: Its replay's likeliest token.
        top_token_agrees: Whether that is the full model's.
        by_kind: Its edges that are ``residual``, ``head`` and ``mlp``.
        by_quarter: Its edges in each quarter of the layers, from the input up.
        random: Total variation of as many random edges; ``None`` unless controls were asked for.
        complement: Total variation of everything but its edges; likewise.
    """

    trace: Trace
    total_variation: float
    nucleus_recovered: int
    top_id: int
    top_token_agrees: bool
    by_kind: dict[str, int]
    by_quarter: list[int]
    random: float | None
    complement: float | None


def measure_curve(
    reading: Reading, position: int, *, controls: bool = False, seed: int = 0, check: Callable[[], None] = lambda: None
) -> list[CurvePoint]:
    """The distinct non-empty traces of the sweep's sizes, smallest first.

    Their total variations are recorded in ``reading``, so a sweep by `density.profile.profile` runs no replay again.
    ``check`` is called before every batch of replays; what it raises stops the work.
    """
    found = {trace.edges: trace for trace in reading.of_sizes([(position, size) for size in SWEEP_GRID])}
    traces = [found[edges] for edges in sorted(found) if edges]
    (full,) = reading.full_probabilities([position])
    likeliest = int(full.argmax())
    replayed = {trace.edges: row for trace, row in replays(reading, traces, likeliest, check)}
    random = random_distances(reading, traces, full, seed, check) if controls else [None] * len(traces)
    complement = complement_distances(reading, traces, full, check) if controls else [None] * len(traces)
    points = []
    for trace, by_chance, rest in zip(traces, random, complement, strict=True):
        distance, nucleus, top_id = replayed[trace.edges]
        made = composition(reading.traces([position]), trace)
        where = made.by_kind, by_quarter(made.by_layer)
        points.append(CurvePoint(trace, distance, nucleus, top_id, top_id == likeliest, *where, by_chance, rest))
    return points


def replays(
    reading: Reading, traces: Sequence[Trace], likeliest: int, check: Callable[[], None]
) -> list[tuple[Trace, tuple[float, int, int]]]:
    """Each trace with its total variation, nucleus recovered and likeliest token; the full graph is exact.

    Batches are those of `Reading.measure`, so the numbers are the same to the last bit.
    """
    measured = [(trace, (0.0, NUCLEUS_PERCENTS[-1], likeliest)) for trace in traces if trace.edges == trace.edges_full]
    for batch in reading.batches([trace for trace in traces if trace.edges < trace.edges_full]):
        check()
        full = reading.full_probabilities([trace.position for trace in batch])
        rows = reading.replayed_probabilities(batch)
        distances = total_variation(full, rows).tolist()
        for trace, distance, expected, row in zip(batch, distances, full, rows, strict=True):
            reading.record(trace, distance)
            measured.append((trace, (distance, nucleus_recovered(expected, row), int(row.argmax()))))
    return measured


def by_quarter(by_layer: Sequence[int]) -> list[int]:
    """Edges by quarter of the layers, see `density.graph.quarter_of`."""
    counts = [0] * QUARTERS
    for layer, edges in enumerate(by_layer):
        counts[quarter_of(layer, len(by_layer))] += edges
    return counts


def complement_distances(
    reading: Reading, traces: Sequence[Trace], full: Float[Tensor, " vocab"], check: Callable[[], None]
) -> list[float]:
    """Total variation of each trace's complement, see `density.controls.complement_control`."""
    distances: list[float] = []
    for batch in reading.batches(traces):
        check()
        keep = KeepComplement(reading.traces([batch[0].position]), batch)
        distances += distances_of(reading, keep, full)
    return distances


def random_distances(
    reading: Reading, traces: Sequence[Trace], full: Float[Tensor, " vocab"], seed: int, check: Callable[[], None]
) -> list[float]:
    """Total variation of as many random edges as each trace has, see `density.controls.random_control`.

    The edges grown for a trace are the first of those grown for a larger one: they are grown once.
    """
    grown, distances = random_edges(reading, traces[-1], seed, check), []
    for batch in reading.batches(traces):
        check()
        distances += distances_of(reading, grown.first([trace.edges for trace in batch]), full)
    return distances


@torch.no_grad()
def distances_of(reading: Reading, keep: KeepComplement | KeepEdges, full: Float[Tensor, " vocab"]) -> list[float]:
    """Total variation of each item of a batch."""
    rows = probabilities(replay(reading.model.decoder, reading.ids, keep, reading.run.importances.experts))
    return total_variation(full, rows).tolist()
