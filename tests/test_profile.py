"""Densities of a text's predictions: a definite answer, whatever was asked before, and what a sweep makes of it."""

import itertools
import math

import pytest
import torch

from density.errors import BadInput, Cancelled, TooLarge
from density.fidelity import entropy
from density.profile import auc_linear, auc_log10, parse_positions, profile, uppermost_crossing
from density.reading import Point, read
from density.search import LATTICE, SWEEP_GRID
from density.traces import Trace, edge_budget
from tests.tiny import CASES, lettered

TEXT = "the cat sat on a mat"
WINDOWED = next(case for case in CASES if case.settings == "window 5")
PARALLEL = next(case for case in CASES if case.settings == "parallel")


@pytest.fixture(scope="module")
def model():
    return lettered()


def answers(reading, **asked):
    return {prediction.position: prediction for prediction in profile(reading, **asked)}


def bracket(prediction):
    return prediction.found, prediction.below


@pytest.mark.parametrize("case", [None, WINDOWED, PARALLEL], ids=["sequential", "windowed", "parallel"])
def test_the_answer_is_a_crossing_of_the_lattice(model, case):
    reading = read(model if case is None else lettered(case), TEXT)
    for position, prediction in answers(reading, fidelity=0.6).items():
        assert prediction.found.total_variation <= 0.4
        assert prediction.density == prediction.found.trace.edges / prediction.found.trace.edges_full
        if prediction.below is None:
            assert prediction.found.trace.edges == 0
            continue
        assert prediction.below.total_variation > 0.4
        sizes = [trace.edges for trace in reading.of_sizes([(position, size) for size in (*LATTICE, 0.0)])]
        neighbours = {(large, small) for large, small in itertools.pairwise(sizes) if large != small}
        assert (prediction.found.trace.edges, prediction.below.trace.edges) in neighbours


def test_the_answer_does_not_depend_on_what_was_asked_before(model):
    fresh = answers(read(model, TEXT), fidelity=0.7)
    reading = read(model, TEXT)
    for fidelity in (0.9, 0.5, 0.72):
        answers(reading, fidelity=fidelity)
    answers(reading, fidelity=0.7, positions=[4], sweep=True)
    again = answers(reading, fidelity=0.7)
    assert [bracket(again[position])[0].trace for position in fresh] == [
        bracket(fresh[position])[0].trace for position in fresh
    ]
    for position, prediction in fresh.items():
        assert again[position].found.total_variation == pytest.approx(prediction.found.total_variation, abs=1e-6)


def test_one_prediction_alone_has_the_answer_it_has_among_all(model):
    together = answers(read(model, TEXT))
    for position in (0, 7, 19):
        (alone,) = profile(read(model, TEXT), positions=[position])
        assert alone.found.trace == together[position].found.trace


def test_what_was_measured_is_not_measured_again(model):
    reading = read(model, TEXT)
    first = answers(reading, fidelity=0.8)
    assert sum(prediction.replays for prediction in first.values()) > 0
    assert all(prediction.replays == 0 for prediction in answers(reading, fidelity=0.8).values())
    closer, fresh = answers(reading, fidelity=0.85), answers(read(model, TEXT), fidelity=0.85)
    assert sum(found.replays for found in closer.values()) < sum(found.replays for found in fresh.values())


def test_results_come_as_they_are_found(model):
    reading, measured = read(model, TEXT), []
    for _ in profile(reading, fidelity=0.8):
        measured.append(len(reading.points))
    assert measured[0] < measured[-1]


def test_a_stopped_profile_keeps_what_it_measured(model):
    reading, batches = read(model, TEXT), itertools.count()
    reading.replay_bytes = 1

    def stop_after_five():
        if next(batches) == 5:
            raise Cancelled("stopped.")

    with pytest.raises(Cancelled):
        answers(reading, check=stop_after_five)
    assert sum(edges > 0 for _, edges in reading.points) == 5
    whole = answers(read(model, TEXT))
    rest = answers(reading)
    assert [rest[p].found.trace for p in whole] == [whole[p].found.trace for p in whole]
    assert sum(p.replays for p in rest.values()) == sum(p.replays for p in whole.values()) - 5


