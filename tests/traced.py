"""Short ways to a trace and its edges, for tests that look into them."""

from density.edges import strongest
from density.graph import Edge
from density.reading import Reading
from density.traces import Trace
from tests.tiny import CASES

BY_NAME = {f"{case.family}: {case.settings}": case for case in CASES}


def of_size(reading: Reading, position: int, size: float) -> Trace:
    """The trace of that size."""
    (trace,) = reading.of_sizes([(position, size)])
    return trace


def edges_of(reading: Reading, trace: Trace) -> list[Edge]:
    """Every edge of ``trace``, in the order they enter."""
    traces = reading.traces([trace.position])
    return [ranked.edge for ranked in strongest(traces, trace.position, trace.edges)]
