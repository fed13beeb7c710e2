"""Which training class the rows of each class of another dataset look like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from quadlib.diagnosis.evidence.features import summaries
from quadlib.diagnosis.evidence.observed.dataset import Items
from quadlib.diagnosis.limits import DEFAULT
from quadlib.diagnosis.subject import Unavailable

FEWEST_ROWS = 40


@dataclass(frozen=True)
class ClassMatch:
    """Share of the other rows that lie nearest to the training rows of their own index, and of the
    index that the best one-to-one exchange of indices gives them; exchanged: index -> index of that
    exchange where they differ; distance: of those rows to the class they match, relative to that of
    training rows which were left out to their own.
    """

    own: float
    best: float
    exchanged: dict[int, int]
    distance: float


def class_match(training: Items, other: Items) -> ClassMatch:
    """Compares the classes of two datasets by their raw features; raises Unavailable where labels
    or rows are too few.
    """
    if training.label is None:
        raise Unavailable("the labels of the training dataset are not known")
    arrays, labels = other.arrays, other.arrays.get(training.label)
    paths = [p for p, a in training.streams.items() if a.dtype.kind == "f" and p in arrays]
    if labels is None or not paths or len(labels) < FEWEST_ROWS:
        raise Unavailable("the other dataset has no labels or streams of the same names")
    rows = np.concatenate([_features(training.streams[p]) for p in paths], axis=1)
    others = np.concatenate([_features(arrays[p]) for p in paths], axis=1)
    if rows.shape[1] != others.shape[1]:
        raise Unavailable("the streams of the two datasets differ in shape")
    mean, deviation = rows.mean(0), rows.std(0) + 1e-9
    rows, others = (rows - mean) / deviation, (others - mean) / deviation
    classes = np.unique(training.labels)
    half = np.arange(len(rows)) % 2 == 0
    left_out = _distances(rows[half], training.labels[half], rows[~half], classes)
    table = _distances(rows, training.labels, others, classes)
    nearest = classes[table.argmin(1)]
    names = np.unique(labels)
    counts = np.array([[(nearest[labels == a] == b).sum() for b in classes] for a in names])
    place, match = linear_sum_assignment(-counts)
    exchanged = {
        int(names[i]): int(classes[j])
        for i, j in zip(place, match, strict=True)
        if names[i] != classes[j] and counts[i, j]
    }
    moved = np.isin(labels, list(exchanged)) & (
        nearest == np.array([exchanged.get(int(label), -1) for label in labels])
    )
    usual = np.median(left_out.min(1))
    return ClassMatch(
        float((nearest == labels).mean()),
        float(counts[place, match].sum() / len(labels)),
        exchanged,
        float(np.median(table.min(1)[moved]) / usual) if moved.any() and usual > 0 else np.inf,
    )


def _features(array: np.ndarray) -> np.ndarray:
    values = summaries(np.nan_to_num(array.astype(np.float32)), DEFAULT)
    return np.asarray(values).reshape(len(array), -1)


def _distances(
    rows: np.ndarray, labels: np.ndarray, others: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """(n_others, n_classes) from each row to the mean of each class; infinite to an empty one."""
    table = np.full((len(others), len(classes)), np.inf)
    for place, code in enumerate(classes):
        if (labels == code).any():
            table[:, place] = np.linalg.norm(others - rows[labels == code].mean(0), axis=1)
    return table
