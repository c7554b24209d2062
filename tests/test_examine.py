"""Traces looked at closely, and their controls."""

import hashlib
from collections import Counter

import pytest
import torch

from density import controls
from density.controls import (
    KeepComplement,
    KeepEdges,
    complement_control,
    grow_random,
    random_control,
    random_edges,
)
from density.edges import composition, strongest
from density.errors import BadInput, TooLarge
from density.examine import examine, traces_asked
from density.fidelity import probabilities, total_variation
from density.graph import Kind
from density.reading import read
from density.replay import KeepTraces, replay
from tests.tiny import lettered
from tests.traced import BY_NAME, edges_of, of_size

TEXT = "the cat sat on a mat"
POSITION = 13
SOME = [
    "llama: grouped heads",
    "gpt_neox: parallel",
    "gemma2: soft caps, window 4",
    "qwen2_moe: 3 of 5 and shared",
    "gpt2: as released",
]


@pytest.fixture(scope="module", params=SOME)
def reading(request):
    return read(lettered(BY_NAME[request.param]), TEXT)


def replayed(reading, keep):
    return probabilities(replay(reading.model.decoder, reading.ids, keep, reading.run.importances.experts))[0]


def test_listed_edges_replayed_are_the_trace_replayed(reading):
    trace = of_size(reading, POSITION, 0.4)
    keep = KeepEdges(reading.run.importances, POSITION, edges_of(reading, trace))
    traces = KeepTraces(reading.traces([POSITION]), [trace])
    assert torch.allclose(replayed(reading, keep), replayed(reading, traces), atol=1e-6)


def test_the_complement_is_every_other_edge_and_all_residual_ones(reading):
    trace, everything = of_size(reading, POSITION, 0.4), of_size(reading, POSITION, 1.0)
    inside, full = set(edges_of(reading, trace)), set(edges_of(reading, everything))
    others = [edge for edge in full if edge not in inside or edge.kind.group == "residual"]
    keep = KeepEdges(reading.run.importances, POSITION, others)
    complement = KeepComplement(reading.traces([POSITION]), [trace])
    assert torch.allclose(replayed(reading, keep), replayed(reading, complement), atol=1e-6)
    result = complement_control(reading, trace)
    assert result.edges == len(full) - len(inside)
    assert result.edges_kept == len(others)
    distance = total_variation(reading.full_probabilities([POSITION])[0], replayed(reading, complement))
    assert result.total_variation == pytest.approx(float(distance), abs=1e-6)


def test_the_complement_of_nothing_is_the_model(reading):
    assert complement_control(reading, of_size(reading, POSITION, 0.0)).total_variation < 1e-5


@pytest.mark.parametrize("size", [0.05, 0.5, 1.0])
def test_random_edges_are_as_many_and_connected_and_the_seed_decides(reading, size):
    trace, importances = of_size(reading, POSITION, size), reading.run.importances
    grown = list(grow_random(importances, POSITION, trace.edges, seed=3))
    assert len(grown) == len(set(grown)) == trace.edges
    assert set(grown) <= set(edges_of(reading, of_size(reading, POSITION, 1.0)))
    output = (len(importances.heads) * (1 if importances.parallel else 2), POSITION)
    reached = {output}
    for edge in grown:
        target, source = edge.target(importances.parallel), edge.source(importances.parallel)
        assert (target.depth, target.position) in reached
        reached.add((source.depth, source.position))
    assert grown == list(grow_random(importances, POSITION, trace.edges, seed=3))
    if size == 0.5:
        assert grown != list(grow_random(importances, POSITION, trace.edges, seed=4))


def test_random_edges_are_those_they_have_always_been():
    # Random controls are kept in datasets and in figures: a seed means these edges.
    importances = read(lettered(), TEXT).run.importances
    grown = "\n".join(map(str, grow_random(importances, POSITION, 500, seed=3)))
    assert hashlib.sha256(grown.encode()).hexdigest()[:16] == "f749811435bf4212"


def test_growing_random_edges_can_be_stopped_and_is_bounded(reading, monkeypatch):
    importances, looks = reading.run.importances, []
    monkeypatch.setattr(controls, "GLANCE", 16)
    assert len(list(grow_random(importances, POSITION, 100, 0, lambda: looks.append(1)))) == 100
    assert len(looks) == 7
    monkeypatch.setattr(controls, "MOST_GROWN", 99)
    with pytest.raises(TooLarge, match=r"100 random edges would be grown for a control, and 99 are grown at most"):
        next(grow_random(importances, POSITION, 100, 0))


