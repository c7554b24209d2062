"""What if: parts of a trace, or of the full model, switched off or on, and the prediction replayed at once."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

import torch
from torch import Tensor

from density.errors import BadInput
from density.examine import shared_tokens
from density.fidelity import probabilities, total_variation
from density.graph import Kind, part_name
from density.lens import Change
from density.reading import Reading
from density.replay import Keep, KeepTraces, Kept, replay_together
from density.traces import Trace

DRAWS = 8


@dataclass(frozen=True, slots=True)
class Switch:
    """Edges of one layer switched together: all that match; ``None`` matches every.

    Attributes:
        layer: Block, from 0.
        kind: What is written; ``None`` for heads and MLPs, the residual edges staying.
        head: Attention head.
        query: Position written to.
        key: Position read from; heads alone.
        expert: Expert of a mixture; -1 for the shared one.
        on: Switched on instead of off.
    """

    layer: int
    kind: Kind | None = None
    head: int | None = None
    query: int | None = None
    key: int | None = None
    expert: int | None = None
    on: bool = False

    def __str__(self) -> str:
        name = part_name(self.layer, self.kind, self.head, self.expert)
        place = "" if self.query is None else f"  {self.query}"
        source = "" if self.key is None or self.kind is not Kind.HEAD else f" <- {self.key}"
        return f"{name}{place}{source} {'on' if self.on else 'off'}"


class KeepSwitched:
    """Keeps what ``base`` keeps, after ``switches`` in their order; nothing outside the full graph is switched on.

    Args:
        base: A batch of one item.
        whole: The same prediction's full graph, a batch of one item.
        switches: The last that matches an edge decides.
        experts: The full run's routing, where there are experts.
    """

    def __init__(self, base: Keep, whole: Keep, switches: Sequence[Switch], experts: Tensor | None = None) -> None:
        self.positions = base.positions
        self.base, self.whole, self.experts = base, whole, experts
        self.by_layer: dict[int, list[Switch]] = {}
        for switch in switches:
            self.by_layer.setdefault(switch.layer, []).append(switch)

    def layer(self, layer: int) -> Kept:
        kept = self.base.layer(layer)
        mine = self.by_layer.get(layer)
        if not mine:
            return kept
        whole = self.whole.layer(layer)
        masks = {kind: mask.clone() for kind, mask in masks_of(kept).items()}
        for switch in mine:
            for kind, full in masks_of(whole).items():
                if switch.kind in (None, kind) and (switch.kind is not None or kind.group != "residual"):
                    chosen = self.matching(switch, kind, full, layer)
                    masks[kind] = masks[kind] | (chosen & full) if switch.on else masks[kind] & ~chosen
        second = masks.get(Kind.RESIDUAL_MLP)
        return Kept(masks[Kind.RESIDUAL_ATTENTION], masks[Kind.HEAD], second, masks[Kind.MLP])

    def matching(self, switch: Switch, kind: Kind, full: Tensor, layer: int) -> Tensor:
        """``True`` for the edges of ``kind`` that ``switch`` matches, in the shape of ``full``."""
        chosen = torch.zeros_like(full)
        query = slice(None) if switch.query is None else switch.query
        if kind is Kind.HEAD:
            head = slice(None) if switch.head is None else switch.head
            chosen[:, head, query, slice(None) if switch.key is None else switch.key] = True
        else:
            chosen[:, query] = True
        if kind is Kind.MLP and switch.expert is not None and self.experts is not None:
            chosen &= self.experts[layer, : full.shape[1]] == switch.expert
        return chosen


def masks_of(kept: Kept) -> dict[Kind, Tensor]:
    """What one layer keeps, by kind."""
    found = {Kind.RESIDUAL_ATTENTION: kept.residual_attention, Kind.HEAD: kept.heads, Kind.MLP: kept.mlp}
    if kept.residual_mlp is not None:
        found[Kind.RESIDUAL_MLP] = kept.residual_mlp
    return found


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A replay with switches, beside the one without.

    Attributes:
        edges_before: Edges without the switches.
        edges_off: Edges that the switches take away.
        edges_on: Edges that they add.
        before: Total variation from the full model without the switches.
        after: With them.
        tokens: The likeliest tokens of both, each once with both probabilities, the likeliest in either first.
        random: Total variations with as many random edges switched off instead, a value a draw; empty where no edge is
            taken away.
    """

    edges_before: int
    edges_off: int
    edges_on: int
    before: float
    after: float
    tokens: tuple[Change, ...]
    random: tuple[float, ...]

    @property
    def worse_than_random(self) -> float | None:
        """Share of the random draws that did less harm; ``None`` without draws."""
        return sum(one < self.after for one in self.random) / len(self.random) if self.random else None


