"""Intervals over sessions and models: what they cover in simulations, and what has none."""

from __future__ import annotations

import numpy as np
import pytest

from quadlib.evaluation.crossed import accuracy_of, class_sums, crossed_interval, f1_of, recall_of
from quadlib.evaluation.metrics import macro_f1

CLASSES, FOLDS = 4, 5


def simulate(
    random: np.random.Generator, seeds: int, session_effect: float, model_effect: float
) -> tuple[np.ndarray, ...]:
    """Truth, predictions, session and model of 40 sessions of 10 recordings: 80 % are right, more
    or fewer in a session and by a model, and errors fall on the other classes alike.
    """
    session = np.repeat(np.arange(40), 10)
    truth = session % CLASSES
    of_session = random.normal(0, session_effect, 40)
    columns = []
    for seed in range(seeds):
        fold = np.empty(40, dtype=int)
        for code in range(CLASSES):
            members = random.permutation(np.arange(code, 40, CLASSES))
            fold[members] = np.arange(len(members)) % FOLDS
        of_model = random.normal(0, model_effect, FOLDS)
        right = random.random(400) < 0.8 + of_session[session] + of_model[fold[session]]
        other = (truth + random.integers(1, CLASSES, 400)) % CLASSES
        columns.append(
            (truth, np.where(right, truth, other), session, seed * FOLDS + fold[session])
        )
    return tuple(np.concatenate(column) for column in zip(*columns, strict=True))


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize(
    ("session_effect", "model_effect"), [(0, 0), (0.1, 0), (0, 0.05), (0.1, 0.05)]
)
def test_intervals_cover_the_truth(seeds: int, session_effect: float, model_effect: float) -> None:
    random = np.random.default_rng(1)
    covered = []
    for _ in range(120):
        truth, said, *clusters = simulate(random, seeds, session_effect, model_effect)
        score = crossed_interval([(truth, said)], clusters, CLASSES, accuracy_of)
        covered.append(score.low <= 0.8 <= score.high)
    assert np.mean(covered) >= 0.92


def test_intervals_of_differences_cover_the_truth() -> None:
    """Two models on the same sessions, the second right 4 points more often; by sessions alone."""
    random = np.random.default_rng(2)
    session = np.repeat(np.arange(40), 10)
    truth = session % CLASSES
    covered, ranked = [], []
    for _ in range(120):
        level = 0.75 + random.normal(0, 0.1, 40)[session]
        other = (truth + 1) % CLASSES
        answers = [
            (truth, np.where(random.random(400) < level + gain, truth, other)) for gain in (0, 0.04)
        ]
        score = crossed_interval(answers, [session], CLASSES, accuracy_of)
        covered.append(score.low <= 0.04 <= score.high)
        same = crossed_interval([answers[0], answers[0]], [session], CLASSES)
        ranked.append(same.low > 0 or same.high < 0)
    assert np.mean(covered) >= 0.92 and not any(ranked)


def test_the_score_is_that_of_all_predictions() -> None:
    truth, said, *clusters = simulate(np.random.default_rng(0), 2, 0.1, 0.05)
    score = crossed_interval([(truth, said)], clusters, CLASSES)
    assert score.value == pytest.approx(macro_f1(truth, said, CLASSES))
    sums = class_sums(truth, said, np.zeros(len(truth), dtype=int), CLASSES)
    assert f1_of(sums)[0] == score.value
    assert accuracy_of(sums)[0] == np.mean(truth == said)
    assert recall_of(2)(sums)[0] == np.mean(said[truth == 2] == 2)


def test_many_sessions_are_put_together_and_one_has_no_interval() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 3000)
    said = np.where(random.random(3000) < 0.9, truth, 1 - truth)
    score = crossed_interval([(truth, said)], [np.arange(3000)], 2, accuracy_of)
    assert score.high - score.low == pytest.approx(2 * 1.96 * np.sqrt(0.09 / 3000), rel=0.15)
    alone = crossed_interval([(truth, said)], [np.zeros(3000)], 2)
    assert alone.low is None and "two sessions" in alone.reason
