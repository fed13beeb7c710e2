"""Scores of every resample of a bootstrap at once, from sums over its sessions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.evaluation.intervals import SessionBootstrap

BLOCK_ELEMENTS = 8_000_000


def mean(bootstrap: SessionBootstrap, values: np.ndarray) -> np.ndarray:
    """Mean of the values (n,) that are not NaN, in every resample (R,); NaN where none is drawn."""
    known = ~np.isnan(values)
    sums = bootstrap.totals(np.stack([np.where(known, values, 0.0), known], axis=1))
    return _ratio(sums[:, 0], sums[:, 1])


def auroc(bootstrap: SessionBootstrap, defect: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Area under the ROC curve in every resample (R,), ties counted half; NaN where one side is
    missing.

    A defect is above a good recording as often as their scores say, so it is one sum over the good
    ones below, in the order of the scores.
    """
    result = []
    for above, good in _levels(bootstrap, defect, scores):
        below = np.cumsum(good, axis=1) - good / 2
        result.append(_ratio((above * below).sum(axis=1), above.sum(axis=1) * good.sum(axis=1)))
    return np.concatenate(result) if result else np.zeros(0)


def auprc(bootstrap: SessionBootstrap, defect: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Average precision in every resample (R,), equal scores taken together; NaN where one side is
    missing.
    """
    result = []
    for bad, good in _levels(bootstrap, defect, -np.asarray(scores)):
        hits = np.cumsum(bad, axis=1)
        precision = _ratio(hits, hits + np.cumsum(good, axis=1))
        area = _ratio((bad * np.nan_to_num(precision)).sum(axis=1), hits[:, -1])
        result.append(np.where(good.any(axis=1), area, np.nan))
    return np.concatenate(result) if result else np.zeros(0)


def _levels(
    bootstrap: SessionBootstrap, defect: np.ndarray, scores: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """How many defects and how many others of each level of the scores, ascending, every resample
    drew: two arrays (some resamples, levels) at a time.
    """
    _, level = np.unique(scores, return_inverse=True)
    order = np.argsort(level, kind="stable")
    sorted_level, bad = level[order], np.asarray(defect, dtype=float)[order]
    starts = np.flatnonzero(np.diff(sorted_level, prepend=-1))
    rows = max(1, BLOCK_ELEMENTS // max(1, len(order)))
    for begin in range(0, len(bootstrap.times), rows):
        weight = bootstrap.times[begin : begin + rows][:, bootstrap.session[order]].astype(float)
        yield (
            np.add.reduceat(weight * bad, starts, axis=1),
            np.add.reduceat(weight * (1 - bad), starts, axis=1),
        )


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(
        numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=denominator > 0
    )
