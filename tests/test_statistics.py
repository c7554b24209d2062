"""Correlations, means and trends: by hand, against SciPy and a simulation with known truth."""

import math

import numpy as np
import pytest
from scipy import stats

from density.statistics import Estimate, bootstrapped, mean, members_of, share, spearman, trend


def test_a_correlation_is_that_of_the_ranks():
    # Ranks of y: 1 2 4 3; d^2 sums to 2: 1 - 6*2/(4*15) = 0.8.
    found = spearman([1, 10, 100, 1000], [0.1, 0.2, 0.4, 0.3])
    assert found.value == pytest.approx(0.8)
    assert (found.n, found.groups) == (4, 4)


def test_with_ties_it_is_scipy_s():
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 5, 47), rng.integers(0, 7, 47)
    assert spearman(x, y).value == pytest.approx(stats.spearmanr(x, y).statistic)


def test_what_is_controlled_for_explains_nothing_any_more():
    rng = np.random.default_rng(5)
    common = rng.normal(size=401)
    x, y = common + rng.normal(size=401) / 3, common + rng.normal(size=401) / 3
    plain, partial = spearman(x, y), spearman(x, y, given=[common])
    assert plain.low is not None and plain.low > 0.7
    assert partial.value is not None and abs(partial.value) < 0.15
    assert not partial.excludes(0)


def test_a_partial_correlation_of_one_is_the_closed_form():
    rng = np.random.default_rng(7)
    x, y, z = rng.normal(size=(3, 31))
    xy, xz, yz = (stats.spearmanr(*pair).statistic for pair in ((x, y), (x, z), (y, z)))
    expected = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
    assert spearman(x, y, given=[z]).value == pytest.approx(expected)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(11)
    held = 0
    for trial in range(80):
        x = rng.normal(size=61)
        found = mean(x, seed=trial)
        assert found.low is not None and found.high is not None
        held += found.low <= 0 <= found.high
    assert 68 <= held <= 80


def test_groups_are_drawn_whole_and_widen_the_interval():
    rng = np.random.default_rng(13)
    levels = np.repeat(rng.normal(size=13), 29)
    values, groups = levels + rng.normal(size=377) / 10, np.repeat(np.arange(13), 29)
    alone, grouped = mean(values), mean(values, list(groups))
    assert (alone.value, alone.n) == (grouped.value, grouped.n)
    assert (alone.groups, grouped.groups) == (377, 13)
    assert grouped.high - grouped.low > 3 * (alone.high - alone.low)


def test_too_little_to_tell_is_said():
    assert spearman([1, 2, 3], [1, 2, 3]) == Estimate(None, None, None, 3, 3)
    assert spearman([1, 1, 1, 1], [1, 2, 3, 4]).value is None
    few = spearman([1, 2, 3, 4], [1, 2, 4, 3], ["a", "a", "b", "b"])
    assert few.value == pytest.approx(0.8) and few.low is None and not few.excludes(0)
    assert mean([]).value is None


def test_draws_without_the_statistic_are_left_out():
    # A variable that is 0 but once is constant in about a third of all draws.
    found = spearman([0] * 9 + [1], range(10))
    assert found.low is not None and found.low > 0


def test_the_same_seed_gives_the_same_interval():
    x, y = np.random.default_rng(17).normal(size=(2, 23))
    assert spearman(x, y, seed=2) == spearman(x, y, seed=2) != spearman(x, y, seed=3)


def test_members_keep_their_order():
    assert [part.tolist() for part in members_of(["b", "a", "b"], 3)] == [[0, 2], [1]]


def test_a_trend_is_the_median_of_all_slopes():
    # y = 2x + 1, but for one point far off, which the median does not mind.
    x = np.arange(11.0)
    y = 2 * x + 1
    y[7] = 500
    found = trend(x, y)
    assert (found.slope, found.intercept) == (pytest.approx(2), pytest.approx(1))
    assert trend([1, 1, 1, 1, 1], [1, 2, 3, 4, 5]) is None


def test_a_trend_of_many_points_is_of_a_sample():
    x = np.linspace(0, 1, 5003)
    assert trend(x, 3 * x).slope == pytest.approx(3)


def test_any_statistic_can_be_bootstrapped():
    rows = np.arange(24.0).reshape(-1, 1)
    found = bootstrapped(rows, lambda some: float(np.median(some)), None, 0)
    assert found.value == 11.5 and found.low < 11.5 < found.high


def test_a_mean_s_interval_is_that_of_any_statistic_with_the_groups_drawn_whole():
    rng = np.random.default_rng(19)
    groups = np.repeat(np.arange(23), rng.integers(1, 7, 23))
    values = rng.normal(size=len(groups)) + groups / 10
    quick = mean(values, list(groups))
    plain = bootstrapped(values.reshape(-1, 1), lambda rows: float(rows.mean()), list(groups), 1)
    assert (quick.value, quick.n, quick.groups) == (pytest.approx(plain.value), plain.n, plain.groups)
    assert quick.low == pytest.approx(plain.low, abs=0.1) and quick.high == pytest.approx(plain.high, abs=0.1)


def test_a_share_of_all_is_not_certain():
    # Wilson's interval of n of n: from n / (n + z^2) to 1.
    found = share([True] * 30)
    assert (found.value, found.low) == (1.0, pytest.approx(30 / (30 + stats.norm.ppf(0.975) ** 2)))
    assert found.high == pytest.approx(1)
    grouped = share([False] * 30, [n // 5 for n in range(30)])
    assert grouped.high == pytest.approx(1 - share([True] * 6).low) and (grouped.n, grouped.groups) == (30, 6)


def test_a_share_within_groups_is_a_mean():
    flags, groups = [True, False, True, True] * 5, [n // 4 for n in range(20)]
    assert share(flags, groups) == mean(np.array(flags, float), groups)
    assert share([True, False]) == Estimate(None, None, None, 2, 2)