@torch.no_grad()
def what_if(
    reading: Reading,
    trace: Trace,
    switches: Sequence[Switch],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
) -> WhatIf:
    """Replays ``trace`` (the full graph, for the whole model) with ``switches``, and with random edges off instead.

    ``check`` is called before every batch of replays; what it raises stops the work.

    Raises:
        BadInput: A switch of a layer, head or position that is not there.
    """
    for switch in switches:
        check_switch(reading, trace, switch)
    traces, experts = reading.traces([trace.position]), reading.run.importances.experts
    (whole,) = traces.largest([trace.position], [trace.edges_full])
    base, full = KeepTraces(traces, [trace]), KeepTraces(traces, [whole])
    switched = KeepSwitched(base, full, switches, experts)
    layers = range(reading.model.decoder.layers)
    off, on = differences(base, switched, layers), differences(switched, base, layers)
    drawn = range(draws if 0 < off < trace.edges else 0)
    dropped = (KeepDropped(base, drawn_edges(base, layers, off, seed + draw)) for draw in drawn)
    keeps: Iterator[Keep] = chain((base, switched), dropped)
    replayed = []
    while batch := list(islice(keeps, reading.fitting(trace.position + 1))):
        check()
        replayed.append(probabilities(replay_together(reading.model.decoder, reading.ids, batch, experts)))
    found = torch.cat(replayed)
    distances = total_variation(reading.full_probabilities([trace.position]), found).tolist()
    return WhatIf(
        edges_before=trace.edges,
        edges_off=off,
        edges_on=on,
        before=distances[0],
        after=distances[1],
        tokens=changed_tokens(reading, *found[:2]),
        random=tuple(distances[2:]),
    )


def changed_tokens(reading: Reading, before: Tensor, after: Tensor) -> tuple[Change, ...]:
    """The likeliest tokens of two distributions over the vocabulary, each once; the likeliest in either first."""
    both = [Change(one.text, one.id, one.full, one.trace) for one in shared_tokens(reading, before, after)]
    return tuple(sorted(both, key=lambda change: -max(change.before, change.after)))


def check_switch(reading: Reading, trace: Trace, switch: Switch) -> None:
    """Raises `BadInput` if the model or the text has nothing that ``switch`` could match."""
    decoder = reading.model.decoder
    limits = {
        "layer": (switch.layer, decoder.layers),
        "head": (switch.head, decoder.heads),
        "query": (switch.query, trace.position + 1),
        "key": (switch.key, trace.position + 1),
    }
    for name, (given, limit) in limits.items():
        if given is not None and not 0 <= given < limit:
            raise BadInput(f"{name} {given} cannot be switched: it goes from 0 to {limit - 1}.")


def differences(one: Keep, other: Keep, layers: range) -> int:
    """How many edges ``one`` keeps and ``other`` does not."""
    total = 0
    for layer in layers:
        first, second = masks_of(one.layer(layer)), masks_of(other.layer(layer))
        total += sum(int((mask & ~second[kind]).sum()) for kind, mask in first.items())
    return total


def drawn_edges(keep: Keep, layers: range, count: int, seed: int) -> dict[int, Tensor]:
    """``count`` of the edges that ``keep`` keeps, drawn at random: by layer, their numbers among that layer's masks."""
    kept = {layer: flattened(keep.layer(layer)).nonzero()[:, 0] for layer in layers}
    total = sum(len(numbers) for numbers in kept.values())
    drawn = torch.tensor(sorted(random.Random(seed).sample(range(total), count)))
    found, start = {}, 0
    for layer, numbers in kept.items():
        inside = drawn[(drawn >= start) & (drawn < start + len(numbers))] - start
        found[layer] = numbers[inside.to(numbers.device)]
        start += len(numbers)
    return found


def flattened(kept: Kept) -> Tensor:
    """All masks of one layer in a row."""
    return torch.cat([mask.flatten() for mask in masks_of(kept).values()])


class KeepDropped:
    """Keeps what ``base`` keeps, without some edges: by layer, their numbers among that layer's masks."""

    def __init__(self, base: Keep, dropped: dict[int, Tensor]) -> None:
        self.positions = base.positions
        self.base, self.dropped = base, dropped

    def layer(self, layer: int) -> Kept:
        kept = self.base.layer(layer)
        masks = masks_of(kept)
        flat = flattened(kept)
        flat[self.dropped[layer]] = False
        parts = flat.split([mask.numel() for mask in masks.values()])
        rest = {kind: part.view_as(mask) for (kind, mask), part in zip(masks.items(), parts, strict=True)}
        return replace(
            kept,
            residual_attention=rest[Kind.RESIDUAL_ATTENTION],
            heads=rest[Kind.HEAD],
            residual_mlp=rest.get(Kind.RESIDUAL_MLP),
            mlp=rest[Kind.MLP],
        )
