"""Correlations and means with 95% intervals, over predictions that come from texts.

Predictions of one text are not independent of each other, so intervals are percentile bootstraps that draw whole groups
(texts) with replacement; without groups each observation is its own. Ranks, correlations, bootstraps and trends are
SciPy's.
"""

import math
import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
RESAMPLES = 1000
# Observations of a number, and groups of a bootstrap: the percentiles of fewer are far too close together.
FEWEST, FEWEST_GROUPS = 4, 10
# Of one step of a mean's bootstrap.
BATCH_NUMBERS = 2_000_000
# Pairs of points a trend is the median slope of grow with the square of the points.
MOST_TREND = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: The number; ``None`` if there are fewer than `FEWEST` observations, or one of the variables is constant.
        low: Lower end of its 95% interval; ``None`` without a number, or with too few groups (`FEWEST_GROUPS` of a
            bootstrap, `FEWEST` of Wilson's).
        high: Upper end, likewise.
        n: Observations.
        groups: Groups they come from; ``n`` where each is its own.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    groups: int

    def excludes(self, number: float) -> bool:
        """Whether the interval is there and does not hold ``number``."""
        return self.low is not None and self.high is not None and not self.low <= number <= self.high


@dataclass(frozen=True, slots=True)
class Trend:
    """A straight line by ranks of slopes: the median of the slopes of all pairs (Theil and Sen).

    Attributes:
        slope: Of the line.
        intercept: Its height at 0.
    """

    slope: float
    intercept: float


Column = Sequence[float] | np.ndarray


def spearman(
    x: Column, y: Column, groups: Sequence[Hashable] | None = None, *, given: Sequence[Column] = (), seed: int = 0
) -> Estimate:
    """Spearman's rank correlation of ``x`` and ``y``, partial if there are columns ``given``.

    The partial correlation is that of the ranks, from the inverse of their correlation matrix.

    Args:
        x: Finite numbers.
        y: As many.
        groups: Of each observation; ``None`` for independent ones.
        given: Columns to control for, as long.
        seed: Of the bootstrap.
    """
    return bootstrapped(np.column_stack([x, y, *given]), correlation, groups, seed)


def mean(values: Column, groups: Sequence[Hashable] | None = None, *, seed: int = 0) -> Estimate:
    """The mean of finite ``values``."""
    given = np.asarray(values, float)
    members = members_of(groups, len(given))
    if len(given) < FEWEST:
        return Estimate(None, None, None, len(given), len(members))
    value = float(given.mean())
    if len(members) < FEWEST_GROUPS:
        return Estimate(value, None, None, len(given), len(members))
    made = stats.bootstrap(
        (np.array([given[some].sum() for some in members]), np.array([len(some) for some in members])),
        lambda sums, counts, axis: sums.sum(axis) / counts.sum(axis),
        paired=True,
        batch=max(1, BATCH_NUMBERS // len(members)),
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return Estimate(value, *ends(made.bootstrap_distribution), len(given), len(members))


def share(flags: Sequence[bool] | np.ndarray, groups: Sequence[Hashable] | None = None, *, seed: int = 0) -> Estimate:
    """The share of ``flags`` that are true.

    The interval is Wilson's where each is its own group; also where all are the same, which resampling would never see
    differ, with groups for observations. Else it is that of `mean`.
    """
    given = np.asarray(flags, float)
    members = members_of(groups, len(given))
    varied = len(given) > 0 and np.ptp(given) > 0
    if len(members) < FEWEST or (varied and len(members) < len(given)):
        return mean(given, groups, seed=seed)
    value = float(given.mean())
    ends = stats.binomtest(round(value * len(members)), len(members)).proportion_ci(LEVEL, "wilson")
    return Estimate(value, float(ends.low), float(ends.high), len(given), len(members))


def bootstrapped(
    rows: np.ndarray, statistic: Callable[[np.ndarray], float], groups: Sequence[Hashable] | None, seed: int
) -> Estimate:
    """``statistic`` of ``rows`` (an observation each), with the percentiles of its values on groups drawn anew.

    Draws on which the statistic is not defined are left out.
    """
    members = members_of(groups, len(rows))
    value = statistic(rows) if len(rows) >= FEWEST else math.nan
    if not math.isfinite(value):
        return Estimate(None, None, None, len(rows), len(members))
    if len(members) < FEWEST_GROUPS:
        return Estimate(value, None, None, len(rows), len(members))
    alone = len(members) == len(rows)

    def of_draw(drawn: np.ndarray) -> float:
        chosen = drawn.astype(int)
        return statistic(rows[chosen if alone else np.concatenate([members[index] for index in chosen])])

    with warnings.catch_warnings():
        # Draws without the statistic leave SciPy's own interval undefined; ours is of the others.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        made = stats.bootstrap(
            *((np.arange(len(members)),), of_draw),
            vectorized=False,
            n_resamples=RESAMPLES,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    return Estimate(value, *ends(made.bootstrap_distribution), len(rows), len(members))


def ends(distribution: np.ndarray) -> tuple[float, float]:
    """The percentiles of a bootstrap's values that bound its interval."""
    outside = 50 * (1 - LEVEL)
    low, high = np.nanpercentile(distribution, [outside, 100 - outside])
    return float(low), float(high)


def members_of(groups: Sequence[Hashable] | None, count: int) -> list[np.ndarray]:
    """The observations of each group, groups in the order they are met."""
    if groups is None:
        return list(np.arange(count).reshape(-1, 1))
    found: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        found.setdefault(group, []).append(index)
    return [np.array(indices) for indices in found.values()]


def correlation(rows: np.ndarray) -> float:
    """Spearman's correlation of the first two columns, controlled for the others; NaN if one is constant."""
    ranks = stats.rankdata(rows, axis=0)
    if (np.ptp(ranks, axis=0) == 0).any():
        return math.nan
    matrix = np.corrcoef(ranks, rowvar=False)
    if len(matrix) == 2:
        return float(matrix[0, 1])
    try:
        inverse = np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        return math.nan
    scale = inverse[0, 0] * inverse[1, 1]
    return float(-inverse[0, 1] / math.sqrt(scale)) if scale > 0 else math.nan


def trend(x: Column, y: Column, *, seed: int = 0) -> Trend | None:
    """The Theil-Sen line; of `MOST_TREND` points drawn with ``seed`` at most; ``None`` for a constant ``x``."""
    across, up = np.asarray(x, float), np.asarray(y, float)
    if len(across) > MOST_TREND:
        some = np.random.default_rng(seed).choice(len(across), MOST_TREND, replace=False)
        across, up = across[some], up[some]
    if len(across) < FEWEST or np.ptp(across) == 0:
        return None
    with np.errstate(invalid="ignore"):
        # Of the slope's interval, which is not asked for; many ties leave it undefined.
        found = stats.theilslopes(up, across)
    return Trend(float(found.slope), float(found.intercept))
