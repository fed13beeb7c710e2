"""How much of what evaluates was trained on, by the values of the samples."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

FEWEST_DISTINCT = 8  # values of a sample, so that two that are equal are so by no chance
MOST_VALUES = 1 << 24  # of what is trained on
STRETCH = 8  # samples in a row that are equal in both
LONGEST = 1 << 21  # stretches of what is trained on
MOST_JUDGED = 256  # samples of what evaluates, whose stretches are looked for
RESOLVED = 1 << 12  # steps of the ratio of two changes: coarser than float32 rounds
OVERLAP = 0.2  # share of a sample's stretches, from which it overlaps
MOST_SIBLINGS = 5  # near copies of one sample; as many may be a whole class where classes are small
APART = 4.0  # distance of the next ones, in those of the near copies
FEWEST_ROWS = 40


def copies(trained: np.ndarray, evaluated: np.ndarray) -> np.ndarray:
    """(m,) which samples that evaluate are trained on, value for value."""
    if trained.size > MOST_VALUES:
        return np.zeros(len(evaluated), bool)
    equal = equal_rows(trained, evaluated)
    rich = [len(np.unique(evaluated[k])) >= FEWEST_DISTINCT for k in np.flatnonzero(equal)]
    equal[equal] = rich
    return equal


def equal_rows(trained: np.ndarray, evaluated: np.ndarray) -> np.ndarray:
    """(m,) which rows that evaluate are among those that are trained on; all where these are too
    many to look at.
    """
    if trained.size > MOST_VALUES:
        return np.ones(len(evaluated), bool)
    known = set(_rows(trained))
    return np.array([row in known for row in _rows(evaluated)], bool)


def overlaps(trained: np.ndarray, evaluated: np.ndarray) -> float:
    """The share of the samples that evaluate, copies aside, of which a part is a part of one that
    is trained on; 0 of what is no series: (n, time), (n, channels, time) or (n, time, channels).
    """
    rows = np.linspace(0, len(evaluated) - 1, min(len(evaluated), MOST_JUDGED)).astype(int)
    judged = evaluated[rows][~copies(trained, evaluated[rows])]
    if not len(judged) or trained.dtype.kind != "f":
        return 0.0
    return max(
        (
            _overlap(one, other)
            for one, other in zip(_series(trained), _series(judged), strict=True)
        ),
        default=0.0,
    )


def near_copies(trained: np.ndarray, evaluated: np.ndarray) -> float:
    """The share of the samples that evaluate, copies aside, that have at most MOST_SIBLINGS samples
    near them among those that are trained on, and no other within APART times that distance.

    Of points that fill m dimensions evenly, the next neighbour lies r times as far as the k-th with
    probability r^(-k m): at m = 1 that is a third of them, over all k, and at m = 5 a thousandth.
    Both parts in units of the deviation of each column of what is trained on.
    """
    rows = np.linspace(0, len(evaluated) - 1, min(len(evaluated), MOST_JUDGED)).astype(int)
    judged = evaluated[rows][~copies(trained, evaluated[rows])]
    few = min(len(judged), len(trained)) < FEWEST_ROWS
    many = max(trained.size, len(judged) * len(trained)) > MOST_VALUES
    if few or many or trained.dtype.kind not in "fu":
        return 0.0
    known, asked = (
        np.asarray(part, np.float64).reshape(len(part), -1) for part in (trained, judged)
    )
    scale = known.std(0)
    known, asked = (part[:, scale > 0] / scale[scale > 0] for part in (known, asked))
    squares = (asked**2).sum(1)[:, None] + (known**2).sum(1) - 2 * asked @ known.T
    nearest = np.sort(np.partition(squares, MOST_SIBLINGS, axis=1)[:, : MOST_SIBLINGS + 1], axis=1)
    distances = np.sqrt(nearest.clip(min=0))
    steps = distances[:, 1:] / distances[:, :-1].clip(min=np.finfo(float).tiny)
    return float(((steps > APART) & (distances[:, 1:] > 0)).any(1).mean())


def _overlap(trained: np.ndarray, judged: np.ndarray) -> float:
    length = trained.shape[1] - STRETCH + 1
    if length < 2 * STRETCH or len(trained) * length > LONGEST:
        return 0.0
    (known, alive), (asked, moving) = _stretches(trained), _stretches(judged)
    # known at another place than its own, as a window that was cut later has it: at their own
    # place columns of few values agree by chance
    total, own = np.unique(known[alive], return_counts=True), np.zeros(asked.shape, int)
    for place in range(asked.shape[1]):
        here = np.unique(known[alive[:, place], place], return_counts=True)
        own[:, place] = _times(asked[:, place], *here)
    shared = moving & (_times(asked, *total) > own)
    enough = moving.sum(1) >= STRETCH
    return float((enough & (shared.sum(1) >= OVERLAP * moving.sum(1).clip(1))).mean())


def _times(asked: np.ndarray, numbers: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """How often each number is there, by the sorted distinct ones that are and their counts."""
    if not len(numbers):
        return np.zeros(asked.shape, int)
    place = np.searchsorted(numbers, asked).clip(max=len(numbers) - 1)
    return np.where(numbers[place] == asked, counts[place], 0)


def _stretches(series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, positions): a number that tells a stretch by its shape, the same where a window was
    shifted and scaled as a whole, and whether it has one: it moves at each place, and not evenly.
    """
    steps = np.diff(np.asarray(series, np.float64), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = steps[:, 1:] / steps[:, :-1]
    moves = np.isfinite(ratios) & (ratios != 0)
    mantissa, exponent = np.frexp(np.where(moves, ratios, 1.0))
    shape = np.rint(mantissa * RESOLVED) + 2 * RESOLVED * exponent
    windows = sliding_window_view(shape, STRETCH - 2, axis=1)
    number = np.zeros(windows.shape[:2])
    for place in range(STRETCH - 2):  # in one order, so that equal values give equal numbers
        number += windows[..., place] * np.cos(place + 1.0)
    moving = sliding_window_view(moves, STRETCH - 2, axis=1).all(-1)
    return number, moving & (windows != windows[..., :1]).any(-1)


def _series(table: np.ndarray) -> list[np.ndarray]:
    """(n, time) candidates: time is the last axis, or the one before."""
    if table.ndim == 2:
        return [table]
    return [table[:, 0, :], table[:, :, 0]] if table.ndim == 3 else []


def _rows(table: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in np.ascontiguousarray(table)]
