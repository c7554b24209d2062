"""Numbers of a corpus with their intervals, which draw whole texts, a minimal pair as one; and what they are of."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from density.findings.data import GRID, along
from density.statistics import Estimate, mean, share, spearman


def place(size: float) -> int:
    """Where a size of the sweep is in `GRID`."""
    return int(np.flatnonzero(np.isclose(GRID, size, rtol=1e-9))[0])


def with_controls(swept: pd.DataFrame) -> pd.DataFrame:
    """The predictions whose controls were measured."""
    return swept[swept["curve_random_total_variation"].notna()]


def shares(rows: pd.DataFrame, column: str) -> np.ndarray:
    """What share of a trace's edges are of a kind or depth, along the sizes; NaN of an empty trace."""
    return along(rows, column) / along(rows, "curve_edges")


def covered(rows: pd.DataFrame, column: str) -> np.ndarray:
    """What share of the full graph's edges of a kind is in a trace, along the sizes; NaN of an empty trace."""
    found = along(rows, column)
    return found / found[:, -1:]


def difference(rows: pd.DataFrame, control: str) -> np.ndarray:
    """A control's total variation less the trace's, along the sizes; NaN where the trace is empty."""
    return along(rows, control) - along(rows, "curve_total_variation")


def row_means(values: np.ndarray) -> np.ndarray:
    """The mean of each row's numbers; NaN where it has none."""
    counts = (~np.isnan(values)).sum(axis=1)
    return np.where(counts, np.nansum(values, axis=1) / np.maximum(counts, 1), np.nan)


def mean_of(rows: pd.DataFrame, column: str) -> Estimate:
    """A column's mean, its interval by texts; a minimal pair is one."""
    return mean(rows[column].to_numpy(float), rows["group"].tolist())


def mean_along(rows: pd.DataFrame, values: np.ndarray) -> Estimate:
    """The mean of a value a prediction, of those that have one; its interval by texts."""
    there = ~np.isnan(values)
    return mean(values[there], rows["group"][there].tolist())


def share_along(rows: pd.DataFrame, flags: np.ndarray) -> Estimate:
    """How many of the predictions that have a flag have it at 1; the interval by texts."""
    there = ~np.isnan(flags)
    return share(flags[there] == 1, rows["group"][there].tolist())


def rho(rows: pd.DataFrame, x: pd.Series, column: str, given: Sequence[str] = ()) -> Estimate:
    """Spearman's correlation of ``x`` with a column, its interval by texts."""
    controls = [rows[name].to_numpy(float) for name in given]
    y = rows[column].to_numpy(float)
    return spearman(x.to_numpy(float), y, rows["group"].tolist(), given=controls)
