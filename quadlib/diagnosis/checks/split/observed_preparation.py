"""What a loop's inputs were scaled by: the samples that are trained on, or those of a test too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.diagnosis.checks.split.contracts import S13
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed import scales
from quadlib.diagnosis.evidence.observed.parts import tables
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check

MOST_VALUES = 1 << 23
MATTERS = 0.25  # from which a score can notice; less is a note
APART = 10.0  # times what is exact, which train's own figures are away


@check(S13, "the inputs at hand were scaled by what is trained on alone", phase="variables")
def scaled_together(x: Examination) -> Iterator[Finding]:
    for part in tables(x.record):
        own, rows = part.trained.name, part.trained.values
        names = ", ".join(array.name for array in part.evaluated)
        every = [rows, *(array.values for array in part.evaluated)]
        if rows.dtype.kind != "f" or sum(table.size for table in every) > MOST_VALUES:
            continue
        columns = [scales.columns(table) for table in every]
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


def _scaled(trained: np.ndarray, together: np.ndarray) -> tuple[str, float]:
    """How the columns are scaled where all rows together show it and those of train do not, and by
    how much train is off: in standard deviations, or of the range.
    """
    varied = scales.varied(together)
    if not scales.enough(varied):
        return "", 0.0
    one, every = trained[:, varied], together[:, varied]
    off = float(np.median(abs(one.mean(0))))
    if scales.nearly_all(scales.standardised(every)) and off > APART * scales.EXACT:
        return (
            "over all samples together every column has mean 0 and variance 1; over those of train "
            f"alone the means are {off:.2g} standard deviations off in the middle"
        ), off
    away = APART * scales.EXACT
    inside = (one.min(0) > away) | (one.max(0) < 1 - away)
    if scales.nearly_all(scales.ranged(every)) and inside.mean() > scales.MOST_COLUMNS_OTHERWISE:
        return (
            "over all samples together every column runs from 0 to 1; over those of train alone "
            f"{inside.mean():.0%} of the columns do not"
        ), float(np.median(one.min(0) + 1 - one.max(0)))
    return "", 0.0
