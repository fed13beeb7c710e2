"""What stands beside a score: predictions of baselines for the recordings of one fold, fitted on
its own training recordings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from quadlib.data.samples import SampleTable
from quadlib.evaluation.baselines import MAJORITY, answers, visible_columns
from quadlib.evaluation.neighbours import knn_predict
from quadlib.evaluation.record import Evaluation

TREES = 300
NOT_ASKED = -1  # the code of a recording about which a rival says nothing


def rival_predictions(
    evaluation: Evaluation, table: SampleTable, seed: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and predicted codes (n,) of every rival, for the evaluated recordings in their order:
    the baselines of the table, each modality alone by its own embedding, and, where all modalities
    are vectors, plain classifiers on all their columns.
    """
    arrays, known = evaluation.arrays, evaluation.n_gallery
    train, asked = arrays["rows"][:known], arrays["rows"][known:]
    for name, columns in visible_columns(table).items():
        if columns or name == MAJORITY:
            shown = "most common class" if name == MAJORITY else f"{name} alone"
            yield shown, answers(table, columns, train, asked, seed).predictions
    if len(evaluation.modalities) > 1:
        for m, name in enumerate(evaluation.modalities):
            yield f"{name} alone", _alone(evaluation, m)
    features = vector_columns(table, train)
    if features is not None:
        for name, model in plain_classifiers(evaluation.neighbours, seed).items():
            model.fit(features[train], table.codes[train])
            yield name, model.predict(features[asked])


def plain_classifiers(neighbours: int, seed: int) -> dict[str, Any]:
    """Classifiers of scikit-learn at usual settings, on columns side by side."""
    return {
        f"{neighbours}-NN on all columns": make_pipeline(
            StandardScaler(), KNeighborsClassifier(neighbours)
        ),
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        "extra trees": ExtraTreesClassifier(TREES, random_state=seed),
    }


def vector_columns(table: SampleTable, train: np.ndarray) -> np.ndarray | None:
    """All columns of all modalities side by side, (rows, columns) float64, a missing vector at the
    mean of the training recordings; None where a modality is no vector.
    """
    if any(name not in table.arrays or spec.kind != "vector" for name, spec in _items(table)):
        return None
    parts = []
    for name, _ in _items(table):
        place = table.frame[name].to_numpy()
        values = table.arrays[name][np.maximum(place, 0)].astype(np.float64)
        there = train[place[train] >= 0]
        values[place < 0] = values[there].mean(axis=0) if len(there) else 0.0
        parts.append(values)
    return np.concatenate(parts, axis=1)


def _alone(evaluation: Evaluation, m: int) -> np.ndarray:
    """kNN by one modality's own embedding, NOT_ASKED where a recording lacks it."""
    arrays, known = evaluation.arrays, evaluation.n_gallery
    vectors, labels = arrays["by_modality"][:, m], arrays["labels"]
    have = arrays["present"][:, m].astype(bool)
    result = np.full(len(labels) - known, NOT_ASKED, dtype=np.int64)
    gallery, asked = np.flatnonzero(have[:known]), np.flatnonzero(have[known:])
    if len(gallery) and len(asked):
        result[asked] = knn_predict(
            vectors[known:][asked], vectors[gallery], labels[gallery], evaluation.neighbours
        )
    return result


def _items(table: SampleTable) -> list[tuple[str, Any]]:
    return list(table.modalities.items())
