"""What a state would predict now, and what the writes into it say: the logit lens, through the final norm.

The logit lens (nostalgebraist, 2020) reads a state in the middle of the model as if it were the last one. It is a view,
not a measurement of what later layers do with the state.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from density.errors import BadInput
from density.examine import SharedToken, shared_tokens
from density.families.parts import Experts, Mlp, through
from density.fidelity import probabilities
from density.graph import Edge, Kind, State, depth_after
from density.importance import Incoming, run_block
from density.profile import TopToken, top_tokens
from density.reading import Reading, token_text
from density.replay import KeepTraces, replay_states
from density.traces import Trace

SHOWN = 8


@dataclass(frozen=True, slots=True)
class Change:
    """A token whose probability moved: ``after - before``."""

    text: str
    id: int
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Lens:
    """What a state would predict.

    Attributes:
        top_tokens: Likeliest first.
        promoted: Tokens that gained most probability since the state below at the same position; none at depth 0.
        suppressed: Tokens that lost most.
        zero: Whether the state is exactly 0: nothing reaches it.
    """

    top_tokens: tuple[TopToken, ...]
    promoted: tuple[Change, ...]
    suppressed: tuple[Change, ...]
    zero: bool


@dataclass(frozen=True, slots=True)
class View:
    """One state in two runs.

    Attributes:
        full: In the full run.
        replay: In the replay of a trace.
        tokens: The likeliest tokens of both, each once with both probabilities, the likeliest in the full run first.
    """

    full: Lens
    replay: Lens
    tokens: tuple[SharedToken, ...]


@torch.no_grad()
def look(reading: Reading, trace: Trace, state: State) -> View:
    """A state in the full run and in the replay of ``trace``.

    Raises:
        BadInput: A state that the prediction's graph does not have.
    """
    check_state(reading, trace, state)
    runs = states_at(reading, trace, state.depth, state.position)
    full, replayed = (read_as_last(reading, states) for states in runs)
    return View(
        full=lens(reading, runs[0], full),
        replay=lens(reading, runs[1], replayed),
        tokens=shared_tokens(reading, full[-1], replayed[-1], SHOWN),
    )


def check_state(reading: Reading, trace: Trace, state: State) -> None:
    """Raises `BadInput` for a state outside the prediction's graph."""
    depths = depth_after(reading.model.decoder.layers, reading.run.importances.parallel)
    if not (0 <= state.depth <= depths and 0 <= state.position <= trace.position):
        raise BadInput(
            f"there is no state at depth {state.depth}, position {state.position}: "
            f"depths go from 0 to {depths}, positions from 0 to {trace.position}."
        )


def states_at(
    reading: Reading, trace: Trace, depth: int, position: int
) -> tuple[Float[Tensor, "below_and_here d_model"], Float[Tensor, "below_and_here d_model"]]:
    """One position's states at the depth below and at ``depth`` (at 0, that alone): in the full run and replayed."""
    decoder, keep = reading.model.decoder, KeepTraces(reading.traces([trace.position]), [trace])
    replayed = replay_states(decoder, reading.ids, keep, reading.run.importances.experts)
    found = []
    for states in (full_states(reading), (batch[0] for batch in replayed)):
        until = islice(states, max(depth - 1, 0), depth + 1)
        found.append(torch.stack([state[position].clone() for state in until]))
    return found[0], found[1]


def read_as_last(
    reading: Reading, states: Float[Tensor, "below_and_here d_model"]
) -> Float[Tensor, "below_and_here vocab"]:
    """What the model would predict if its last state were each of ``states``, in float64."""
    decoder = reading.model.decoder
    return probabilities(decoder.unembed(decoder.final_norm()(states)))


def lens(
    reading: Reading,
    states: Float[Tensor, "below_and_here d_model"],
    rows: Float[Tensor, "below_and_here vocab"],
) -> Lens:
    """The lens on the last of ``states``, which predict ``rows``, compared with the one before it."""
    here = rows[-1]
    promoted, suppressed = changes(reading, rows[0], here) if len(rows) > 1 else ((), ())
    return Lens(top_tokens(reading, here, SHOWN), promoted, suppressed, bool((states[-1] == 0).all()))


def changes(
    reading: Reading, before: Float[Tensor, " vocab"], after: Float[Tensor, " vocab"]
) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """The tokens that gained most probability, and those that lost most; none that did not move."""
    moved = after - before
    tokenizer = reading.model.tokenizer

    def listed(order: Tensor) -> tuple[Change, ...]:
        ids = [token for token in order[:SHOWN].tolist() if moved[token] != 0]
        return tuple(
            Change(token_text(tokenizer, token), token, float(before[token]), float(after[token])) for token in ids
        )

    up, down = moved.clamp(min=0), (-moved).clamp(min=0)
    gained, lost = (side.sort(descending=True, stable=True).indices for side in (up, down))
    return (
        tuple(change for change in listed(gained) if change.after > change.before),
        tuple(change for change in listed(lost) if change.after < change.before),
    )


@dataclass(frozen=True, slots=True)
class HeadView:
    """One head edge in the full run.

    Attributes:
        attention: The head's attention probabilities from the edge's query to every key up to it.
        says: Tokens whose logits the write raises most, read through the final norm linearised at the state written to;
            with the logits they gain.
        against: Tokens whose logits it lowers most.
    """

    attention: tuple[float, ...]
    says: tuple[tuple[str, float], ...]
    against: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Neuron:
    """One neuron of an MLP at one token.

    Attributes:
        index: Its number, in its expert where there are experts.
        activation: What it passes to the output projection; times its expert's gate where there are experts.
        share: The L1 norm of its write, over the sum of all neurons'.
        says: Tokens whose logits its write raises most.
    """

    index: int
    activation: float
    share: float
    says: tuple[str, ...]


