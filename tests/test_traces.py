"""Widest paths and traces: by hand on two tokens, then nested, connected, counted and exact on random models."""

import itertools
import math
import multiprocessing
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from density.edges import by_kind, composition, entries, kept_edges, strongest
from density.graph import Edge, Kind
from density.importance import Importances, run_whole
from density.reading import importance_bytes
from density.reading import read as read_text
from density.traces import Traces, edge_budget
from tests.tiny import CASES, lettered, random_ids, tiny
from tests.traced import full_edge_count

NONE = -math.inf


def by_hand():
    """Two layers, one head, two tokens. Layer 1 at token 1: the head reads token 0 with 0.6, itself with 0.1."""
    return Importances(
        residual_attention=torch.tensor([[0.2, 0.5], [0.9, 0.3]]),
        heads=torch.tensor([[[[0.8, NONE], [0.4, 0.1]]], [[[0.1, NONE], [0.6, 0.1]]]]),
        residual_mlp=torch.tensor([[0.7, 0.45], [0.5, 0.55]]),
        mlp=torch.tensor([[0.3, 0.55], [0.5, 0.45]])[..., None],
    )


def test_widest_paths_of_two_tokens_by_hand():
    # Prediction 1. Output (2L, 1): inf. Down the MLP step of layer 1: max(0.55, 0.45) = 0.55 to the state after
    # attention. From there to token 0 by the head: min(0.6, 0.55) = 0.55; to token 1 by the skip: min(0.3, .55) = 0.3.
    # Layer 0, MLP step: token 0 max(0.7, 0.3) keeps 0.55; token 1 max(0.45, 0.55) keeps 0.3. Embeddings: token 0 by
    # its own skip 0.2, its head 0.55 and by token 1's head min(0.4, 0.3): 0.55; token 1 by its skip min(0.5, 0.3): 0.3.
    widest = Traces(by_hand(), [1]).widest
    assert widest.mlp[0, 1].tolist() == [NONE, math.inf]
    assert widest.attention[0, 1].tolist() == pytest.approx([NONE, 0.55])
    assert widest.mlp[0, 0].tolist() == pytest.approx([0.55, 0.3])
    assert widest.attention[0, 0].tolist() == pytest.approx([0.55, 0.3])
    assert widest.embedding[0].tolist() == pytest.approx([0.55, 0.3])


def test_the_edges_that_enter_first_by_hand():
    # In order: residual_mlp(1) 0.55, head 1<-0 min(0.6, 0.55), then below token 0: residual_mlp min(0.7, 0.55) and
    # its head min(0.8, 0.55), all at 0.55; the next level is mlp(1) at 0.45.
    first = strongest(Traces(by_hand(), [1]), 1, 5)
    assert [(ranked.edge, round(ranked.entry, 6)) for ranked in first] == [
        (Edge(1, Kind.RESIDUAL_MLP, 1, 1), 0.55),
        (Edge(1, Kind.HEAD, 1, 0, 0), 0.55),
        (Edge(0, Kind.RESIDUAL_MLP, 0, 0), 0.55),
        (Edge(0, Kind.HEAD, 0, 0, 0), 0.55),
        (Edge(1, Kind.MLP, 1, 1), 0.45),
    ]
    traces = Traces(by_hand(), [1])
    trace = traces.at_threshold(1, 0.5)
    assert (trace.edges, trace.edges_full) == (4, full_edge_count(2, 1, 2))
    assert traces.connected_to_input(trace)
    assert not traces.connected_to_input(traces.of_size(1, 0.2))
    assert composition(traces, trace).by_kind == {"residual": 2, "head": 2, "mlp": 0}
    assert composition(traces, trace).by_layer == [2, 2]


def test_between_two_levels_every_threshold_gives_one_trace():
    traces = Traces(by_hand(), [1])
    assert traces.of_size(1, 4.9 / 15).edges == 4
    assert traces.of_size(1, 3.9 / 15).edges == 0, "four edges enter together: no trace of one to three"
    found = traces.of_size(1, 4.9 / 15)
    assert found.threshold == pytest.approx((0.55 + 0.45) / 2)
    assert traces.at_threshold(1, found.threshold).edges == 4
    empty = traces.of_size(1, 0.0)
    assert (empty.edges, empty.level) == (0, math.inf)
    assert 0.55 < empty.threshold < 1


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case.family}: {case.settings}")
def read(request):
    family, length = tiny(request.param), 11
    return family, Traces(run_whole(family, random_ids(length)).importances, range(length))


def test_the_full_graph_counts_what_can_reach_the_output(read):
    family, traces = read
    given = traces.importances
    if (given.heads[:, 0] > NONE).sum() < given.heads.shape[0] * 66:
        assert traces.edges_full[10] < full_edge_count(family.layers, family.heads, 11, parallel=given.parallel)
        return
    for position, count in traces.edges_full.items():
        expected = full_edge_count(
            family.layers, family.heads, position + 1, parallel=given.parallel, mlps=given.mlp.shape[-1]
        )
        assert count == expected


