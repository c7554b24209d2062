"""The lens shows the model's own numbers where the model has them."""

import pytest
import torch

from density.errors import BadInput
from density.families.parts import through
from density.fidelity import probabilities
from density.graph import Edge, Kind, State
from density.lens import full_state, look, look_at_head, look_at_mlp, states_at
from density.reading import read
from tests.tiny import lettered
from tests.traced import BY_NAME, of_size

TEXT = "the cat sat on a mat"
POSITION = 12


@pytest.fixture(
    scope="module",
    params=["llama: grouped heads", "gpt_neox: parallel", "gemma2: soft caps, window 4", "gpt2: as released"],
)
def reading(request):
    return read(lettered(BY_NAME[request.param]), TEXT)


def output(reading):
    return State(reading.model.decoder.layers * (1 if reading.run.importances.parallel else 2), POSITION)


def test_at_the_output_the_lens_is_the_prediction(reading):
    trace = of_size(reading, POSITION, 0.5)
    view = look(reading, trace, output(reading))
    full, replayed = view.full, view.replay
    model = reading.full_probabilities([POSITION])[0]
    assert full.top_tokens[0].id == int(model.argmax())
    assert full.top_tokens[0].probability == pytest.approx(float(model.max()), abs=1e-5)
    alone = reading.replayed_probabilities([trace])[0]
    assert replayed.top_tokens[0].probability == pytest.approx(float(alone.max()), abs=1e-5)


def test_promoted_and_suppressed_tokens_add_up_with_the_state_below(reading):
    trace, top = of_size(reading, POSITION, 0.5), output(reading)
    below = look(reading, trace, State(top.depth - 1, POSITION)).full
    here = look(reading, trace, top).full
    best = {token.id: token.probability for token in below.top_tokens}
    for change in (*here.promoted, *here.suppressed):
        assert change.before == pytest.approx(best.get(change.id, change.before), abs=1e-6)
    assert all(change.after > change.before for change in here.promoted)
    assert all(change.after < change.before for change in here.suppressed)


def test_embeddings_are_the_same_in_both_runs_and_change_nothing(reading):
    view = look(reading, of_size(reading, POSITION, 0.1), State(0, 3))
    full, replayed = view.full, view.replay
    assert full == replayed
    assert full.promoted == full.suppressed == ()
    assert not full.zero


def test_a_state_outside_the_trace_is_zero_and_said_to_be(reading):
    top = output(reading)
    replayed = look(reading, of_size(reading, POSITION, 0.0), top).replay
    assert replayed.zero
    empty = reading.empty_probabilities()
    assert replayed.top_tokens[0].probability == pytest.approx(float(empty.max()), abs=1e-6)


def test_states_are_those_of_the_full_run(reading):
    for depth in range(1, output(reading).depth + 1):
        full, _ = states_at(reading, of_size(reading, POSITION, 0.5), depth, 5)
        assert torch.allclose(full[-1], full_state(reading, depth)[5], atol=1e-4)


@pytest.mark.parametrize("state", [State(-1, 0), State(99, 0), State(0, POSITION + 1), State(0, -1)])
def test_a_state_that_is_not_there_is_refused(reading, state):
    with pytest.raises(BadInput, match="there is no state at depth"):
        look(reading, of_size(reading, POSITION, 0.5), state)


def test_a_heads_row_is_its_attention_and_its_writes_add_up_to_its_logits(reading):
    views = [look_at_head(reading, Edge(1, Kind.HEAD, 9, key, head=2)) for key in range(10)]
    rows = {view.attention for view in views}
    assert len(rows) == 1
    (row,) = rows
    assert len(row) == 10
    assert sum(row) == pytest.approx(1, abs=1e-5)
    for view in views:
        assert [value for _, value in view.says] == sorted((value for _, value in view.says), reverse=True)
        assert view.against[0][1] <= view.says[0][1]


def test_neurons_add_up_to_the_mlps_write(reading):
    edge = Edge(1, Kind.MLP, 9, 9)
    every = look_at_mlp(reading, edge, count=10_000)
    decoder = reading.model.decoder
    assert sum(neuron.share for neuron in every) == pytest.approx(1, abs=1e-4)
    assert [neuron.share for neuron in every] == sorted((neuron.share for neuron in every), reverse=True)
    block = decoder.block(1, len(TEXT))
    depth = 1 if block.parallel else 3
    read_here = through(block.mlp_norm, full_state(reading, depth)[[9]])
    down = block.mlp.down
    total = sum(neuron.activation * down.weight[:, neuron.index] for neuron in every)
    total = total if down.bias is None else total + down.bias
    assert torch.allclose(total, block.mlp.writes(read_here)[0, 0], atol=1e-4)


def test_edges_of_another_kind_are_refused(reading):
    with pytest.raises(BadInput, match="is no head's edge"):
        look_at_head(reading, Edge(1, Kind.MLP, 3, 3))
    with pytest.raises(BadInput, match="is no MLP's edge"):
        look_at_mlp(reading, Edge(1, Kind.HEAD, 3, 3, head=0))


@pytest.mark.parametrize(
    "name", ["olmoe: 3 of 5, gates to 1", "mixtral: 2 of 5 experts", "qwen2_moe: 3 of 5 and shared"]
)
def test_experts_neurons_add_up_to_their_writes(name):
    reading = read(lettered(BY_NAME[name]), TEXT)
    routing = reading.run.importances.experts[1, [9]]
    block = reading.model.decoder.block(1, len(TEXT))
    read_here = through(block.mlp_norm, full_state(reading, 3)[[9]])
    writes = block.mlp.writes(read_here, routing)[0]
    for expert, write in zip(routing[0].tolist(), writes, strict=True):
        every = look_at_mlp(reading, Edge(1, Kind.MLP, 9, 9, expert=expert), count=10_000)
        down = block.mlp.shared.down.weight if expert < 0 else block.mlp.down[expert]
        total = sum(neuron.activation * down[:, neuron.index] for neuron in every)
        assert torch.allclose(total, write, atol=1e-5)
    (elsewhere, *_) = set(range(5)) - set(routing[0].tolist())
    with pytest.raises(BadInput, match=f"token 9 is not routed to expert {elsewhere} in layer 1"):
        look_at_mlp(reading, Edge(1, Kind.MLP, 9, 9, expert=elsewhere))


def test_an_output_norm_weighs_neurons_as_it_weighs_the_write():
    reading = read(lettered(BY_NAME["gemma2: soft caps, window 4"]), TEXT)
    every = look_at_mlp(reading, Edge(1, Kind.MLP, 9, 9), count=10_000)
    block = reading.model.decoder.block(1, len(TEXT))
    down = block.mlp.down.weight[:, [neuron.index for neuron in every]]
    weight = block.mlp_output_norm.weight
    assert weight.std() > 0.01
    # Each neuron writes its activation times a column; the norm multiplies every dimension by its weight.
    size = (torch.tensor([neuron.activation for neuron in every]) * down * weight[:, None]).abs().sum(0)
    assert [neuron.share for neuron in every] == pytest.approx((size / size.sum()).tolist(), rel=1e-4)


def test_the_last_state_of_the_full_run_gives_the_models_distribution(reading):
    decoder = reading.model.decoder
    state = full_state(reading, output(reading).depth)
    found = probabilities(decoder.unembed(decoder.final_norm()(state)))
    assert torch.allclose(found[POSITION], reading.full_probabilities([POSITION])[0], atol=1e-5)
