"""Short ways to a trace and its edges, for tests that look into them."""

from density.edges import strongest
from density.graph import Edge
from density.reading import Reading
from density.traces import Trace
from tests.tiny import CASES

BY_NAME = {f"{case.family}: {case.settings}": case for case in CASES}


def full_edge_count(layers: int, heads: int, tokens: int, *, parallel: bool = False, mlps: int = 1) -> int:
    """Edges that can reach the output of a prediction which sees ``tokens`` tokens, attention being global.

    Sequential, one MLP: ``(L-1) * (H*n*(n+1)/2 + 3n) + (H*n + 3)``; a parallel block has one residual edge less
    a token, a mixture of experts ``mlps`` MLP edges instead of one.
    """
    per_token = (1 if parallel else 2) + mlps
    whole = heads * tokens * (tokens + 1) // 2 + per_token * tokens
    return (layers - 1) * whole + heads * tokens + per_token


def of_size(reading: Reading, position: int, size: float) -> Trace:
    """The trace of that size."""
    (trace,) = reading.of_sizes([(position, size)])
    return trace


def edges_of(reading: Reading, trace: Trace) -> list[Edge]:
    """Every edge of ``trace``, in the order they enter."""
    traces = reading.traces([trace.position])
    return [ranked.edge for ranked in strongest(traces, trace.position, trace.edges)]