def test_the_whole_of_a_prediction_is_the_models_own(model):
    reading = read(model, TEXT)
    with torch.no_grad():
        rows = model.decoder.model(reading.ids[None]).logits[0].double().softmax(-1)
    for position, prediction in answers(reading, positions="last:4").items():
        assert prediction.entropy == pytest.approx(float(entropy(rows[position])), abs=1e-5)
        if position + 1 < len(TEXT):
            assert prediction.next_token == TEXT[position + 1]
            assert prediction.surprisal == pytest.approx(-math.log(rows[position, prediction.next_id]), abs=1e-5)
        else:
            assert prediction.next_token is prediction.next_id is prediction.surprisal is None
        best = rows[position].topk(10)
        assert [token.id for token in prediction.top_tokens] == best.indices.tolist()
        assert [token.probability for token in prediction.top_tokens] == pytest.approx(best.values.tolist(), abs=1e-6)


def test_full_fidelity_takes_the_full_graph_or_what_equals_it(model):
    for prediction in answers(read(model, TEXT), fidelity=1.0, positions="last:3").values():
        assert prediction.found.total_variation == 0


def test_a_sweep_measures_the_grid_and_takes_its_uppermost_crossing(model):
    reading = read(model, TEXT)
    (prediction,) = profile(reading, fidelity=0.7, positions=[15], sweep=True)
    edges_full = prediction.found.trace.edges_full
    budgets = {edge_budget(size, edges_full) for size in SWEEP_GRID}
    assert prediction.search == "sweep"
    assert len(prediction.curve) <= len(budgets)
    assert all(point.trace.edges > 0 for point in prediction.curve)
    assert prediction.curve[-1].trace.edges == edges_full
    assert prediction.curve[-1].total_variation == 0
    above = [point for point in prediction.curve if point.trace.edges >= prediction.found.trace.edges]
    assert all(point.total_variation <= 0.3 for point in above)
    assert prediction.below.total_variation > 0.3
    assert 0 < prediction.auc_linear < 1
    assert 0 < prediction.auc_log10 < 1


def point(edges, distance):
    return Point(Trace(0, 0.1, 0.1, edges, 100), distance)


CURVE = [point(1, 0.8), point(10, 0.6), point(50, 0.2), point(100, 0.0)]


def test_areas_by_hand():
    # Linear, from the empty trace's 1.0 at 0: 0.01 (1.0+0.8)/2 + 0.09 (0.8+0.6)/2 + 0.4 (0.6+0.2)/2 + 0.5 (0.2+0)/2.
    assert auc_linear(CURVE, 1.0) == pytest.approx(0.009 + 0.063 + 0.16 + 0.05)
    # Decades: 3 at 1.0, then 1 (0.8+0.6)/2, log10(5) (0.6+0.2)/2, log10(2) (0.2+0)/2; over 5.
    decades = 3 + 0.7 + math.log10(5) * 0.4 + math.log10(2) * 0.1
    assert auc_log10(CURVE, 1.0) == pytest.approx(decades / 5)


def test_areas_of_the_densest_and_the_sparsest_curves():
    full = point(100, 0.0)
    assert auc_log10([full], 1.0) == pytest.approx(1.0)
    assert auc_linear([full], 1.0) == pytest.approx(0.5)
    assert auc_linear([full], 0.0) == auc_log10([full], 0.0) == 0.0


def test_the_logarithmic_area_is_of_the_sizes_as_they_are():
    # The empty trace's 1 from 1e-5 to 0.7; from there a trapezoid down to 0 at the full graph.
    start = math.log10(0.7)
    assert auc_log10([point(70, 0.5)], 1.0) == pytest.approx((start + 5 + 0.25 * -start) / 5, rel=1e-15)