@torch.no_grad()
def look_at_head(reading: Reading, edge: Edge) -> HeadView:
    """A head edge's attention row and what it moves.

    Raises:
        BadInput: Not a head edge of this text.
    """
    if edge.kind is not Kind.HEAD or edge.head is None:
        raise BadInput(f"{edge} is no head's edge.")
    node = incoming_of(reading, edge)
    heads = node.heads
    assert heads is not None
    row = heads.pattern[edge.head, edge.query]
    vector = torch.matmul(heads.values[edge.head, edge.key], heads.output[edge.head])[None]
    for norm in heads.norms:
        vector = norm.direction(vector)
    write = row[edge.key] * heads.scale[edge.query] * vector
    gained = logits_of(reading, write, node.state[edge.query])[0]
    return HeadView(
        attention=tuple(row[: edge.query + 1].tolist()),
        says=extremes(reading, gained),
        against=extremes(reading, -gained, sign=-1),
    )


@torch.no_grad()
def look_at_mlp(reading: Reading, edge: Edge, count: int = SHOWN) -> tuple[Neuron, ...]:
    """The ``count`` neurons with the largest shares of an MLP edge's write in the full run.

    Raises:
        BadInput: Not an MLP edge, or one of an expert that the token is not routed to.
    """
    decoder = reading.model.decoder
    block = decoder.block(edge.layer, len(reading.ids))
    if edge.kind is not Kind.MLP:
        raise BadInput(f"{edge} is no MLP's edge.")
    source = full_state(reading, edge.source(block.parallel).depth)[[edge.query]]
    active, down = active_neurons(reading, block.mlp, through(block.mlp_norm, source), edge)
    writes = down.T
    if block.mlp_output_norm is not None:
        # An output norm weighs the directions; its scale at this token is common to all of them.
        writes = block.mlp_output_norm.direction(writes).to(decoder.dtype)
    strength = active.abs() * torch.linalg.vector_norm(writes, ord=1, dim=1)
    best = strength.sort(descending=True, stable=True).indices[:count]
    state = incoming_of(reading, edge).state[edge.query]
    gained = logits_of(reading, active[best, None] * writes[best], state)
    shares = strength / strength.sum()
    return tuple(
        Neuron(neuron, float(active[neuron]), float(shares[neuron]), tuple(t for t, _ in extremes(reading, row)))
        for neuron, row in zip(best.tolist(), gained, strict=True)
    )


def active_neurons(
    reading: Reading, mlp: Mlp | Experts, read: Float[Tensor, "1 d_model"], edge: Edge
) -> tuple[Float[Tensor, " neuron"], Float[Tensor, "d_model neuron"]]:
    """What the neurons of ``edge`` pass on at its token, and their output weights."""
    if isinstance(mlp, Mlp):
        return mlp.neurons(read)[0], mlp.down.weight
    routing = reading.run.importances.experts
    assert routing is not None
    row = routing[edge.layer, [edge.query]].to(read.device)
    if edge.expert is None or edge.expert not in row[0].tolist():
        raise BadInput(f"token {edge.query} is not routed to expert {edge.expert} in layer {edge.layer}.")
    return mlp.expert_neurons(read, row, edge.expert)


def logits_of(
    reading: Reading, writes: Float[Tensor, "write d_model"], state: Float[Tensor, " d_model"]
) -> Float[Tensor, "write vocab"]:
    """The logits that ``writes`` into ``state`` add, the final norm linearised at that state.

    A final soft cap is applied to them too: it keeps their order, not their size.
    """
    decoder = reading.model.decoder
    passed = decoder.final_norm().linearised(writes, state[None]).to(decoder.dtype)
    zero = decoder.unembed(torch.zeros_like(passed[:1]))
    return decoder.unembed(passed) - zero


def extremes(reading: Reading, gained: Float[Tensor, " vocab"], sign: int = 1) -> tuple[tuple[str, float], ...]:
    """The tokens with the largest of ``gained``, each with its value times ``sign``."""
    best = gained.sort(descending=True, stable=True)
    ids, values = best.indices[:SHOWN].tolist(), best.values[:SHOWN].tolist()
    tokenizer = reading.model.tokenizer
    return tuple((token_text(tokenizer, token), sign * value) for token, value in zip(ids, values, strict=True))


def full_states(reading: Reading) -> Iterator[Float[Tensor, "position d_model"]]:
    """The full run's states at every depth, from 0."""
    decoder, state = reading.model.decoder, reading.model.decoder.embed(reading.ids)
    yield state
    for layer in range(decoder.layers):
        nodes, _, state = run_block(decoder.block(layer, len(reading.ids)), state, None)
        yield from (node.state for node in nodes)


def full_state(reading: Reading, depth: int) -> Float[Tensor, "position d_model"]:
    """The full run's states at one ``depth``."""
    return next(islice(full_states(reading), depth, None))


def incoming_of(reading: Reading, edge: Edge) -> Incoming:
    """The writes into the states that ``edge``'s layer and kind write to, in the full run; before the final norm."""
    decoder = reading.model.decoder
    block = decoder.block(edge.layer, len(reading.ids))
    before = full_state(reading, depth_after(edge.layer, block.parallel))
    nodes, _, _ = run_block(block, before, None)
    return nodes[0] if block.parallel or edge.kind in (Kind.HEAD, Kind.RESIDUAL_ATTENTION) else nodes[1]