def test_the_random_control_keeps_all_residual_edges_besides(reading):
    trace = of_size(reading, POSITION, 0.3)
    grown = grow_random(reading.run.importances, POSITION, trace.edges, seed=0)
    full = edges_of(reading, of_size(reading, POSITION, 1.0))
    kept = {*grown, *(edge for edge in full if edge.kind.group == "residual")}
    result = random_control(reading, trace, random_edges(reading, trace, seed=0))
    assert (result.edges, result.edges_kept) == (trace.edges, len(kept))
    expected = replayed(reading, KeepEdges(reading.run.importances, POSITION, list(kept)))
    distance = total_variation(reading.full_probabilities([POSITION])[0], expected)
    assert result.total_variation == pytest.approx(float(distance), abs=1e-6)


def test_random_growth_takes_a_states_residual_and_mlp_edges_before_its_heads(reading):
    importances = reading.run.importances
    others = 1 + importances.mlp.shape[-1] if importances.parallel else 1
    taken = Counter()
    for edge in grow_random(importances, POSITION, 150, seed=1):
        if edge.kind is Kind.HEAD:
            assert taken[edge.target(importances.parallel)] == others
        else:
            taken[edge.target(importances.parallel)] += 1


def test_the_composition_counts_every_edge_once(reading):
    trace = of_size(reading, POSITION, 0.4)
    made_of, edges = composition(reading.traces([POSITION]), trace), edges_of(reading, trace)
    assert sum(made_of.by_kind.values()) == sum(made_of.by_layer) == trace.edges
    for group, count in made_of.by_kind.items():
        assert count == sum(edge.kind.group == group for edge in edges)
    for layer, count in enumerate(made_of.by_layer):
        assert count == sum(edge.layer == layer for edge in edges)


def test_every_prefix_of_the_strongest_edges_is_connected_to_the_output(reading):
    parallel = reading.run.importances.parallel
    ranked = strongest(reading.traces([POSITION]), POSITION, 60)
    reached = {ranked[0].edge.target(parallel)}
    for one in ranked:
        assert one.edge.target(parallel) in reached
        assert one.entry <= one.importance
        reached.add(one.edge.source(parallel))
    assert [one.entry for one in ranked] == sorted((one.entry for one in ranked), reverse=True)


def test_a_trace_is_connected_to_the_input_when_a_path_leads_there(reading):
    traces = reading.traces([POSITION])
    assert traces.connected_to_input(of_size(reading, POSITION, 1.0))
    assert not traces.connected_to_input(of_size(reading, POSITION, 0.0))
    for size in (0.01, 0.05, 0.2):
        trace = of_size(reading, POSITION, size)
        bottom = any(edge.source(reading.run.importances.parallel).depth == 0 for edge in edges_of(reading, trace))
        assert traces.connected_to_input(trace) == bottom


def test_the_whole_graph_examined_is_the_model(reading):
    result = examine(reading, of_size(reading, POSITION, 1.0), controls=True, edges=4)
    assert result.comparison.total_variation < 1e-5
    assert result.comparison.top_token_agrees
    assert result.comparison.nucleus_recovered == 90
    assert result.random.total_variation < 1e-5
    assert [token.id for token in result.top_tokens] == [token.id for token in result.full_top_tokens]
    assert len(result.strongest) == 4


def test_a_trace_by_fidelity_is_the_profiles(reading):
    ((trace, size),) = traces_asked(reading, POSITION, fidelity=0.6)
    assert size is None
    assert examine(reading, trace).comparison.fidelity >= 0.6


def test_a_threshold_cuts_where_it_says(reading):
    ((trace, _),) = traces_asked(reading, POSITION, thresholds=[0.01])
    entries = [one.entry for one in strongest(reading.traces([POSITION]), POSITION, trace.edges_full)]
    assert trace.edges == sum(entry >= 0.01 for entry in entries)
    ((exact, _),) = traces_asked(reading, POSITION, thresholds=[entries[20]])
    assert exact.edges >= 21


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "by a fidelity, by sizes or by thresholds, one of the three"),
        ({"fidelity": 0.5, "sizes": [0.1]}, "one of the three"),
        ({"sizes": [0.0]}, r"a size is a share of the graph's edges in \(0, 1\], got 0.0"),
        ({"sizes": [1.5]}, r"in \(0, 1\], got 1.5"),
        ({"sizes": [float("nan")]}, r"in \(0, 1\], got nan"),
        ({"thresholds": [-0.1]}, "a threshold is an importance of 0 or more, got -0.1"),
        ({"thresholds": [0.1, float("inf")]}, "a threshold is an importance of 0 or more, got inf"),
        ({"fidelity": 2.0}, "fidelity is a share"),
    ],
)
def test_traces_that_cannot_be_asked_for_are_refused(asked, message):
    with pytest.raises(BadInput, match=message):
        traces_asked(read(lettered(), TEXT), POSITION, **asked)
