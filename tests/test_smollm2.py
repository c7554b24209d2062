"""The default model itself, end to end."""

import pytest
import torch

from density.examine import examine
from density.health import check, load
from density.profile import profile
from density.reading import read
from density.search import LATTICE

pytestmark = pytest.mark.real_model
TEXT = "The capital of France is"


@pytest.fixture(scope="module")
def reading(smollm2):
    return read(smollm2, TEXT)


def test_it_continues_with_paris(reading):
    (prediction,) = profile(reading, fidelity=0.8, positions="last")
    best = prediction.top_tokens[0]
    assert best.text == " Paris"
    assert best.probability == pytest.approx(0.773, abs=2e-3)


def test_its_full_graph_has_as_many_edges_as_the_closed_form_says(reading):
    (trace,) = reading.of_sizes([(4, 1.0)])
    assert trace.edges == trace.edges_full == 29 * (9 * 5 * 6 // 2 + 3 * 5) + 9 * 5 + 3 == 4398


def test_the_engine_is_the_model(smollm2):
    figures = check(smollm2)
    assert figures.full_replay_tv < 1e-4
    assert figures.max_state_error < 1e-4


def test_the_trace_found_predicts_paris_and_the_next_smaller_does_not_reach_the_fidelity(reading):
    (prediction,) = profile(reading, fidelity=0.8, positions="last")
    result = examine(reading, prediction.found.trace, controls=True)
    assert result.top_tokens[0].text == " Paris"
    assert result.comparison.total_variation == pytest.approx(prediction.found.total_variation, abs=1e-6)
    assert result.comparison.total_variation <= 0.2 < prediction.below.total_variation
    assert result.random.total_variation > 0.9
    assert result.complement.total_variation > 0.9


def test_curves_fall_from_the_empty_trace_to_the_model(reading):
    (prediction,) = profile(reading, fidelity=0.8, positions="last", sweep=True)
    assert prediction.empty_distance > 0.9
    assert prediction.curve[-1].total_variation == 0
    assert 0.2 < prediction.auc_linear < 0.7
    assert prediction.auc_linear < prediction.auc_log10 < 1


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_still_says_paris_and_reports_its_distance(smollm2, precision):
    model, figures = load(smollm2.name, precision=precision)
    assert model.decoder.dtype == getattr(torch, precision)
    assert 0 < figures.full_replay_tv < 0.1
    (prediction,) = profile(read(model, TEXT), fidelity=0.8, positions="last")
    assert prediction.top_tokens[0].text == " Paris"
    assert prediction.density in [trace.size for trace in read(model, TEXT).of_sizes([(4, s) for s in LATTICE])]
