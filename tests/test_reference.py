"""The engine against a second implementation that shares nothing with it: `tests.reference`, NetworkX and a heap."""

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from density.edges import by_kind, edge_at, entries, kept_edges
from density.importance import RULES
from density.replay import KeepTraces, replay
from density.search import LATTICE
from density.traces import edge_budget
from tests import reference
from tests.pair import CLOSE, Pair, as_tuple
from tests.tiny import CASES, LLAMA, Case, tiny

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.family}: {case.settings}")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Nothing here is large enough to share out: on busy cores, threads would wait for each other most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case.family}: {case.settings}")
def pair(request):
    """A prediction from 7 tokens of 9: more than any window."""
    return Pair(request.param, length=9, position=6, rule="l1")


def test_the_reference_is_the_model_and_its_writes_add_up(pair):
    model, ids = pair.family.model, pair.ids
    theirs = model(input_ids=ids[None]).logits[0, -1]
    assert torch.allclose(reference.forward(model, ids.tolist()), theirs, atol=1e-4)
    assert reference.states_add_up(model, ids[:5].tolist()) < 1e-9


def test_the_full_graph_has_the_same_edges(pair):
    assert pair.traces.edges_full[pair.position] == pair.graph.number_of_edges()
    everything = {kind: entry > -torch.inf for kind, entry in entries(pair.traces, pair.position).items()}
    assert pair.edges(everything) == set(key for *_, key in pair.graph.edges(keys=True))


@each_case
@pytest.mark.parametrize("rule", RULES)
def test_every_edge_has_the_same_importance_and_enters_at_the_same_threshold(case, rule):
    pair = Pair(case, length=5, position=4, rule=rule)
    theirs = {edge: importance for *_, edge, importance in pair.graph.edges(keys=True, data="importance")}
    entered = dict(pair.growth)
    importance, entry = by_kind(pair.importances), entries(pair.traces, pair.position)
    for kind in importance:
        for place in (entry[kind] > -torch.inf).nonzero().tolist():
            edge = as_tuple(edge_at(pair.importances, kind, place))
            assert abs(float(importance[kind][tuple(place)]) - theirs.pop(edge)) < CLOSE
            assert abs(float(entry[kind][tuple(place)]) - entered[edge]) < CLOSE
    assert not theirs


def test_traces_are_the_same_sets_of_edges_at_level_boundaries(pair):
    boundaries = list(pair.boundaries())
    assert len(boundaries) > 0.8 * len(reference.levels(pair.growth))
    for threshold, count in boundaries[::3]:
        trace = pair.traces.at_threshold(pair.position, threshold)
        mine = pair.edges(kept_edges(pair.traces, trace))
        assert mine == {edge for edge, _ in pair.growth[:count]}
        assert mine == reference.trace_at(pair.graph, pair.graph.graph["output"], threshold)


def test_the_trace_of_a_size_is_the_largest_that_is_small_enough(pair):
    counts = [0, *(count for _, count in reference.levels(pair.growth))]
    for size in LATTICE[::7]:
        budget = edge_budget(size, pair.graph.number_of_edges())
        assert pair.traces.of_size(pair.position, size).edges == max(count for count in counts if count <= budget)


def test_replays_give_the_same_distributions(pair):
    for mine, theirs, distance, their_distance in pair.replays():
        assert torch.allclose(mine, theirs, atol=1e-5)
        assert distance == pytest.approx(their_distance, abs=CLOSE)


def test_the_reference_refuses_what_it_does_not_write_out():
    model = tiny(next(case for case in CASES if case.family == "olmo")).model
    model.config.clip_qkv = 3.0
    with pytest.raises(ValueError, match=r"clip_qkv=3\.0 is not written out here; only None is"):
        reference.family_of(model)
    with pytest.raises(ValueError, match="no reference for model_type='bloom'; there is llama"):
        reference.family_of(transformers.BloomForCausalLM(transformers.BloomConfig(hidden_size=8, vocab_size=7)))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    length=st.integers(1, 7),
    back=st.integers(1, 7),
    rule=st.sampled_from(list(RULES)),
    layers=st.integers(1, 3),
    heads=st.sampled_from([(2, 1), (2, 2), (4, 2)]),
    share=st.floats(0, 1),
)
def test_any_tiny_model_any_text_any_size(seed, length, back, rule, layers, heads, share):
    shape = {"num_hidden_layers": layers, "num_attention_heads": heads[0], "num_key_value_heads": heads[1]}
    case = Case(LLAMA.family, "drawn", LLAMA.architecture, LLAMA.config, {**LLAMA.arguments, **shape})
    pair = Pair(case, length, max(0, length - back), rule, seed)
    boundaries = list(pair.boundaries())
    if not boundaries:
        return
    threshold, count = boundaries[round(share * (len(boundaries) - 1))]
    trace = pair.traces.at_threshold(pair.position, threshold)
    edges = {edge for edge, _ in pair.growth[:count]}
    assert trace.edges == count
    assert pair.edges(kept_edges(pair.traces, trace)) == edges
    mine = replay(pair.family, pair.ids, KeepTraces(pair.traces, [trace]))[0]
    theirs = reference.replay(pair.family.model, pair.ids.tolist(), pair.position, edges)
    assert reference.total_variation(mine, theirs) < CLOSE
