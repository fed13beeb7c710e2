"""Scores of predictions and of embeddings; what is undefined says why instead of being 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
)

from quadlib.evaluation.neighbours import similarity_blocks
from quadlib.evaluation.retrieval import Retrieval as Retrieval
from quadlib.evaluation.retrieval import cross_modal_map_at_r as cross_modal_map_at_r
from quadlib.evaluation.retrieval import retrieval as retrieval
from quadlib.evaluation.score import Score

NO_NORMAL_CLASS = "the setting normal_class names no class"


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class; `precision` is undefined where it is never predicted, `recall` and `f1`
    where it has no recording.
    """

    name: str
    support: int
    precision: Score
    recall: Score
    f1: Score


@dataclass(frozen=True)
class Classification:
    """Scores of predicted against true class codes; macro-F1 is the mean over the classes that have
    recordings.
    """

    accuracy: Score
    macro_f1: Score
    per_class: list[ClassScore]
    confusion: np.ndarray  # (n_classes, n_classes) int64, rows true, columns predicted


def classification(
    codes: np.ndarray, predictions: np.ndarray, class_names: Sequence[str], *, undefined: str = ""
) -> Classification:
    """Accuracy, macro-F1, scores per class and confusion of class codes; overall scores need two
    classes among the true ones.

    `undefined` is a reason known outside, such as a gallery of one class, for which the overall
    scores mean nothing.
    """
    every = np.arange(len(class_names))
    if not len(codes):
        absent = Score.undefined("the split holds no recordings")
        return Classification(
            absent,
            absent,
            [ClassScore(name, 0, absent, absent, absent) for name in class_names],
            np.zeros((len(every), len(every)), dtype=np.int64),
        )
    precision, recall, f1, support = precision_recall_fscore_support(
        codes, predictions, labels=every, zero_division=np.nan
    )
    per_class = [
        ClassScore(
            name,
            int(support[code]),
            _score(precision[code], "never predicted"),
            _score(recall[code] if support[code] else np.nan, "no recording in this split"),
            _score(f1[code] if support[code] else np.nan, "no recording in this split"),
        )
        for code, name in enumerate(class_names)
    ]
    confusion = confusion_matrix(codes, predictions, labels=every)
    reason = undefined or one_class_reason(codes, class_names)
    if reason:
        return Classification(
            Score.undefined(reason), Score.undefined(reason), per_class, confusion
        )
    return Classification(
        Score(float(np.mean(codes == predictions))),
        Score(macro_f1(codes, predictions, len(class_names))),
        per_class,
        confusion,
    )


def macro_f1(codes: np.ndarray, predictions: np.ndarray, n_classes: int) -> float:
    """Mean F1 over the classes among the true codes; the same as scikit-learn's on those labels,
    and fast enough for a bootstrap.
    """
    true = np.bincount(codes, minlength=n_classes)
    predicted = np.bincount(predictions, minlength=n_classes)
    hits = np.bincount(codes[codes == predictions], minlength=n_classes)
    have = true > 0
    return float(np.mean(2 * hits[have] / (true[have] + predicted[have])))


def auroc(defect: np.ndarray, scores: np.ndarray) -> Score:
    """Area under the ROC curve of a defect score, higher for defect; undefined unless normal and
    other recordings are both there.
    """
    reason = _one_sided(defect)
    if reason:
        return Score.undefined(f"{reason}, and AUROC compares normal ones with the others")
    return Score(float(roc_auc_score(defect, scores)))


def auprc(defect: np.ndarray, scores: np.ndarray) -> Score:
    """Average precision of a defect score, higher for defect: the area under precision over recall;
    chance is the share of defects. Undefined where AUROC is.
    """
    reason = _one_sided(defect)
    if reason:
        return Score.undefined(f"{reason}, and AUPRC compares normal ones with the others")
    return Score(float(average_precision_score(defect, scores)))


def _one_sided(defect: np.ndarray) -> str:
    """Why nothing can be compared, or ""."""
    if not len(defect):
        return "the split holds no recordings"
    if np.all(defect):
        return "the split holds no recording of the normal class"
    return "" if np.any(defect) else "the split holds recordings of the normal class only"


def alignment(embeddings: np.ndarray, codes: np.ndarray) -> Score:
    """Mean squared distance between recordings of one class, 0 at best and 4 at most (Wang & Isola
    2020), from class sums.
    """
    _, codes = np.unique(codes, return_inverse=True)
    rows = np.asarray(embeddings, dtype=np.float64)
    count = np.bincount(codes).astype(np.float64)
    sums = np.zeros((len(count), rows.shape[1]))
    np.add.at(sums, codes, rows)
    squares = np.bincount(codes, weights=(rows**2).sum(axis=1))
    pairs = (count * (count - 1)).sum()
    if not pairs:
        return Score.undefined("no class has two recordings")
    # Sum over ordered pairs of |a|^2 + |b|^2 - 2ab, the pair of a row with itself adding nothing.
    total = (2 * count * squares - 2 * (sums**2).sum(axis=1)).sum()
    return Score(float(max(total, 0) / pairs))


def uniformity(embeddings: np.ndarray) -> Score:
    """Log of the mean Gaussian potential exp(-2 distance^2) over pairs: 0 when all are equal, lower
    when spread (Wang & Isola 2020).
    """
    if len(embeddings) < 2:
        return Score.undefined("it needs two recordings")
    ids = np.arange(len(embeddings))
    total = sum(
        float(np.exp(-2 * (2 - 2 * similarity)).sum())
        for _, similarity in similarity_blocks(embeddings, embeddings, ids, ids)
    )
    return Score(float(np.log(total / (len(ids) * (len(ids) - 1)))))


def effective_rank(embeddings: np.ndarray) -> Score:
    """Exponential of the entropy of the singular values (RankMe, Garrido et al. 2023); k - 1 is
    ideal for SupCon with k classes.
    """
    if not len(embeddings):
        return Score.undefined("the split holds no recordings")
    singular = np.linalg.svd(np.asarray(embeddings, dtype=np.float64), compute_uv=False)
    share = singular[singular > singular.max() * 1e-12] / singular.sum()
    return Score(float(np.exp(-(share * np.log(share)).sum())))


def one_class_reason(codes: np.ndarray, class_names: Sequence[str], what: str = "the split") -> str:
    """Why scores over these codes mean nothing, or "": none at all, or one class only."""
    present = np.unique(codes)
    if not len(present):
        return f"{what} holds no recordings"
    return (
        f"{what} holds one class only, {class_names[int(present[0])]}" if len(present) == 1 else ""
    )


def _score(value: float, reason: str) -> Score:
    return Score.undefined(reason) if np.isnan(value) else Score(float(value))