def test_the_uppermost_crossing_of_a_curve_that_is_not_monotone():
    curve = [point(0, 1.0), point(1, 0.1), point(10, 0.6), point(50, 0.2), point(100, 0.0)]
    found, below = uppermost_crossing(curve, 0.75)
    assert (found.trace.edges, below.trace.edges) == (50, 10)
    assert uppermost_crossing(curve[3:], 0.5) == (curve[3], None)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("all", [0, 1, 2, 3, 4]),
        ("last", [4]),
        ("last:2", [3, 4]),
        ("last:9", [0, 1, 2, 3, 4]),
        ("3,0,-1,3", [0, 3, 4]),
        (" 2 ", [2]),
        ([-5, 1], [0, 1]),
        ("1..3", [1, 2, 3]),
        ("3..-4,0", [0, 1, 2, 3]),
    ],
)
def test_positions_as_people_write_them(asked, found):
    assert parse_positions(asked, 5) == found


@pytest.mark.parametrize(
    "asked", ["", "some", "last:0", "last:-1", "last:x", "1;2", "all:2", "1,", "1.5", "1..", "1..2..3"]
)
def test_positions_that_mean_nothing_are_refused(asked):
    with pytest.raises(BadInput, match="write all, last, last:N or numbers such as 3,7,-1"):
        parse_positions(asked, 5)


@pytest.mark.parametrize("asked", [[5], [-6], "0,5", "3..5"])
def test_positions_outside_the_text_are_refused(asked):
    with pytest.raises(BadInput, match=r"outside the text's 5 tokens: use 0\.\.4, or -5\.\.-1 from its end"):
        parse_positions(asked, 5)


@pytest.mark.parametrize("fidelity", [0.0, -0.1, 1.01, math.nan])
def test_a_fidelity_outside_its_range_is_refused(model, fidelity):
    with pytest.raises(BadInput, match=r"fidelity is a share in \(0, 1\]"):
        answers(read(model, TEXT), fidelity=fidelity)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text is empty or blank"),
        (" \n\t", "the text is empty or blank"),
        ("half \ud83d here", r"character 5 of the text is half of a surrogate pair \(U\+D83D\)"),
        ("too long a text", "the text has 15 tokens and the limit is 7; shorten it or raise the limit"),
    ],
)
def test_texts_that_cannot_be_worked_with_are_refused(model, text, message):
    with pytest.raises(BadInput, match=message):
        read(model, text, max_tokens=7)


def test_a_text_longer_than_the_model_reads_is_refused_whatever_the_limit(model):
    with pytest.raises(BadInput, match="the text has 129 tokens and the limit is 128"):
        read(model, "a" * 129, max_tokens=10**6)


def test_a_token_that_the_model_does_not_have_is_refused():
    with pytest.raises(BadInput, match="the tokenizer makes token 52 of this text and the model has 10"):
        read(lettered(vocab_size=10), "a'")


@pytest.mark.parametrize("text", ["a", "\x00\x1b[31m", "مرحبا", "👩‍👩‍👧", "\u202eabc\u200b"])
def test_one_token_and_odd_characters_have_a_density(model, text):
    reading = read(model, text)
    assert len(answers(reading)) == len(reading.tokens) == len(text)


def test_importances_that_would_not_fit_are_refused_with_the_numbers(model):
    with pytest.raises(TooLarge, match=r"the importances of 100 tokens take 2 MiB and 0 MiB may be used"):
        read(model, "a" * 100, memory=2**18)


def test_a_batch_of_replays_stays_within_its_budget(model):
    reading = read(model, TEXT)
    traces = reading.of_sizes([(position, size) for position in range(20) for size in (0.2, 0.5, 0.9)])
    reading.replay_bytes = 3 * reading.item_bytes(20)
    batches = list(reading.batches(traces))
    assert sum(map(len, batches)) == len(traces)
    assert len(batches[-1]) == 3
    for batch in batches:
        assert len(batch) * reading.item_bytes(batch[-1].position + 1) <= reading.replay_bytes
