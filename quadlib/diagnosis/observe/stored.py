"""Whether the arrays behind a loader stay as they are while it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from quadlib.diagnosis.observe.arrays import arrays_within, as_numpy

SAMPLED_ROWS = 64
MOST_BYTES = 16 << 20  # of the rows that are kept


@dataclass(frozen=True)
class Stored:
    """Rows of an array of numbers that a dataset holds, as they were when it was first read. path:
    what leads to it from the dataset.
    """

    path: str
    array: Any
    rows: np.ndarray
    values: np.ndarray

    def changed(self) -> np.ndarray:
        """Those of the rows that have other values now, of those that held several values."""
        now = _rows_of(self.array, self.rows)
        if now.shape != self.values.shape:
            return self.rows[:0]
        flat, other = (v.reshape(len(v), -1) for v in (self.values, now))
        differ = ~((flat == other) | (np.isnan(flat) & np.isnan(other))).all(1)
        varied = (flat != flat[:, :1]).any(1)
        return np.asarray(self.rows[differ & varied])


def stored_in(dataset: Any) -> list[Stored]:
    """Samples of the arrays of numbers that a dataset holds, one row an item."""
    found = []
    size = 0
    try:
        total = len(dataset)
    except TypeError:
        return []
    for path, array in arrays_within("dataset", dataset):
        if len(array) != total or getattr(array, "ndim", 0) < 2:
            continue
        rows = np.unique(np.linspace(0, total - 1, SAMPLED_ROWS).astype(int))
        values = _rows_of(array, rows)
        size += values.nbytes
        if values.dtype.kind == "f" and size <= MOST_BYTES:
            found.append(Stored(path, array, rows, values.copy()))
    return found


def _rows_of(array: Any, rows: np.ndarray) -> np.ndarray:
    return np.asarray(as_numpy(array)[rows])
