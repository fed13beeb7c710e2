"""How sure a score is whose predictions share sessions and models: variances by the jackknife over
both, crossed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy import stats

from quadlib.evaluation.intervals import SessionBootstrap
from quadlib.evaluation.score import Score

MOST_CLUSTERS = 500  # more are put together at random, which a jackknife allows

Statistic = Callable[[np.ndarray], np.ndarray]
Area = Callable[[SessionBootstrap, np.ndarray, np.ndarray], np.ndarray]


def class_sums(
    truth: np.ndarray, predictions: np.ndarray, clusters: np.ndarray, n_classes: int
) -> np.ndarray:
    """What macro-F1 is made of, by cluster: recordings of each class, predictions of it, and hits,
    (clusters, 3, n_classes).
    """
    n_clusters = int(clusters.max(initial=-1)) + 1
    hits = truth == predictions
    counted = [(truth, clusters), (predictions, clusters), (truth[hits], clusters[hits])]
    return np.stack(
        [
            np.bincount(where * n_classes + codes, minlength=n_clusters * n_classes).reshape(
                n_clusters, n_classes
            )
            for codes, where in counted
        ],
        axis=1,
    )


def f1_of(sums: np.ndarray) -> np.ndarray:
    """Macro-F1 (...) over the classes that have recordings, of sums (..., 3, n_classes)."""
    true, predicted, hits = np.moveaxis(np.asarray(sums, dtype=np.float64), -2, 0)
    have = true > 0
    score = np.where(have, 2 * hits / np.maximum(true + predicted, 1), 0.0)
    return score.sum(axis=-1) / np.maximum(have.sum(axis=-1), 1)


def accuracy_of(sums: np.ndarray) -> np.ndarray:
    """Share of hits (...), of sums (..., 3, n_classes)."""
    true, _, hits = np.moveaxis(np.asarray(sums, dtype=np.float64), -2, 0)
    return hits.sum(axis=-1) / np.maximum(true.sum(axis=-1), 1)


def recall_of(code: int) -> Statistic:
    """Recall of one class (...), of sums (..., 3, n_classes)."""

    def recall(sums: np.ndarray) -> np.ndarray:
        return sums[..., 2, code] / np.maximum(sums[..., 0, code], 1)

    return recall


def class_f1_of(code: int) -> Statistic:
    """F1 of one class (...), of sums (..., 3, n_classes)."""

    def f1(sums: np.ndarray) -> np.ndarray:
        true, predicted, hits = np.moveaxis(sums[..., code], -1, 0)
        return 2 * hits / np.maximum(true + predicted, 1)

    return f1


def session_interval(
    score: Score,
    bootstrap: SessionBootstrap,
    answers: tuple[np.ndarray, np.ndarray],
    n_classes: int,
    statistic: Statistic = f1_of,
) -> Score:
    """The score with its interval over the bootstrap's sessions, without drawing any: a resample
    that misses a class of few sessions would score fewer classes. Unchanged where no interval is
    asked for, or the score is undefined.
    """
    if not score.defined or not bootstrap.resamples:
        return score
    if bootstrap.n_sessions < 2:
        return replace(score, reason="no interval: all recordings are of one session")
    known = crossed_interval([answers], [bootstrap.session], n_classes, statistic)
    return replace(score, low=known.low, high=known.high)


def standard_error(
    truth: np.ndarray, predictions: np.ndarray, sessions: np.ndarray, n_classes: int
) -> float | None:
    """Of macro-F1, by leaving out one session at a time; None with a single session."""
    codes = _at_most(np.unique(sessions, return_inverse=True)[1])
    if codes.max(initial=0) < 1:
        return None
    return _jackknife(class_sums(truth, predictions, codes, n_classes), f1_of) ** 0.5


def alarm_interval(
    score: Score, bootstrap: SessionBootstrap, defect: np.ndarray, suspicion: np.ndarray, area: Area
) -> Score:
    """AUROC or AUPRC with its interval over the bootstrap's sessions, by leaving one out.

    Its degrees of freedom are those of the side with fewer sessions: two normal sessions say little
    however many others there are. Unchanged where no interval is asked for, or the score is
    undefined.

    Args:
        score: the area itself.
        bootstrap: its sessions count, no resample is drawn.
        defect: (n,) bool, recordings that are not of the normal class.
        suspicion: (n,), higher for defect.
        area: `resampled.auroc` or `resampled.auprc`.
    """
    if not score.defined or not bootstrap.resamples:
        return score
    fewest = min(len(np.unique(bootstrap.session[defect == side])) for side in (True, False))
    if fewest < 2:
        return replace(
            score,
            reason="no interval: it needs two sessions of the normal class and two of the others",
        )
    left = area(SessionBootstrap.leaving_one_out(_at_most(bootstrap.session)), defect, suspicion)
    half = float(stats.t.ppf(1 - bootstrap.tail, fewest - 1)) * _variance(left) ** 0.5
    value = score.value or 0.0
    return replace(score, low=max(value - half, 0.0), high=min(value + half, 1.0))


def crossed_interval(
    answers: Sequence[tuple[np.ndarray, np.ndarray]],
    clusters: Sequence[np.ndarray],
    n_classes: int,
    statistic: Statistic = f1_of,
    confidence: float = 0.95,
) -> Score:
    """A score of predictions, or the difference of two over the same recordings, with its t
    interval.

    The variance is that of two-way clusters (Cameron, Gelbach & Miller 2011): over sessions plus
    over models minus over both at once, each by leaving one cluster out (jackknife), and never
    below either alone. Where each session is tested by one model, sessions lie inside of models and
    the few models decide, with as few degrees of freedom.

    Args:
        answers: one pair (truth, predictions) of class codes (n,), or two: the second's score minus
            the first's.
        clusters: one or two columns (n,) of any values: sessions, and the model that answered.
        n_classes: how many classes the codes count.
        statistic: of sums as `class_sums` gives them.
        confidence: of the interval.

    Returns:
        The score with its interval, or with the reason why there is none.

    Example:
        >>> truth = np.tile([0, 1], 50)
        >>> session, model = np.repeat(np.arange(20), 5), np.repeat(np.arange(5), 20)
        >>> wrong = np.arange(100) % 9 == 0
        >>> str(crossed_interval([(truth, np.where(wrong, 1 - truth, truth))], [session, model], 2))
        '.880 [.83, .93]'
    """

    def measure(sums: np.ndarray) -> np.ndarray:
        parts = [statistic(sums[..., index, :, :]) for index in range(len(answers))]
        return parts[0] if len(parts) == 1 else parts[1] - parts[0]

    def sums_of(codes: np.ndarray) -> np.ndarray:
        return np.stack([class_sums(*pair, codes, n_classes) for pair in answers], axis=1)

    columns = [np.unique(column, return_inverse=True)[1].reshape(-1) for column in clusters]
    value = float(measure(sums_of(np.zeros(len(columns[0]), dtype=np.int64))[0]))
    if min(column.max(initial=-1) for column in columns) < 1:
        return Score(value, reason="no interval: it needs two sessions and two models")
    variances = [_jackknife(sums_of(_at_most(column)), measure) for column in columns]
    freedom = [int(min(column.max(), MOST_CLUSTERS - 1)) for column in columns]
    total = variances[0]
    if len(columns) == 2:
        both = columns[0] * (columns[1].max() + 1) + columns[1]
        shared = _jackknife(sums_of(_at_most(np.unique(both, return_inverse=True)[1])), measure)
        total = max(sum(variances) - shared, *variances)
    spread = sum(variance**2 / df for variance, df in zip(variances, freedom, strict=True))
    df = max(total**2 / spread, 1.0) if spread else 1.0
    half = float(stats.t.ppf((1 + confidence) / 2, df)) * total**0.5
    low = -1.0 if len(answers) == 2 else 0.0
    return Score(value, max(value - half, low), min(value + half, 1.0))


def mean_of_folds(scores: Sequence[Score], folds: int, confidence: float = 0.95) -> Score:
    """The mean of a figure over folds and seeds, with the t interval that allows for folds sharing
    their training recordings (Nadeau & Bengio 2003); the first reason where a fold has none.
    """
    values = [score.value for score in scores if score.value is not None]
    if len(values) < len(scores):
        return next(score for score in scores if not score.defined)
    mean = float(np.mean(values))
    if len(values) < 2:
        return Score(mean, reason="no interval: it needs two folds")
    spread = float(np.std(values, ddof=1)) * (1 / len(values) + 1 / (folds - 1)) ** 0.5
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * spread
    return Score(mean, max(mean - half, 0.0), min(mean + half, 1.0))


def _jackknife(sums: np.ndarray, measure: Statistic) -> float:
    """Variance of a measure of the sums over all clusters, from those with one left out."""
    return _variance(measure(sums.sum(axis=0) - sums))


def _variance(left: np.ndarray) -> float:
    """The jackknife's variance of a score, of its values with one cluster left out, (clusters,)."""
    return float((len(left) - 1) / len(left) * ((left - left.mean()) ** 2).sum())


def _at_most(codes: np.ndarray) -> np.ndarray:
    """Cluster codes, put together at random where they are more than can be held."""
    count = int(codes.max()) + 1
    if count <= MOST_CLUSTERS:
        return codes
    return np.random.default_rng(0xC1).permutation(np.arange(count) % MOST_CLUSTERS)[codes]
