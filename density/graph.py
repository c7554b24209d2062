"""The computation graph of one prediction: its states, its edges and how many there are (s-Trace, section 3)."""

from dataclasses import dataclass
from enum import StrEnum

QUARTERS = 4


class Kind(StrEnum):
    """What an edge writes. A sequential block has two skips, a parallel one ``RESIDUAL_ATTENTION`` alone."""

    RESIDUAL_ATTENTION = "residual_attention"
    HEAD = "head"
    RESIDUAL_MLP = "residual_mlp"
    MLP = "mlp"

    @property
    def group(self) -> str:
        """The kind as people count it: one of `GROUPS`."""
        return "residual" if self.startswith("residual") else self.value


# Kinds as people count them.
GROUPS = ("residual", "head", "mlp")


@dataclass(frozen=True, slots=True, order=True)
class State:
    """The residual stream at one depth and position; a node of the graph.

    Attributes:
        depth: 0 is the embedding; a sequential block adds two (after attention, after the MLP), a parallel one one.
        position: Token index, from 0.
    """

    depth: int
    position: int


@dataclass(frozen=True, slots=True)
class Edge:
    """One write into the residual stream.

    Attributes:
        layer: Block the write happens in, from 0.
        kind: What is written.
        query: Position written to.
        key: Position read from; equals ``query`` unless ``kind`` is ``HEAD``.
        head: Head index, from 0; ``None`` unless ``kind`` is ``HEAD``.
        expert: Expert index, from 0, in a mixture of experts; ``-1`` for its shared expert; ``None`` otherwise.
    """

    layer: int
    kind: Kind
    query: int
    key: int
    head: int | None = None
    expert: int | None = None

    def __str__(self) -> str:
        name = part_name(self.layer, self.kind, self.head, self.expert)
        if self.kind is Kind.HEAD:
            return f"{name}  {self.query} <- {self.key}"
        past = {Kind.RESIDUAL_ATTENTION: " attention", Kind.RESIDUAL_MLP: " MLP"}.get(self.kind, "")
        return f"{name}{past}  {self.query}"

    def source(self, parallel: bool) -> State:
        """The state the edge reads, in a model whose blocks are ``parallel`` or not."""
        second = not parallel and self.kind in (Kind.MLP, Kind.RESIDUAL_MLP)
        return State(depth_after(self.layer, parallel) + second, self.key)

    def target(self, parallel: bool) -> State:
        """The state the edge writes, in a model whose blocks are ``parallel`` or not."""
        return State(self.source(parallel).depth + 1, self.query)


def quarter_of(layer: int, layers: int) -> int:
    """The quarter of ``layers`` that ``layer`` is in, from 0 at the input; of fewer than four some are empty."""
    return QUARTERS * layer // layers


def depth_after(layers: int, parallel: bool) -> int:
    """The depth of the states that the first ``layers`` blocks leave; of all blocks, that of the output."""
    return layers if parallel else 2 * layers


def layer_of(depth: int, parallel: bool) -> int | None:
    """The layer that writes the states at ``depth``; ``None`` for the embeddings."""
    if depth == 0:
        return None
    return depth - 1 if parallel else (depth - 1) // 2


def writer_of(depth: int, parallel: bool) -> str:
    """What writes the states at ``depth``, from 1, in words: ``layer 2's MLP``, or ``layer 2`` where it is parallel."""
    part = "" if parallel else "'s MLP" if depth % 2 == 0 else "'s attention"
    return f"layer {layer_of(depth, parallel)}{part}"


def part_name(layer: int, kind: Kind | None, head: int | None = None, expert: int | None = None) -> str:
    """A part of a block as people read it, such as ``L3.H7``; see `Edge` for what it is made of.

    Without a ``head`` all of them, ``L3.heads``; without a ``kind`` all of the block, ``L3.layer``. Either skip is
    ``L3.skip``; an expert is ``L3.MLP.E2``, the shared one ``L3.MLP.shared``.
    """
    part = {None: "layer", Kind.HEAD: "heads", Kind.MLP: "MLP"}.get(kind, "skip")
    if kind is Kind.HEAD and head is not None:
        part = f"H{head}"
    which = "" if expert is None else ".shared" if expert < 0 else f".E{expert}"
    return f"L{layer}.{part}{which}"
