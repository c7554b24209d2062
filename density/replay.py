"""Replay: the model run with every edge outside a trace cut (method: s-Trace, section 3).

Attention probabilities are computed as usual and then cut, without renormalisation; skips and MLPs are cut by 0. A
state none of whose kept edges carries anything is exactly 0, because it is never written to, and still takes its
share of the softmax. Keys, queries and norms come from the cut run's own states.

A batch is a list of items (a prediction and what it keeps); a `Keep` says, a layer at a time, what is kept. Its tokens
are rows of one tensor, with no padding; attention alone sees them as items, those of a group padded to one length.
On a CPU, rows that nothing kept reads or writes are not computed; elsewhere finding them would make the device wait,
and they are computed and left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from density.batch import Chosen, Rows, choose, lay_out
from density.families import Block, Family
from density.families.parts import Attention, mix, through
from density.families.products import ROUND, quick
from density.graph import writer_of
from density.importance import CHUNK_BYTES, check_finite
from density.traces import Trace, Traces


@dataclass(frozen=True, slots=True)
class Kept:
    """What one layer keeps, for each item of a batch; ``True`` keeps.

    Attributes:
        residual_attention: Skip past attention; in parallel blocks, the only skip.
        heads: Attention heads.
        residual_mlp: Skip past the MLP; ``None`` in parallel blocks.
        mlp: MLPs, one a routed expert.
    """

    residual_attention: Bool[Tensor, "batch query"]
    heads: Bool[Tensor, "batch head query key"]
    residual_mlp: Bool[Tensor, "batch query"] | None
    mlp: Bool[Tensor, "batch query mlp"]


@runtime_checkable
class Keep(Protocol):
    """A batch of predictions and the edges each of them keeps."""

    @property
    def positions(self) -> Sequence[int]:
        """The prediction of each item."""

    def layer(self, layer: int) -> Kept:
        """What layer ``layer`` keeps, for queries and keys up to the largest of ``positions``."""


class KeepTraces:
    """Keeps the edges of one trace an item: importances and widest paths, compared with the trace's level."""

    def __init__(self, traces: Traces, batch: Sequence[Trace]) -> None:
        self.positions = [trace.position for trace in batch]
        given, length = traces.importances, max(self.positions) + 1
        levels = torch.tensor([trace.level for trace in batch], dtype=given.heads.dtype, device=given.heads.device)
        which = torch.tensor([traces.index[position] for position in self.positions], device=given.heads.device)
        level = levels[:, None, None]
        attention = traces.widest.attention[which, :, :length] >= level
        mlp = traces.widest.mlp[which, :, :length] >= level
        self.residual_attention = (given.residual_attention[:, :length] >= level) & attention
        self.residual_mlp = None
        if given.residual_mlp is not None:
            self.residual_mlp = (given.residual_mlp[:, :length] >= level) & mlp
        self.mlp = (given.mlp[:, :length] >= level[..., None]) & mlp[..., None]
        self.heads = given.heads[..., :length, :length]
        self.entered = torch.where(attention, level, torch.inf)

    def layer(self, layer: int) -> Kept:
        return Kept(
            residual_attention=self.residual_attention[:, layer],
            heads=self.heads[layer] >= self.entered[:, layer, None, :, None],
            residual_mlp=None if self.residual_mlp is None else self.residual_mlp[:, layer],
            mlp=self.mlp[:, layer],
        )


def replay(
    family: Family, ids: Int[Tensor, " position"], keep: Keep, experts: Int[Tensor, "layer position mlp"] | None = None
) -> Float[Tensor, "batch vocab"]:
    """The logits of each item's prediction, from its kept edges alone.

    Args:
        family: The model.
        ids: The text's tokens, the same that the full run saw.
        keep: The items and what they keep.
        experts: The full run's routing, where there are experts.

    Raises:
        NotFinite: A state holds an infinity or NaN.
    """
    return replay_together(family, ids, [keep], experts)


