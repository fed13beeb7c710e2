"""Intervals over sessions and models: what they cover in simulations, and what has none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quadlib.evaluation import resampled
from quadlib.evaluation.crossed import (
    accuracy_of,
    alarm_interval,
    class_f1_of,
    class_sums,
    crossed_interval,
    f1_of,
    mean_of_folds,
    recall_of,
    session_interval,
)
from quadlib.evaluation.intervals import SessionBootstrap
from quadlib.evaluation.metrics import auprc, auroc, macro_f1
from quadlib.evaluation.score import Score

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


def test_an_evaluation_of_few_sessions_a_class_is_covered() -> None:
    """24 sessions of 12 classes: resampling them loses classes, and covered 89 of 100."""
    random = np.random.default_rng(0)
    session = np.repeat(np.arange(24), 12)
    truth = session % 12
    answers, values = [], []
    for _ in range(120):
        level = np.clip(0.75 + random.normal(0, 0.2, 24), 0, 1)[session]
        other = (truth + random.integers(1, 12, len(truth))) % 12
        answers.append((truth, np.where(random.random(len(truth)) < level, truth, other)))
        values.append(macro_f1(*answers[-1], 12))
    bootstrap = SessionBootstrap(session, 1, 0)
    scores = [
        session_interval(Score(value), bootstrap, pair, 12)
        for value, pair in zip(values, answers, strict=True)
    ]
    covered = [score.low <= np.mean(values) <= score.high for score in scores]
    assert np.mean(covered) >= 0.92


@pytest.mark.parametrize("normal_sessions", [2, 4, 12])
@pytest.mark.parametrize(("area", "of_all"), [(resampled.auroc, auroc), (resampled.auprc, auprc)])
def test_areas_cover_the_truth_with_few_normal_sessions_too(
    normal_sessions: int, area: Any, of_all: Any
) -> None:
    """24 sessions of 12 recordings; resampling them covered 61 of 100 with two normal sessions."""
    random = np.random.default_rng(normal_sessions)
    session = np.repeat(np.arange(24), 12)
    defect = session >= normal_sessions

    def drawn() -> np.ndarray:
        return 1.5 * defect + random.normal(0, 0.7, 24)[session] + random.normal(size=len(session))

    truth = np.mean([of_all(defect, drawn()).value for _ in range(200)])
    bootstrap, covered = SessionBootstrap(session, 1, 0), []
    for _ in range(120):
        suspicion = drawn()
        score = of_all(defect, suspicion)
        score = alarm_interval(score, bootstrap, defect, suspicion, area)
        covered.append(score.low <= truth <= score.high)
    assert np.mean(covered) >= 0.92


def test_an_area_with_one_normal_session_has_no_interval() -> None:
    session = np.repeat(np.arange(6), 4)
    defect, bootstrap = session > 0, SessionBootstrap(session, 9, 0)
    alone = alarm_interval(Score(0.9), bootstrap, defect, session, resampled.auroc)
    assert alone.low is None and "two sessions of the normal class" in alone.reason
    undefined = Score.undefined("no normal class")
    same = alarm_interval(undefined, bootstrap, defect, session, resampled.auroc)
    assert same is undefined


def test_no_interval_where_none_is_asked_for() -> None:
    pair = (np.array([0, 1, 0, 1]), np.array([0, 1, 1, 1]))
    score, undefined = Score(0.75), Score.undefined("one class")
    groups = np.arange(4)
    assert session_interval(score, SessionBootstrap(groups, 0, 0), pair, 2) is score
    assert session_interval(undefined, SessionBootstrap(groups, 9, 0), pair, 2) is undefined
    one = session_interval(score, SessionBootstrap(np.zeros(4), 9, 0), pair, 2)
    assert one.low is None and "one session" in one.reason
    each = session_interval(score, SessionBootstrap(groups, 9, 0), pair, 2, class_f1_of(0))
    assert each.value == 0.75 and each.low < each.high


def test_a_mean_of_folds_allows_for_their_common_recordings() -> None:
    scores = [Score(value) for value in (0.80, 0.84, 0.82, 0.86, 0.78)]
    mean = mean_of_folds(scores, 5)
    plain = 2.776445 * np.std([0.80, 0.84, 0.82, 0.86, 0.78], ddof=1) / 5**0.5
    assert mean.value == pytest.approx(0.82)
    assert mean.high - mean.value == pytest.approx(plain * 1.5)  # sqrt(1/5 + 1/4) of sqrt(1/5)
    lacking = mean_of_folds([*scores, Score.undefined("defects only")], 5)
    assert lacking.reason == "defects only"
    assert "two folds" in mean_of_folds(scores[:1], 5).reason


def test_scores_of_a_single_recording_are_whole() -> None:
    """Of two classes one has one recording, found, and the other none."""
    sums = np.array([[1, 0], [1, 0], [1, 0]])
    assert f1_of(sums) == accuracy_of(sums) == recall_of(0)(sums) == class_f1_of(0)(sums) == 1
    assert recall_of(1)(sums) == class_f1_of(1)(sums) == 0
    assert f1_of(0 * sums) == accuracy_of(0 * sums) == 0
