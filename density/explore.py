"""Everything the explorer shows of one prediction at one size, in one piece."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from density.circuit import Circuit, Makeup, draw, head_map, makeup, sources
from density.examine import TraceResult, examine
from density.reading import Reading
from density.search import LATTICE
from density.traces import Trace

# Every fifth lattice size: 5 a decade, from the full graph down.
MAKEUP_SIZES = LATTICE[::5]
DRAWN = 400


@dataclass(frozen=True, slots=True)
class Exploration:
    """One prediction at one size.

    Attributes:
        result: The trace, replayed and compared.
        makeup: What traces of other sizes are made of.
        heads: How many edges each head has in the trace, and the sum of their importances.
        sources: How many head edges read from each other token, and the sum of their importances.
        circuit: The part of the trace to draw.
    """

    result: TraceResult
    makeup: Makeup
    heads: tuple[Int[Tensor, "layer head"], Float[Tensor, "layer head"]]
    sources: tuple[Int[Tensor, " position"], Float[Tensor, " position"]]
    circuit: Circuit


def explore(reading: Reading, trace: Trace, most: int = DRAWN) -> Exploration:
    """Replays ``trace`` once and counts the rest; at most ``most`` edges are to be drawn."""
    traces = reading.traces([trace.position])
    sizes = reading.of_sizes([(trace.position, size) for size in MAKEUP_SIZES])
    distinct = {one.edges: one for one in sizes if one.edges}
    return Exploration(
        result=examine(reading, trace),
        makeup=makeup(traces, [distinct[edges] for edges in sorted(distinct)]),
        heads=head_map(traces, trace),
        sources=sources(traces, trace),
        circuit=draw(reading, trace, most),
    )
