"""A plain, slow second implementation of method.md sections 1 to 5, to hold the engine in ``density`` to account.

It shares nothing with the engine: it reads the weights of a Hugging Face model already built, does the arithmetic of
each architecture itself (``pieces``, ``families``), makes every edge's vector explicitly, grows traces with a heap, and
replays a set of edges with plain loops (``graph``).

Everything is float64, norms and rotary angles included, but for the frequencies of scaled rope. Hugging Face casts
RMSNorm, the rotary frequencies and the experts' gates to float32 whatever the model's dtype, so its float64 logits are
met to about 1e-5 and not better.
"""

from tests.reference.families import FAMILIES, family_of
from tests.reference.graph import (
    RULES,
    Edge,
    Node,
    Run,
    build_graph,
    everything,
    forward,
    grow,
    levels,
    replay,
    run,
    states_add_up,
    total_variation,
    trace_at,
)

__all__ = [
    "FAMILIES",
    "RULES",
    "Edge",
    "Node",
    "Run",
    "build_graph",
    "everything",
    "family_of",
    "forward",
    "grow",
    "levels",
    "replay",
    "run",
    "states_add_up",
    "total_variation",
    "trace_at",
]
