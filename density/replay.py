"""Replay: the model run with every edge outside a trace cut (method: s-Trace, section 3).

Attention probabilities are computed as usual and then cut, without renormalisation; skips and MLPs are cut by 0. A
state none of whose kept edges carries anything is exactly 0, because it is never written to, and still takes its
share of the softmax. Keys, queries and norms come from the cut run's own states.

A batch is a list of items (a prediction and what it keeps); a `Keep` says, a layer at a time, what is kept.
Rows that nothing kept reads or writes are not computed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from density.families import Block, Family
from density.families.parts import Attention, mix, through
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
        self.importances = traces.importances
        self.length = max(self.positions) + 1
        heads = self.importances.heads
        self.level = torch.tensor([trace.level for trace in batch], dtype=heads.dtype, device=heads.device)
        which = torch.tensor([traces.index[position] for position in self.positions], device=heads.device)
        reached = self.level[:, None, None]
        self.attention = traces.widest.attention[which, :, : self.length] >= reached
        self.mlp = traces.widest.mlp[which, :, : self.length] >= reached

    def layer(self, layer: int) -> Kept:
        some, given = slice(self.length), self.importances
        level, attention, mlp = self.level[:, None], self.attention[:, layer], self.mlp[:, layer]
        heads = given.heads[layer, :, some, some] >= level[:, :, None, None]
        residual_mlp = None
        if given.residual_mlp is not None:
            residual_mlp = (given.residual_mlp[layer, some] >= level) & mlp
        return Kept(
            residual_attention=(given.residual_attention[layer, some] >= level) & attention,
            heads=heads & attention[:, None, :, None],
            residual_mlp=residual_mlp,
            mlp=(given.mlp[layer, some] >= level[..., None]) & mlp[..., None],
        )


@torch.no_grad()
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
    *_, last = replay_states(family, ids, keep, experts)
    outputs = last[torch.arange(len(last)), torch.as_tensor(keep.positions)]
    return family.unembed(family.final_norm()(outputs))


def replay_states(
    family: Family, ids: Int[Tensor, " position"], keep: Keep, experts: Tensor | None = None
) -> Iterator[Float[Tensor, "batch position d_model"]]:
    """The states at depth 0, then after every layer; one tensor, changed in place: copy what you keep.

    Raises:
        NotFinite: A state holds an infinity or NaN.
    """
    length = max(keep.positions) + 1
    state = family.embed(ids[:length]).expand(len(keep.positions), -1, -1).clone()
    alive = torch.ones(state.shape[:2], dtype=torch.bool, device=state.device)
    yield state
    for layer in range(family.layers):
        block, kept = family.block(layer, len(ids)), keep.layer(layer)
        routing = None if experts is None else experts[layer, :length]
        attended, computed = kept.heads.any(-1).any(1), kept.mlp.any(-1)
        write = attention_write(block, state, kept.heads, attended, alive)
        if block.parallel:
            second = mlp_write(block, state, kept.mlp, computed, routing)
            carry(state, kept.residual_attention, attended, write)
            add_rows(state, computed, second)
            alive = (alive & kept.residual_attention) | attended | computed
        else:
            carry(state, kept.residual_attention, attended, write)
            write = mlp_write(block, state, kept.mlp, computed, routing)
            carry(state, kept.residual_mlp, computed, write)
            alive = (((alive & kept.residual_attention) | attended) & kept.residual_mlp) | computed
        yield state
    check_finite(state.flatten(0, 1), family.layers - 1)


def carry(
    state: Float[Tensor, "batch position d_model"],
    kept: Bool[Tensor, "batch position"],
    where: Bool[Tensor, "batch position"],
    write: Float[Tensor, "rows d_model"],
) -> None:
    """One state to the next, in place: the skip where it is kept, and ``write`` added to the rows at ``where``."""
    state.mul_(kept[..., None])
    add_rows(state, where, write)


def add_rows(
    state: Float[Tensor, "batch position d_model"],
    where: Bool[Tensor, "batch position"],
    write: Float[Tensor, "rows d_model"],
) -> None:
    """Adds ``write``, a row for every ``True`` of ``where``, to ``state``."""
    state.view(-1, state.shape[-1]).index_add_(0, row_numbers(where), write)


def row_numbers(where: Bool[Tensor, "batch position"]) -> Int[Tensor, " rows"]:
    """The rows, batch and position flattened, at which ``where`` is ``True``."""
    return where.flatten().nonzero()[:, 0]


def attention_write(
    block: Block,
    state: Float[Tensor, "batch position d_model"],
    heads: Bool[Tensor, "batch head query key"],
    attended: Bool[Tensor, "batch position"],
    alive: Bool[Tensor, "batch position"],
) -> Float[Tensor, "rows d_model"]:
    """What the kept head edges write, with the output bias: a row for every ``True`` of ``attended``.

    ``alive`` is ``False`` only for states that are exactly 0.
    """
    attention, (batch, length, d_model) = block.attention, state.shape
    there, states = row_numbers(attended), state.view(-1, d_model)
    if len(there) == 0:
        return states[there]
    queries = attention.query(through(block.attention_norm, states[there]), there % length)
    spread = queries.new_zeros(batch * length, *queries.shape[1:])
    spread[there] = queries
    keys, values = keys_and_values(block, states, alive)
    gathered = attend(attention, spread.unflatten(0, (batch, length)), keys, values, heads)
    return through(block.attention_output_norm, attention.output(gathered.flatten(0, 1)[there].flatten(1)))


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
    parts = []
    for start in range(0, keys.shape[2], step):
        some, served = slice(start, start + step), slice(start * group, (start + step) * group)
        pattern = attention.pattern(queries[:, :, served], keys[:, :, some])
        parts.append(mix(pattern.mul_(kept[:, served]), values[:, :, some]))
    return torch.cat(parts, 2) if len(parts) > 1 else parts[0]


def keys_and_values(
    block: Block, states: Float[Tensor, "rows d_model"], alive: Bool[Tensor, "batch position"]
) -> list[Float[Tensor, "batch position kv_head d_head"]]:
    """Keys and values of every position; those that are not ``alive`` have the key and value of a zero state."""
    attention, (batch, length) = block.attention, alive.shape
    positions = torch.arange(length, device=states.device)
    there = row_numbers(alive)
    if len(there) == batch * length:
        normed, at = through(block.attention_norm, states), positions.repeat(batch)
        return [projection(normed, at).unflatten(0, (batch, length)) for projection in (attention.key, attention.value)]
    rows = torch.cat((states.new_zeros(length, states.shape[1]), states[there]))
    normed, at = through(block.attention_norm, rows), torch.cat((positions, there % length))
    found = []
    for projection in (attention.key, attention.value):
        projected = projection(normed, at)
        whole = projected[:length].repeat(batch, 1, 1)
        whole[there] = projected[length:]
        found.append(whole.unflatten(0, (batch, length)))
    return found


def mlp_write(
    block: Block,
    state: Float[Tensor, "batch position d_model"],
    kept: Bool[Tensor, "batch position mlp"],
    computed: Bool[Tensor, "batch position"],
    routing: Int[Tensor, "position mlp"] | None,
) -> Float[Tensor, "rows d_model"]:
    """What the kept MLP edges write: a row for every ``True`` of ``computed``."""
    there, length = row_numbers(computed), state.shape[1]
    normed = through(block.mlp_norm, state.view(-1, state.shape[-1])[there])
    writes = block.mlp.writes(normed, None if routing is None else routing[there % length])
    if writes.shape[1] > 1:
        writes = writes * kept.flatten(0, 1)[there, :, None]
    return through(block.mlp_output_norm, writes.sum(1) if writes.shape[1] > 1 else writes[:, 0])
