"""Scores of embeddings against a gallery: fused, per class, per modality, across modalities, and
the worst recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from quadlib.config import EvaluateSettings
from quadlib.data.samples import SampleTable
from quadlib.evaluation import resampled
from quadlib.evaluation.crossed import (
    accuracy_of,
    alarm_interval,
    class_f1_of,
    f1_of,
    session_interval,
)
from quadlib.evaluation.embed import EmbeddingSet
from quadlib.evaluation.intervals import SessionBootstrap
from quadlib.evaluation.metrics import (
    NO_NORMAL_CLASS,
    Classification,
    ClassScore,
    alignment,
    auprc,
    auroc,
    classification,
    effective_rank,
    one_class_reason,
    uniformity,
)
from quadlib.evaluation.neighbours import class_nearness
from quadlib.evaluation.record import WorstRecording
from quadlib.evaluation.retrieval import cross_modal_map_at_r, knn_and_retrieval
from quadlib.evaluation.score import Score
from quadlib.evaluation.subsets import knn_scores

WORST = 10


@dataclass(frozen=True)
class FusedScores:
    """What the fused embeddings say of the queries: predicted codes (n,), nearness to each class
    (n, n_classes), and the scores.
    """

    predictions: np.ndarray
    nearness: np.ndarray
    classification: Classification
    scores: dict[str, Score]


def undefined_reason(
    gallery: EmbeddingSet, queries: EmbeddingSet, class_names: Sequence[str]
) -> str:
    """Why classification and retrieval mean nothing here, or ""."""
    return one_class_reason(gallery.labels, class_names, "the gallery") or one_class_reason(
        queries.labels, class_names
    )


def score_fused(
    gallery: EmbeddingSet,
    queries: EmbeddingSet,
    class_names: Sequence[str],
    neighbours: int,
    bootstrap: SessionBootstrap,
    normal: int | None = None,
) -> FusedScores:
    """kNN classification, retrieval, the normal class against all others, and geometry of the fused
    embeddings, with intervals over sessions; `normal` is the code of the normal class.
    """
    truth, reason = queries.labels, undefined_reason(gallery, queries, class_names)
    predictions, ranking = knn_and_retrieval(
        queries.fused, truth, gallery.fused, gallery.labels, neighbours
    )
    nearness = class_nearness(
        queries.fused, gallery.fused, gallery.labels, len(class_names), neighbours
    )
    result = classification(truth, predictions, class_names, undefined=reason)
    ranked = dict.fromkeys(ranking.means(), Score.undefined(reason)) if reason else ranking.means()
    defect, suspicion = _defects(truth, nearness, normal)
    no_alarm = Score.undefined(NO_NORMAL_CLASS)
    scores = {
        "accuracy": result.accuracy,
        "macro_f1": result.macro_f1,
        **ranked,
        "auroc": no_alarm if defect is None else auroc(defect, suspicion),
        "auprc": no_alarm if defect is None else auprc(defect, suspicion),
    }
    for name, statistic in (("macro_f1", f1_of), ("accuracy", accuracy_of)):
        scores[name] = session_interval(
            scores[name], bootstrap, (truth, predictions), len(class_names), statistic
        )
    scores["map_at_r"] = bootstrap.interval(
        scores["map_at_r"], resampled.mean(bootstrap, ranking.average_precision_at_r)
    )
    for name, area in (("auroc", resampled.auroc), ("auprc", resampled.auprc)):
        if defect is not None:
            scores[name] = alarm_interval(scores[name], bootstrap, defect, suspicion, area)
    scores |= {
        "alignment": alignment(queries.fused, truth),
        "uniformity": uniformity(queries.fused),
        "effective_rank": effective_rank(queries.fused),
    }
    return FusedScores(predictions, nearness, result, scores)


def class_intervals(
    fused: FusedScores, queries: EmbeddingSet, bootstrap: SessionBootstrap
) -> list[ClassScore]:
    """The scores per class, with an interval of F1 where the class has two sessions or more."""
    answers = (queries.labels, fused.predictions)
    count = len(fused.classification.per_class)

    def with_interval(code: int, score: ClassScore) -> ClassScore:
        sessions = np.unique(bootstrap.session[queries.labels == code])
        if score.f1.defined and len(sessions) < 2:
            return replace(
                score, f1=replace(score.f1, reason="no interval: the class has one session here")
            )
        f1 = session_interval(score.f1, bootstrap, answers, count, class_f1_of(code))
        return replace(score, f1=f1)

    return [with_interval(code, score) for code, score in enumerate(fused.classification.per_class)]


def score_modalities(
    gallery: EmbeddingSet, queries: EmbeddingSet, table: SampleTable, settings: EvaluateSettings
) -> dict[str, dict[str, Score]]:
    """accuracy, macro_f1 and map_at_r of each modality's own embedding, over the recordings that
    have it.
    """
    result = {}
    for m, name in enumerate(table.modalities):
        known, asked = gallery.take(gallery.present[:, m]), queries.take(queries.present[:, m])
        result[name] = knn_scores(
            asked.by_modality[:, m],
            asked.labels,
            asked.rows,
            known.by_modality[:, m],
            known.labels,
            table,
            settings,
        )
    return result


def score_crossing(
    gallery: EmbeddingSet, queries: EmbeddingSet, class_names: Sequence[str]
) -> tuple[Score, np.ndarray]:
    """MAP@R of one modality searching another: the mean over ordered pairs, and the matrix (M, M),
    NaN where undefined.
    """
    mean, pairs = cross_modal_map_at_r(
        queries.by_modality,
        queries.present,
        queries.labels,
        gallery.by_modality,
        gallery.present,
        gallery.labels,
    )
    reason = undefined_reason(gallery, queries, class_names)
    return (Score.undefined(reason), np.full_like(pairs, np.nan)) if reason else (mean, pairs)


def mean_weights(queries: EmbeddingSet, modalities: Sequence[str]) -> dict[str, float]:
    """Mean fusion weight of each modality over the recordings that have it."""
    return {
        name: float(queries.weights[queries.present[:, m], m].mean())
        for m, name in enumerate(modalities)
        if queries.present[:, m].any()
    }


def worst_recordings(
    fused: FusedScores, queries: EmbeddingSet, table: SampleTable
) -> list[WorstRecording]:
    """The recordings that lie nearest to a wrong class compared with their own, worst first."""
    rows = np.arange(len(queries))
    same_class = fused.nearness[rows, queries.labels]
    others = fused.nearness.copy()
    others[rows, queries.labels] = -np.inf
    closest = others.max(axis=1, initial=-np.inf)
    margin = same_class - np.where(np.isfinite(closest), closest, -1.0)
    frame = table.frame.iloc[queries.rows]
    ids, groups = frame["sample_id"].tolist(), frame["group"].tolist()
    return [
        WorstRecording(
            sample_id=str(ids[n]),
            group=str(groups[n]),
            row=int(queries.rows[n]),
            label=table.class_names[queries.labels[n]],
            predicted=table.class_names[fused.predictions[n]],
            margin=float(margin[n]) if np.isfinite(margin[n]) else None,
            weights={
                name: float(queries.weights[n, m])
                for m, name in enumerate(table.modalities)
                if queries.present[n, m]
            },
        )
        for n in np.argsort(margin, kind="stable")[:WORST]
    ]


def _defects(
    truth: np.ndarray, nearness: np.ndarray, normal: int | None
) -> tuple[np.ndarray | None, np.ndarray]:
    """Which recordings are not of the normal class, and how much nearer each is to the closest
    other class than to normal ones.

    In a gallery of normal recordings alone the score is the distance from them.
    """
    if normal is None:
        return None, np.zeros(len(truth))
    closest_defect = np.delete(nearness, normal, axis=1).max(axis=1, initial=-np.inf)
    known = nearness[:, normal]
    suspicion = np.where(np.isfinite(closest_defect), closest_defect, 0.0) - np.where(
        np.isfinite(known), known, -1.0
    )
    return truth != normal, suspicion