@torch.no_grad()
def replay_together(
    family: Family, ids: Int[Tensor, " position"], keeps: Sequence[Keep], experts: Tensor | None = None
) -> Float[Tensor, "items vocab"]:
    """`replay` of several groups of items as one batch, in their order; best if those of a group are of like length."""
    rows = lay_out([keep.positions for keep in keeps], ids.device)
    *_, last = replay_rows(family, ids, keeps, rows, experts)
    return family.unembed(family.final_norm()(last.index_select(0, rows.outputs)))


@torch.no_grad()
def replay_states(
    family: Family, ids: Int[Tensor, " position"], keep: Keep, experts: Tensor | None = None
) -> Iterator[Float[Tensor, "batch position d_model"]]:
    """The states at every depth, from 0, of items of one length; one tensor, changed in place: copy what you keep.

    Raises:
        NotFinite: A state holds an infinity or NaN.
    """
    rows = lay_out([keep.positions], ids.device)
    for states in replay_rows(family, ids, [keep], rows, experts):
        yield states.unflatten(0, rows.shapes[0])


def replay_rows(
    family: Family, ids: Int[Tensor, " position"], keeps: Sequence[Keep], rows: Rows, experts: Tensor | None
) -> Iterator[Float[Tensor, "rows d_model"]]:
    """The states at every depth, from 0; one tensor, changed in place."""
    longest = max(length for _, length in rows.shapes)
    state = family.embed(ids[:longest]).index_select(0, rows.positions)
    alive = torch.ones(len(state), dtype=torch.bool, device=state.device)
    yield state
    for layer in range(family.layers):
        block: Block = quick(family.block(layer, len(ids)))
        kept = [keep.layer(layer) for keep in keeps]
        routing = None if experts is None else experts[layer].index_select(0, rows.positions)
        skip, mlps = rows.packed(group.residual_attention for group in kept), rows.packed(group.mlp for group in kept)
        attended = choose(rows.packed(any_edge(group.heads) for group in kept))
        computed = choose(mlps.any(-1))
        write = attention_write(block, state, rows, [group.heads for group in kept], attended, choose(alive))
        if block.parallel:
            second = mlp_write(block, state, mlps, computed, routing)
            carry(state, skip, attended, write)
            computed.add(state, second)
            alive = (alive & skip) | attended.mask | computed.mask
        else:
            carry(state, skip, attended, write)
            yield state
            skip_mlp = rows.packed(group.residual_mlp for group in kept if group.residual_mlp is not None)
            write = mlp_write(block, state, mlps, computed, routing)
            carry(state, skip_mlp, computed, write)
            alive = (((alive & skip) | attended.mask) & skip_mlp) | computed.mask
        yield state
    # What is not finite stays so to the end: nothing is looked at before, and where it began only then.
    if not torch.isfinite(state).all():
        find_not_finite(replay_rows(family, ids, keeps, rows, experts), rows, block.parallel)


def find_not_finite(states: Iterator[Float[Tensor, "rows d_model"]], rows: Rows, parallel: bool) -> None:
    """Raises `NotFinite` for the first of ``states``, one a depth, that is not finite, with its layer and token."""
    check_finite(next(states), "the embedding of a replay", rows.positions)
    for depth, state in enumerate(states, 1):
        check_finite(state, f"the state of a replay after {writer_of(depth, parallel)}", rows.positions)


def any_edge(heads: Bool[Tensor, "batch head query key"]) -> Bool[Tensor, "batch query"]:
    """Whether any head edge into a query is kept; on bytes, of which torch finds the largest many times as fast."""
    return heads.view(torch.uint8).amax(1).amax(-1).view(torch.bool)


def carry(
    state: Float[Tensor, "rows d_model"],
    kept: Bool[Tensor, " rows"],
    where: Chosen,
    write: Float[Tensor, "computed d_model"],
) -> None:
    """One state to the next, in place: the skip where it is kept, and ``write`` added to the rows at ``where``."""
    state.mul_(kept[:, None])
    where.add(state, write)


