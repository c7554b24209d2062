"""Parts switched off and on: the masks by hand, the replay against edges listed one by one."""

import pytest

from density.controls import KeepEdges
from density.errors import BadInput
from density.fidelity import probabilities, total_variation
from density.graph import Kind
from density.reading import read
from density.replay import replay
from density.switches import Switch, what_if
from tests.tiny import lettered
from tests.traced import BY_NAME, edges_of, of_size

TEXT = "the cat sat on a mat"
POSITION = 12


@pytest.fixture(scope="module", params=["llama: grouped heads", "gpt_neox: parallel", "qwen2_moe: 3 of 5 and shared"])
def reading(request):
    return read(lettered(BY_NAME[request.param]), TEXT)


def distance(reading, edges):
    keep = KeepEdges(reading.run.importances, POSITION, edges)
    found = probabilities(replay(reading.model.decoder, reading.ids, keep, reading.run.importances.experts))[0]
    return float(total_variation(reading.full_probabilities([POSITION])[0], found))


def switch_for(edge, on=False):
    """The switch of one edge."""
    key = edge.key if edge.kind is Kind.HEAD else None
    return Switch(edge.layer, edge.kind, edge.head, edge.query, key, edge.expert, on)


SWITCHES = {
    "a head everywhere": (Switch(1, Kind.HEAD, head=2), lambda e: (e.kind, e.layer, e.head) == (Kind.HEAD, 1, 2)),
    "a head at a token": (
        Switch(2, Kind.HEAD, head=0, query=POSITION),
        lambda e: (e.kind, e.layer, e.head, e.query) == (Kind.HEAD, 2, 0, POSITION),
    ),
    "all that reads a token": (
        Switch(0, Kind.HEAD, key=3),
        lambda e: (e.kind, e.layer, e.key) == (Kind.HEAD, 0, 3),
    ),
    "an MLP": (Switch(1, Kind.MLP), lambda e: (e.kind, e.layer) == (Kind.MLP, 1)),
    "an MLP at a token": (
        Switch(1, Kind.MLP, query=POSITION),
        lambda e: (e.kind, e.layer, e.query) == (Kind.MLP, 1, POSITION),
    ),
    "a layer": (Switch(1), lambda e: e.layer == 1 and e.kind.group != "residual"),
    "a skip": (
        Switch(1, Kind.RESIDUAL_ATTENTION, query=5),
        lambda e: (e.kind, e.layer, e.query) == (Kind.RESIDUAL_ATTENTION, 1, 5),
    ),
}


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("size", [0.5, 1.0])
def test_what_is_switched_off_is_the_edges_that_match(reading, name, size):
    switch, matches = SWITCHES[name]
    trace = of_size(reading, POSITION, size)
    edges = edges_of(reading, trace)
    rest = [edge for edge in edges if not matches(edge)]
    found = what_if(reading, trace, [switch], draws=0)
    assert (found.edges_before, found.edges_off, found.edges_on) == (len(edges), len(edges) - len(rest), 0)
    assert found.after == pytest.approx(distance(reading, rest), abs=1e-5)
    assert found.before == pytest.approx(distance(reading, edges), abs=1e-5)


def test_an_edge_outside_the_trace_can_be_switched_on(reading):
    trace = of_size(reading, POSITION, 0.3)
    inside, every = set(edges_of(reading, trace)), edges_of(reading, of_size(reading, POSITION, 1.0))
    missing = [edge for edge in every if edge not in inside][:40]
    found = what_if(reading, trace, [switch_for(edge, on=True) for edge in missing], draws=0)
    assert (found.edges_off, found.edges_on) == (0, len(missing))
    assert found.after == pytest.approx(distance(reading, [*inside, *missing]), abs=1e-5)
    assert found.random == ()
    assert found.worse_than_random is None


def test_every_edge_switched_by_itself_is_the_whole_graph_switched(reading):
    trace = of_size(reading, POSITION, 0.4)
    edges = edges_of(reading, trace)
    found = what_if(reading, trace, [switch_for(edge) for edge in edges])
    assert found.edges_off == trace.edges
    assert found.random == ()
    empty = total_variation(reading.full_probabilities([POSITION])[0], reading.empty_probabilities())
    assert found.after == pytest.approx(float(empty), abs=1e-6)


def test_the_last_switch_that_matches_decides(reading):
    trace = of_size(reading, POSITION, 1.0)
    off, on = Switch(1, Kind.HEAD, head=2), Switch(1, Kind.HEAD, head=2, on=True)
    assert what_if(reading, trace, [off, on], draws=0).edges_off == 0
    assert what_if(reading, trace, [on, off], draws=0).edges_off > 0


def test_nothing_outside_the_graph_is_switched_on(reading):
    found = what_if(reading, of_size(reading, POSITION, 1.0), [Switch(layer, on=True) for layer in range(3)], draws=0)
    assert (found.edges_off, found.edges_on) == (0, 0)
    assert found.after < 1e-5


def test_random_draws_switch_off_as_many_edges_and_the_seed_decides(reading):
    trace = of_size(reading, POSITION, 0.8)
    switch = Switch(1, Kind.HEAD, head=2)
    found = what_if(reading, trace, [switch], draws=5, seed=1)
    assert len(found.random) == 5
    assert len(set(found.random)) > 1
    assert found.worse_than_random == sum(one < found.after for one in found.random) / 5
    again = what_if(reading, trace, [switch], draws=3, seed=2)
    assert again.random == pytest.approx(found.random[1:4], abs=1e-6)


def test_an_expert_is_switched_alone():
    reading = read(lettered(BY_NAME["qwen2_moe: 3 of 5 and shared"]), TEXT)
    trace = of_size(reading, POSITION, 1.0)
    found = what_if(reading, trace, [Switch(1, Kind.MLP, query=4, expert=-1)], draws=0)
    assert found.edges_off == 1
    rest = [e for e in edges_of(reading, trace) if (e.layer, e.kind, e.query, e.expert) != (1, Kind.MLP, 4, -1)]
    assert found.after == pytest.approx(distance(reading, rest), abs=1e-5)


@pytest.mark.parametrize(
    ("switch", "message"),
    [
        (Switch(3), "layer 3 cannot be switched: it goes from 0 to 2"),
        (Switch(0, Kind.HEAD, head=4), "head 4 cannot be switched: it goes from 0 to 3"),
        (Switch(0, Kind.MLP, query=13), "query 13 cannot be switched: it goes from 0 to 12"),
        (Switch(0, Kind.HEAD, key=-1), "key -1 cannot be switched"),
    ],
)
def test_a_switch_of_nothing_is_refused(switch, message):
    reading = read(lettered(), TEXT)
    with pytest.raises(BadInput, match=message):
        what_if(reading, of_size(reading, POSITION, 0.5), [switch])


def test_switches_have_names_for_people():
    assert str(Switch(1, Kind.HEAD, head=2, query=5, key=3)) == "L1.H2  5 <- 3 off"
    assert str(Switch(1, Kind.MLP, on=True)) == "L1.MLP on"
    assert str(Switch(4)) == "L4.layer off"


def test_a_replay_with_switches_changes_no_mask_of_the_trace(reading):
    trace = of_size(reading, POSITION, 0.6)
    before = what_if(reading, trace, [], draws=0)
    what_if(reading, trace, [Switch(1)], draws=2)
    after = what_if(reading, trace, [], draws=0)
    assert before == after
    # Two rows of one batch, which are rounded apart.
    assert before.before == pytest.approx(before.after, abs=1e-6)
