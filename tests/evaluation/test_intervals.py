import numpy as np
import pytest

from quadlib.evaluation.intervals import SessionBootstrap, compare_paired
from quadlib.evaluation.score import Score


def test_whole_sessions_are_drawn_and_repeat() -> None:
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    draws = SessionBootstrap(groups, 50, seed=3).draws
    for rows in draws:
        for session in "abc":
            times = np.bincount(rows, minlength=6)[groups == session]
            assert len(set(times.tolist())) == 1
    assert all(
        (one == other).all()
        for one, other in zip(draws, SessionBootstrap(groups, 50, seed=3).draws, strict=True)
    )
    assert any(
        len(one) != len(other) or (one != other).any()
        for one, other in zip(draws, SessionBootstrap(groups, 50, seed=4).draws, strict=True)
    )


def test_interval_widens_with_sessions_and_covers() -> None:
    random = np.random.default_rng(0)
    covered, wider = 0, 0
    for seed in range(60):
        session = np.repeat(np.arange(20), 10)
        hits = (0.7 + 0.15 * random.normal(size=20))[session] > random.random(200)
        scores = [
            SessionBootstrap(groups, 200, seed).interval(
                Score(float(hits.mean())), lambda rows, hits=hits: float(hits[rows].mean())
            )
            for groups in (session, np.arange(200))
        ]
        covered += scores[0].low <= 0.7 <= scores[0].high
        wider += scores[0].high - scores[0].low > scores[1].high - scores[1].low
    assert covered >= 50 and wider >= 50


def test_no_interval_says_why() -> None:
    score = Score(0.5)
    assert SessionBootstrap(np.arange(4), 0, 0).interval(score, lambda rows: 0.5) is score
    assert (
        "one session"
        in SessionBootstrap(np.zeros(4), 10, 0).interval(score, lambda rows: 0.5).reason
    )
    assert (
        "in 10 of 10"
        in SessionBootstrap(np.arange(4), 10, 0).interval(score, lambda rows: None).reason
    )
    undefined = Score.undefined("one class")
    assert SessionBootstrap(np.arange(4), 10, 0).interval(undefined, lambda rows: 0.5) is undefined
    assert SessionBootstrap(np.zeros(0), 10, 0).interval(undefined, lambda rows: 0.5) is undefined


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
