"""The search on curves that are known: it ends on a crossing, whatever the curve, in few probes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from density.errors import BadInput
from density.search import EMPTY, LATTICE, SWEEP_GRID, Crossing, check_fidelity, meets, search


def run(curve, fidelity):
    """Drives the search over ``curve``, a total variation a lattice index; returns what it found and measured."""
    known: dict[int, float] = {0: 0.0}
    while True:
        step = search(fidelity, known.get)
        if isinstance(step, Crossing):
            return step, known
        assert step not in known, "asked for a point it had been given"
        known[step] = curve[step]


def rising(cross, sharpness):
    """A logistic curve from 0 at the full graph to nearly 1, half way at ``cross``."""
    return [0.0] + [1 / (1 + 2.718281828 ** ((cross - k) / sharpness)) for k in range(1, EMPTY + 1)]


@given(st.lists(st.floats(0, 1), min_size=EMPTY, max_size=EMPTY), st.floats(0.01, 1))
def test_any_curve_ends_on_a_crossing(values, fidelity):
    curve = [0.0, *values]
    found, known = run(curve, fidelity)
    assert len(known) <= 16
    assert 1 - curve[found.meets] >= fidelity
    if found.fails is None:
        assert found.meets == EMPTY
    else:
        assert found.fails == found.meets + 1
        assert 1 - curve[found.fails] < fidelity


@given(st.integers(1, 120), st.floats(0.5, 12), st.floats(0.3, 0.99))
def test_on_a_rising_curve_it_finds_the_only_crossing(cross, sharpness, fidelity):
    curve = rising(cross, sharpness)
    found, _ = run(curve, fidelity)
    meeting = [k for k, value in enumerate(curve) if 1 - value >= fidelity]
    assert found.meets == max(meeting)


@given(st.floats(0, 1))
def test_a_fidelity_that_was_reported_is_met_by_what_it_was_reported_of(distance):
    assert meets(distance, 1 - distance)


def test_a_total_variation_of_just_what_is_left_meets():
    found, _ = run([0.0, *(0.2 if k <= 10 else 0.9 for k in range(1, EMPTY + 1))], 0.8)
    assert found == Crossing(10, 11)


def test_what_was_measured_before_never_changes_the_path():
    curve = [0.0] + [(k * 37 % 101) / 101 for k in range(1, EMPTY + 1)]
    alone, _ = run(curve, 0.8)
    everything = dict(enumerate(curve))
    assert search(0.8, everything.get) == alone


def test_curves_like_those_of_small_models_take_few_probes():
    counts = [len(run(rising(cross, 4), 0.8)[1]) - 2 for cross in range(6, 40)]
    assert sum(counts) / len(counts) <= 5


@pytest.mark.parametrize("fidelity", [0.0, -0.1, 1.01, float("nan")])
def test_a_fidelity_outside_its_range_is_refused(fidelity):
    with pytest.raises(BadInput, match=r"a share in \(0, 1\]"):
        check_fidelity(fidelity)


def test_the_lattice_and_the_grid_are_those_of_the_method():
    assert len(LATTICE) == 126
    assert LATTICE[0] == 1
    assert LATTICE[25] == pytest.approx(0.1)
    assert LATTICE[125] == pytest.approx(1e-5)
    assert len(SWEEP_GRID) == 27
    assert sorted(SWEEP_GRID) == list(SWEEP_GRID)
