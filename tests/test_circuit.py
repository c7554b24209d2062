"""Circuits: smaller traces of a trace, whole as graphs; and what traces are made of, counted two ways."""

import pytest
import torch

from density.circuit import draw, head_map, makeup, sources
from density.edges import composition, strongest
from density.graph import GROUPS, Kind
from density.reading import read
from density.search import LATTICE
from tests.tiny import lettered
from tests.traced import BY_NAME, of_size

TEXT = "the cat sat on a mat"
POSITION = 12


@pytest.fixture(scope="module", params=["llama: grouped heads", "gpt_neox: parallel", "qwen2_moe: 3 of 5 and shared"])
def reading(request):
    return read(lettered(BY_NAME[request.param]), TEXT)


@pytest.mark.parametrize("most", [20, 100, 10_000])
def test_a_circuit_is_a_trace_within_the_trace(reading, most):
    trace = of_size(reading, POSITION, 0.4)
    circuit = draw(reading, trace, most)
    assert len(circuit.edges) == circuit.trace.edges <= min(most, trace.edges)
    assert circuit.left_out == trace.edges - len(circuit.edges)
    assert circuit.trace.level >= trace.level
    if most > trace.edges:
        assert circuit.left_out == 0


def test_a_circuit_smaller_than_the_first_level_is_still_connected(reading):
    circuit = draw(reading, of_size(reading, POSITION, 0.4), 1)
    assert len(circuit.edges) == 1
    assert circuit.edges[0].edge.target(circuit.parallel) == circuit.output


def test_the_makeup_of_every_size_is_its_composition(reading):
    traces = reading.traces([POSITION])
    picked = reading.of_sizes([(POSITION, size) for size in LATTICE[:40:5]])
    found = makeup(traces, picked)
    for trace, kinds, layers in zip(picked, found.kinds, found.layers, strict=True):
        counted = composition(traces, trace)
        assert kinds.tolist() == pytest.approx([counted.by_kind[group] / trace.edges for group in GROUPS])
        assert layers.tolist() == pytest.approx([count / trace.edges for count in counted.by_layer])
        assert float(kinds.sum()) == pytest.approx(1)


def test_the_makeup_is_counted_in_rows_that_are_sorted_already(reading, monkeypatch):
    traces, picked = reading.traces([POSITION]), reading.of_sizes([(POSITION, size) for size in LATTICE[:40:5]])
    before = makeup(traces, picked)
    monkeypatch.setattr(torch.Tensor, "sort", lambda *_: pytest.fail("sorted again"), raising=False)
    assert torch.equal(makeup(traces, picked).layers, before.layers)


def test_the_makeup_of_the_empty_trace_is_nothing(reading):
    found = makeup(reading.traces([POSITION]), [of_size(reading, POSITION, 0.0)])
    assert found.kinds.tolist() == [[0, 0, 0]]


def test_heads_and_sources_are_counted_edge_by_edge(reading):
    traces, trace = reading.traces([POSITION]), of_size(reading, POSITION, 0.5)
    counts, importance = head_map(traces, trace)
    read_from, weight = sources(traces, trace)
    edges = [one for one in strongest(traces, POSITION, trace.edges) if one.edge.kind is Kind.HEAD]
    expected, elsewhere = torch.zeros(counts.shape, dtype=torch.long), torch.zeros(POSITION + 1, dtype=torch.long)
    for one in edges:
        expected[one.edge.layer, one.edge.head] += 1
        elsewhere[one.edge.key] += one.edge.key != one.edge.query
    assert torch.equal(counts, expected)
    assert torch.equal(read_from, elsewhere)
    assert float(importance.sum()) == pytest.approx(sum(one.importance for one in edges), rel=1e-5)
    assert float(weight.sum()) <= float(importance.sum())
