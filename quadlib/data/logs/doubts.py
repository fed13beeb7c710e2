"""What a log may mean beside what is read: a clock without a name, several series in one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from quadlib.data.decoding.damage import DamageError
from quadlib.data.logs.cells import read_numbers
from quadlib.data.logs.clock import rises

MOST_SERIES = 64  # in one file, one under another


def may_be_clock(
    names: Sequence[str], columns: Sequence[pd.Series], channels: Collection[str], decimal: str
) -> list[str]:
    """A note on the first of these channels that grows from row to row, where none is the clock."""
    for place, (name, column) in enumerate(zip(names, columns, strict=True)):
        shown = name or f"column {place + 1}"
        if shown in channels and rises(column, decimal):
            return [f'{shown} rises in every row; where it is the clock: series_clock="{shown}"']
    return []


def check_one_series(
    path: Path, names: Sequence[str], columns: Sequence[pd.Series], seconds: np.ndarray
) -> None:
    """Rows of one time stamp that a column of words tells apart are no repeated readings. Raises
    DamageError.
    """
    stamps, count = np.unique(seconds, return_counts=True)
    if len(stamps) < 2 or np.median(count) < 2:
        return
    for name, column in zip(names, columns, strict=True):
        if not pd.api.types.is_string_dtype(column) or not 1 < column.nunique() <= MOST_SERIES:
            continue
        words = column.drop_duplicates()
        rows = pd.DataFrame({"stamp": seconds, "word": column.to_numpy()})
        if read_numbers(words, ".").text and not rows.duplicated().any():
            raise DamageError(
                path,
                f"holds one series under another: rows of the same time differ in {name} "
                f"({', '.join(map(repr, words[:3]))})",
                "export it with one column for each",
            )
