"""What a loop's inputs were scaled by: the samples that are trained on, or those of a test too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.diagnosis.checks.split.contracts import S13
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.parts import tables
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check

MOST_VALUES = 1 << 23
FEWEST_COLUMNS = 2
FEWEST_DISTINCT = 10  # values of a column; others may be codes, whose ends are 0 and 1 anyway
MOST_COLUMNS_OTHERWISE = 0.1  # columns that are constant, or were left as they are
EXACT = 1e-4  # float32 sums
MATTERS = 0.25  # from which a score can notice; less is a note
APART = 10.0  # times that, which train's own figures are away


@check(S13, "the inputs at hand were scaled by what is trained on alone", phase="observed")
def scaled_together(x: Examination) -> Iterator[Finding]:
    for part in tables(x.record):
        own, rows = part.trained.name, part.trained.values
        names = ", ".join(array.name for array in part.evaluated)
        every = [rows, *(array.values for array in part.evaluated)]
        if rows.dtype.kind != "f" or sum(table.size for table in every) > MOST_VALUES:
            continue
        columns = [_columns(table) for table in every]
        how, off = _scaled(columns[0], np.concatenate(columns))
        if how:
            yield S13.broken(
                "warning" if off > MATTERS else "note",
                f"the inputs were scaled by the samples of {names} too",
                f"the variables {own} and {names}",
                (how,),
                ruled_out=("chance: it is so in nearly every column",),
            )
            return


def _columns(table: np.ndarray) -> np.ndarray:
    """(n, columns) of a table; of series the channels: the shorter axis, each moment a row."""
    if table.ndim == 2:
        return table.astype(np.float64)
    if table.ndim == 3:
        last = table if table.shape[2] < table.shape[1] else table.transpose(0, 2, 1)
        return last.reshape(-1, last.shape[2]).astype(np.float64)
    return np.zeros((len(table), 0))


def _scaled(trained: np.ndarray, together: np.ndarray) -> tuple[str, float]:
    """How the columns are scaled where all rows together show it and those of train do not, and by
    how much train is off: in standard deviations, or of the range.
    """
    finite = np.isfinite(together).all(0)
    varied = [k for k in np.flatnonzero(finite) if _distinct(together[:, k])]
    if len(varied) < max(FEWEST_COLUMNS, (1 - MOST_COLUMNS_OTHERWISE) * together.shape[1]):
        return "", 0.0
    one, every = trained[:, varied], together[:, varied]
    few = 2 / len(every)  # of a variance that divides by n - 1
    centred = (abs(every.mean(0)) < EXACT) & (abs(every.var(0) - 1) < EXACT + few)
    off = float(np.median(abs(one.mean(0))))
    if centred.mean() > 1 - MOST_COLUMNS_OTHERWISE and off > APART * EXACT:
        return (
            "over all samples together every column has mean 0 and variance 1; over those of train "
            f"alone the means are {off:.2g} standard deviations off in the middle"
        ), off
    ends = (abs(every.min(0)) < EXACT) & (abs(every.max(0) - 1) < EXACT)
    inside = (one.min(0) > APART * EXACT) | (one.max(0) < 1 - APART * EXACT)
    if ends.mean() > 1 - MOST_COLUMNS_OTHERWISE and inside.mean() > MOST_COLUMNS_OTHERWISE:
        return (
            "over all samples together every column runs from 0 to 1; over those of train alone "
            f"{inside.mean():.0%} of the columns do not"
        ), float(np.median(one.min(0) + 1 - one.max(0)))
    return "", 0.0


def _distinct(column: np.ndarray) -> bool:
    return len(np.unique(column[:1000])) >= FEWEST_DISTINCT