def attention_write(
    block: Block,
    state: Float[Tensor, "rows d_model"],
    rows: Rows,
    heads: Sequence[Tensor],
    attended: Chosen,
    alive: Chosen,
) -> Float[Tensor, "computed d_model"]:
    """What the kept head edges write into the ``attended`` rows, with the output bias.

    ``heads`` are of a group each. A row that is not ``alive`` is exactly 0.
    """
    if attended.nothing:
        return state[:0]
    attention, normed = block.attention, through(block.attention_norm, state)
    queries = attention.query(attended.of(normed), attended.of(rows.positions))
    queries = queries.index_select(0, attended.back().index_select(0, rows.padded))
    keys, values = keys_and_values(block, normed, rows, alive)
    gathered = torch.empty_like(queries)
    for into, query, key, value, kept in zip(*map(rows.groups, (gathered, queries, keys, values)), heads, strict=True):
        into.copy_(attend(attention, query, key, value, kept))
    gathered = gathered.flatten(1).index_select(0, attended.of(rows.places))
    return through(block.attention_output_norm, attention.output(gathered))


def attend(
    attention: Attention,
    queries: Float[Tensor, "batch query head d_head"],
    keys: Float[Tensor, "batch key kv_head d_head"],
    values: Float[Tensor, "batch key kv_head d_head"],
    kept: Bool[Tensor, "batch head query key"],
) -> Float[Tensor, "batch query head d_head"]:
    """What each head gathers over its kept edges; a few key/value heads at a time where the pattern would be large."""
    group = queries.shape[2] // keys.shape[2]
    step = max(1, CHUNK_BYTES // (4 * kept[:, :group].numel()))
    parts, bytes_kept = [], kept.view(torch.uint8)
    for start in range(0, keys.shape[2], step):
        some, served = slice(start, start + step), slice(start * group, (start + step) * group)
        pattern = attention.pattern(queries[:, :, served], keys[:, :, some])
        parts.append(mix(pattern.mul_(bytes_kept[:, served]), values[:, :, some]))
    return torch.cat(parts, 2) if len(parts) > 1 else parts[0]


def keys_and_values(
    block: Block, normed: Float[Tensor, "rows d_model"], rows: Rows, alive: Chosen
) -> list[Float[Tensor, "places kv_head d_head"]]:
    """Keys and values at every place; rows that are not ``alive`` share those of a zero state at their position."""
    attention = block.attention
    if alive.numbers is None or alive.count > 0.95 * len(normed):
        read, at, source = normed, rows.positions, rows.padded
    else:
        length = max(length for _, length in rows.shapes)
        positions = torch.arange(length + -length % ROUND, device=normed.device).clamp_max_(length - 1)
        zero = through(block.attention_norm, torch.zeros_like(normed[:1])).expand(len(positions), -1)
        read, at = torch.cat((zero, alive.of(normed))), torch.cat((positions, alive.of(rows.positions)))
        source = alive.back(rows.positions, len(positions)).index_select(0, rows.padded)
    return [projection(read, at).index_select(0, source) for projection in (attention.key, attention.value)]


def mlp_write(
    block: Block,
    state: Float[Tensor, "rows d_model"],
    kept: Bool[Tensor, "rows mlp"],
    computed: Chosen,
    routing: Int[Tensor, "rows mlp"] | None,
) -> Float[Tensor, "computed d_model"]:
    """What the kept MLP edges write into the ``computed`` rows."""
    normed = through(block.mlp_norm, computed.of(state))
    writes = block.mlp.writes(normed, None if routing is None else computed.of(routing))
    if writes.shape[1] > 1:
        writes = writes * computed.of(kept)[..., None]
    return through(block.mlp_output_norm, writes.sum(1) if writes.shape[1] > 1 else writes[:, 0])
