import numpy as np
import pytest

from quadlib.evaluation import resampled
from quadlib.evaluation.intervals import SessionBootstrap, compare_paired
from quadlib.evaluation.metrics import auprc, auroc
from quadlib.evaluation.score import Score


def rows_of(bootstrap: SessionBootstrap) -> list[np.ndarray]:
    """The recordings of every resample, each as often as its session was drawn."""
    every = np.arange(len(bootstrap.session))
    return [np.repeat(every, times[bootstrap.session]) for times in bootstrap.times]


def test_whole_sessions_are_drawn_and_repeat() -> None:
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    bootstrap = SessionBootstrap(groups, 50, seed=3)
    assert (bootstrap.times.sum(axis=1) == 3).all() and bootstrap.times.max() > 1
    assert (bootstrap.times == SessionBootstrap(groups, 50, seed=3).times).all()
    assert (bootstrap.times != SessionBootstrap(groups, 50, seed=4).times).any()
    drawn = bootstrap.totals(np.arange(6.0)[:, None])[:, 0]
    assert drawn.tolist() == [rows.sum() for rows in rows_of(bootstrap)]


def test_interval_widens_with_sessions_and_covers() -> None:
    random = np.random.default_rng(0)
    covered, wider = 0, 0
    for seed in range(60):
        session = np.repeat(np.arange(20), 10)
        hits = (0.7 + 0.15 * random.normal(size=20))[session] > random.random(200)
        scores = []
        for groups in (session, np.arange(200)):
            bootstrap = SessionBootstrap(groups, 200, seed)
            values = resampled.mean(bootstrap, hits.astype(float))
            scores.append(bootstrap.interval(Score(float(hits.mean())), values))
        covered += scores[0].low <= 0.7 <= scores[0].high
        wider += scores[0].high - scores[0].low > scores[1].high - scores[1].low
    assert covered >= 50 and wider >= 50


def test_scores_of_all_resamples_at_once_are_those_of_each() -> None:
    random = np.random.default_rng(1)
    truth = random.integers(0, 4, 60)
    scores = np.round(random.normal(size=60), 1)  # with ties
    bootstrap = SessionBootstrap(random.integers(0, 5, 60), 80, 0)
    drawn = rows_of(bootstrap)
    assert resampled.auroc(bootstrap, truth > 1, scores) == pytest.approx(
        [auroc(truth[rows] > 1, scores[rows]).value for rows in drawn]
    )
    assert resampled.auprc(bootstrap, truth > 1, scores) == pytest.approx(
        [auprc(truth[rows] > 1, scores[rows]).value for rows in drawn]
    )
    values = np.where(truth == 2, np.nan, scores)
    assert resampled.mean(bootstrap, values) == pytest.approx(
        [np.nanmean(values[rows]) for rows in drawn]
    )
    one_sided = resampled.auroc(bootstrap, bootstrap.session == 0, scores)
    assert np.isnan(one_sided).tolist() == (bootstrap.times[:, 0] == 0).tolist()
    no_hit = resampled.auprc(bootstrap, bootstrap.session == 0, scores)
    assert np.isnan(no_hit).tolist() == np.isnan(one_sided).tolist()


def test_no_interval_says_why() -> None:
    score, half = Score(0.5), np.full(10, 0.5)
    assert SessionBootstrap(np.arange(4), 0, 0).interval(score, half[:0]) is score
    assert "one session" in SessionBootstrap(np.zeros(4), 10, 0).interval(score, half[:0]).reason
    nothing = np.full(10, np.nan)
    assert "in 10 of 10" in SessionBootstrap(np.arange(4), 10, 0).interval(score, nothing).reason
    undefined = Score.undefined("one class")
    assert SessionBootstrap(np.arange(4), 10, 0).interval(undefined, half) is undefined
    assert SessionBootstrap(np.zeros(0), 10, 0).interval(undefined, half[:0]) is undefined


def test_better_over_paired_seeds() -> None:
    first = {seed: 0.80 + 0.01 * seed for seed in range(5)}
    second = {seed: 0.821 + 0.01 * seed + 0.002 * (-1) ** seed for seed in range(5)} | {9: 0.1}
    result = compare_paired(first, second)
    assert result.ranked and result.pairs == 5
    assert result.text == "B is better than A by 2.1 points [1.9, 2.4] over 5 paired seeds"
    differences = np.array([second[seed] - first[seed] for seed in range(5)])
    half = 2.7764451 * differences.std(ddof=1) / 5**0.5
    assert (result.difference.low, result.difference.high) == pytest.approx(
        (differences.mean() - half, differences.mean() + half)
    )
    turned = compare_paired(second, first, ("new", "old"))
    assert turned.text.startswith("new is better than old by 2.1 points [")
    assert turned.difference.value < 0


def test_what_cannot_be_ranked() -> None:
    result = compare_paired({0: 0.5, 1: 0.6}, {0: 0.6, 1: 0.55})
    assert not result.ranked and result.text.startswith(
        "A and B cannot be ranked: they differ by 2.5 points [-"
    )
    lone = compare_paired({0: 0.5}, {0: 0.6, 1: 0.55})
    assert (
        not lone.ranked
        and "1 seed(s) in common" in lone.text
        and lone.difference.value == pytest.approx(0.1)
    )
    assert compare_paired({0: 0.5}, {1: 0.6}).difference.value is None
    assert not compare_paired({0: 0.5, 1: 0.5}, {0: 0.5, 1: 0.5}).ranked
