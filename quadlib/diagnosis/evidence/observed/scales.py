"""By which samples the columns of a table were scaled, as their own values show."""

from __future__ import annotations

import numpy as np

FEWEST_COLUMNS = 2
FEWEST_DISTINCT = 10  # values of a column; others may be codes, whose ends are 0 and 1 anyway
MOST_COLUMNS_OTHERWISE = 0.1  # columns that are constant, or were left as they are
EXACT = 1e-4  # float32 sums


def columns(table: np.ndarray) -> np.ndarray:
    """(n, columns) of a table; of series and pictures the channels, each moment or place a row."""
    if table.ndim == 2:
        return table.astype(np.float64)
    if table.ndim == 3:
        last = table if table.shape[2] < table.shape[1] else table.transpose(0, 2, 1)
        return last.reshape(-1, last.shape[2]).astype(np.float64)
    if table.ndim == 4:
        last = table if table.shape[3] < table.shape[1] else table.transpose(0, 2, 3, 1)
        return last.reshape(-1, last.shape[3]).astype(np.float64)
    return np.zeros((len(table), 0))


def varied(table: np.ndarray) -> np.ndarray:
    """Which columns have many values, all finite."""
    return np.array([np.isfinite(c).all() and _distinct(c) for c in table.T], bool)


def standardised(table: np.ndarray) -> np.ndarray:
    """Which columns have mean 0 and variance 1, by n or by n - 1."""
    few = 2 / len(table)
    exact: np.ndarray = (abs(table.mean(0)) < EXACT) & (abs(table.var(0) - 1) < EXACT + few)
    return exact


def ranged(table: np.ndarray) -> np.ndarray:
    """Which columns run from 0 to 1."""
    exact: np.ndarray = (abs(table.min(0)) < EXACT) & (abs(table.max(0) - 1) < EXACT)
    return exact


def nearly_all(which: np.ndarray) -> bool:
    return bool(which.mean() > 1 - MOST_COLUMNS_OTHERWISE)


def enough(which: np.ndarray) -> bool:
    """Whether so many of a table's columns are varied that their scale tells something."""
    return int(which.sum()) >= max(FEWEST_COLUMNS, (1 - MOST_COLUMNS_OTHERWISE) * len(which))


def _distinct(column: np.ndarray) -> bool:
    return len(np.unique(column[:1000])) >= FEWEST_DISTINCT