def test_a_trace_of_a_size_is_the_largest_that_fits(read):
    _, traces = read
    for position in (0, 3, 10):
        levels = sorted({float(x) for kind in entries(traces, position).values() for x in kind.flatten()} - {NONE})
        counts = {level: int(traces.count([position], torch.tensor([level]))) for level in levels}
        for size in (1e-3, 0.01, 0.1, 0.37, 0.99, 1.0):
            budget = edge_budget(size, traces.edges_full[position])
            expected = max([count for count in counts.values() if count <= budget], default=0)
            trace = traces.of_size(position, size)
            assert trace.edges == expected
            assert sum(int(kept.sum()) for kept in kept_edges(traces, trace).values()) == trace.edges
            assert trace.threshold == 0 or trace.threshold not in counts


@pytest.mark.parametrize(("size", "full", "edges"), [(0.7, 360, 252), (0.35, 360, 126), (0.7, 361, 252), (1, 7, 7)])
def test_a_size_is_not_cut_short_by_rounding(size, full, edges):
    assert edge_budget(size, full) == edges


@pytest.mark.parametrize("full", [97, 4398, 311_547, 10**9 + 7])
def test_a_size_that_was_attained_has_its_edges_again(full):
    some = range(1, full + 1, max(1, full // 4001))
    assert [edge_budget(edges / full, full) for edges in some] == list(some)


def test_smaller_traces_are_contained_in_larger_ones(read):
    _, traces = read
    kept = [kept_edges(traces, traces.of_size(10, size)) for size in (0.05, 0.2, 0.5, 1.0)]
    for small, large in itertools.pairwise(kept):
        assert all(bool((large[kind] | ~small[kind]).all()) for kind in small)
        assert any(bool((large[kind] & ~small[kind]).any()) for kind in small)


def test_every_prefix_of_the_ranking_is_connected_to_the_output_and_reads_no_future(read):
    family, traces = read
    parallel = traces.importances.parallel
    last = (1 if parallel else 2) * family.layers
    reached = {(last, 10)}
    ranked = strongest(traces, 10, traces.edges_full[10])
    assert len({item.edge for item in ranked}) == len(ranked) == traces.edges_full[10]
    for item in ranked:
        source, target = item.edge.source(parallel), item.edge.target(parallel)
        assert (target.depth, target.position) in reached
        assert item.edge.key <= item.edge.query
        reached.add((source.depth, source.position))


def test_more_positions_asked_change_no_trace(read):
    _, traces = read
    alone = Traces(traces.importances, [7])
    assert alone.of_size(7, 0.3) == traces.of_size(7, 0.3) == alone.covering([2, 7]).of_size(7, 0.3)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1.2))
def test_a_threshold_that_is_not_representable_keeps_what_is_at_or_above_it(threshold):
    traces = Traces(by_hand(), [1])
    trace = traces.at_threshold(1, threshold)
    levels = [float(x) for kind in entries(traces, 1).values() for x in kind.flatten()]
    assert trace.edges == sum(level >= threshold for level in levels)
    assert trace.threshold == threshold


def resident(field: str) -> int:
    """Bytes of this process in memory: ``VmRSS`` now, ``VmHWM`` the most there were."""
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def peak_of_a_long_text(connection) -> None:
    """What reading a text and sorting its importances takes at once, and what is counted for it."""
    torch.set_num_threads(1)
    model = lettered(num_hidden_layers=12, max_position_embeddings=512)
    read_text(model, "a").traces([0])
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    read_text(model, "a" * 512).traces([511])
    connection.send((resident("VmHWM") - before, importance_bytes(model, 512)))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from Linux's /proc")
def test_a_reading_takes_the_memory_that_is_counted_for_it(no_main):
    spawned = multiprocessing.get_context("spawn")
    ours, theirs = spawned.Pipe()
    process = spawned.Process(target=peak_of_a_long_text, args=(theirs,))
    process.start()
    theirs.close()
    taken, counted = ours.recv()
    process.join()
    assert counted / 2 < taken < 1.5 * counted


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_rows_are_the_importances_of_each_state_in_order(family):
    given = run_whole(tiny(next(case for case in CASES if case.family == family)), random_ids(11)).importances
    for rows, kinds in zip(Traces(given, [10]).rows, states_of(given), strict=True):
        every = torch.cat([by_kind(given)[kind].reshape(*given.mlp.shape[:2], -1) for kind in kinds], -1)
        assert torch.equal(rows.ascending, every.flatten(0, 1).sort(-1).values)


def states_of(given):
    """The kinds of edges into each kind of state."""
    if given.parallel:
        return [(Kind.HEAD, Kind.RESIDUAL_ATTENTION, Kind.MLP)]
    return [(Kind.HEAD, Kind.RESIDUAL_ATTENTION), (Kind.RESIDUAL_MLP, Kind.MLP)]
