"""Whether what evaluates was scaled as what is trained on, by the values that a loop holds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.diagnosis.checks.evaluation.contracts import E22
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed import scales
from quadlib.diagnosis.evidence.observed.parts import tables
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check

MOST_VALUES = 1 << 23


@check(E22, "what evaluates was not scaled by its own samples", phase="variables")
def scaled_apart(x: Examination) -> Iterator[Finding]:
    for part in tables(x.record):
        own, rows = part.trained.name, part.trained.values
        for other in part.evaluated:
            if rows.dtype.kind != "f" or rows.size + other.values.size > MOST_VALUES:
                continue
            how = _own_scale(scales.columns(rows), scales.columns(other.values))
            if how:
                yield E22.broken(
                    "warning",
                    f"{other.name} was scaled by its own samples, and {own} by others",
                    f"the variables {own} and {other.name}",
                    (f"in each of the two alone nearly every column {how}",),
                    "fit the scaling on what is trained on, and apply that one to both",
                    ruled_out=("chance: two samples of one kind differ by more",),
                    explains=("a value that means one thing in training and another in the score",),
                )
                return


def _own_scale(trained: np.ndarray, evaluated: np.ndarray) -> str:
    """What every column of both does, as only a scaling by each one's own rows makes it."""
    varied = scales.varied(trained) & scales.varied(evaluated)
    if not scales.enough(varied):
        return ""
    both = trained[:, varied], evaluated[:, varied]
    if all(scales.nearly_all(scales.standardised(table)) for table in both):
        return "" if any(map(_in_groups, both)) else "has mean 0 and variance 1"
    if all(scales.nearly_all(scales.ranged(table)) for table in both):
        return "" if any(map(_clipped, both)) else "runs from 0 to 1"
    return ""


def _in_groups(table: np.ndarray) -> bool:
    """Whether its first rows alone have mean 0 in every column too: each sample, session or person
    was scaled by itself, which needs nothing of train.
    """
    means = (
        table.cumsum(0)[: -len(table) // 20]
        / np.arange(1, len(table) + 1)[: -len(table) // 20, None]
    )
    return bool((abs(means) < scales.EXACT).all(1).any())


def _clipped(table: np.ndarray) -> bool:
    """Whether several rows lie at an end, as those of pictures do: 0 and 1 are their own bounds."""
    at_ends = (table == table.min(0)).sum(0), (table == table.max(0)).sum(0)
    return bool(np.median(at_ends) > 1)
