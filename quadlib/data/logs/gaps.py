"""Readings that are none: the words and numbers that stand for one that is missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

# What loggers write where nothing was read, or too much: 9 in every digit, the ends of integers,
# the overload of oscilloscopes and of SCPI (9.9E37).
SENTINELS = np.array(
    [
        *(sign * 10.0**digits - sign for digits in range(3, 10) for sign in (1, -1)),
        *(-999.9, -999.99, -99.9, -9999.9, -6999.0, 7999.0, -7999.0, 9.9e37, -9.9e37, 1e30, -1e30),
        *(-32768.0, 32767.0, 65535.0, -2147483648.0, 2147483647.0, 4294967295.0),
    ]
)
FAR = 5.0  # ranges of the other readings between them and one that stands for none


def without_words(column: pd.Series, missing: Sequence[str]) -> pd.Series:
    """A column of text whose cells that are one of these words are empty."""
    if not missing:
        return column
    words = {word.strip().casefold() for word in missing}
    return column.mask(column.str.strip().str.casefold().isin(words), "")


def without_numbers(values: np.ndarray, missing: Sequence[str]) -> np.ndarray:
    """Numbers, NaN where they equal one of these words."""
    if not missing:
        return values
    numbers = pd.to_numeric(pd.Series(missing, dtype=str), errors="coerce").to_numpy(np.float64)
    return np.where(np.isin(values, numbers[~np.isnan(numbers)]), np.nan, values)


def sentinel(name: str, values: np.ndarray) -> str:
    """A note where a channel holds a number that seldom is a reading, far from all its others."""
    if (number := stand_in(values)) is None:
        return ""
    count = int((values == number).sum())
    return (
        f"{name} is {number:g} {count} time{'s' * (count > 1)}, far from its other "
        f'readings; where that stands for no reading: series_missing=["{number:g}"]'
    )


def stand_in(values: np.ndarray) -> float | None:
    """The least or greatest of values (n,) where it seldom is a reading, and far from all others;
    None where neither is.
    """
    known = values[np.isfinite(values)]
    if len(known) < 3:
        return None
    for extreme in (known.min(), known.max()):
        if not np.isclose(extreme, SENTINELS, rtol=1e-6, atol=0).any():
            continue
        others = known[known != extreme]
        if len(others) < 2 or np.ptp(others) == 0:
            continue
        if np.abs(others - extreme).min() > FAR * np.ptp(others):
            return float(extreme)
    return None
