"""The vote's reliability and neural collapse, against what is known by construction."""

from __future__ import annotations

import numpy as np
import pytest

from quadlib.evaluation.calibration import (
    VoteBin,
    calibration_error,
    reliability,
    vote_shares,
)
from quadlib.evaluation.collapse import neural_collapse
from quadlib.evaluation.neighbours import knn_predict


def test_shares_are_those_of_the_vote() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(60, 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels = random.integers(0, 3, 60)
    queries, gallery = rows[:10], rows[10:]
    predictions = knn_predict(queries, gallery, labels[10:], 5)
    shares = vote_shares(queries, gallery, labels[10:], predictions, 5)
    nearest = np.argsort(-(queries @ gallery.T), axis=1)[:, :5]
    assert shares.tolist() == (labels[10:][nearest] == predictions[:, None]).mean(axis=1).tolist()
    assert shares.min() >= 0.4  # of three classes and five votes, one has two at least


def test_bins_of_five_votes() -> None:
    shares = np.array([0.4, 0.6, 0.6, 1.0, 1.0])
    bins = reliability(shares, np.array([False, True, False, True, True]), 5)
    assert bins == [VoteBin(0.4, 1, 0), VoteBin(pytest.approx(0.6), 2, 1), VoteBin(1.0, 2, 2)]
    assert calibration_error(bins).value == pytest.approx((0.4 + 2 * 0.1) / 5)
    many = reliability(np.array([0.05, 0.07, 0.98]), np.ones(3, dtype=bool), 100)
    assert [item.recordings for item in many] == [2, 1]
    assert "no recordings" in calibration_error([]).reason


def test_a_vote_whose_share_is_its_chance_has_no_error() -> None:
    random = np.random.default_rng(0)
    shares = random.integers(1, 6, 20_000) / 5
    bins = reliability(shares, random.random(20_000) < shares, 5)
    assert calibration_error(bins).value < 0.01


def test_neural_collapse_of_a_simplex_and_of_noise() -> None:
    corners = np.eye(4) - 0.25
    codes = np.repeat(np.arange(4), 5)
    simplex = neural_collapse(corners[codes], codes)
    assert simplex["nc1"].value == pytest.approx(0, abs=1e-12)
    assert simplex["nc2"].value == pytest.approx(0, abs=1e-12)
    random = np.random.default_rng(0)
    spread = neural_collapse(corners[codes] + random.normal(0, 0.2, (20, 4)), codes)
    more = neural_collapse(corners[codes] + random.normal(0, 0.6, (20, 4)), codes)
    assert 0 < spread["nc1"].value < more["nc1"].value
    line = neural_collapse(np.array([[1.0, 0], [0, 0], [-1, 0.1]])[[0, 0, 1, 1, 2, 2]],
                           np.array([0, 0, 1, 1, 2, 2]))  # fmt: skip
    assert line["nc2"].value > 0.4  # the means lie on a line, not in a triangle


def test_neural_collapse_without_classes_or_pairs_says_why() -> None:
    rows = np.eye(3)
    assert "two classes" in neural_collapse(rows, np.zeros(3, dtype=int))["nc1"].reason
    lone = neural_collapse(rows, np.arange(3))
    assert "two recordings" in lone["nc1"].reason and lone["nc2"].defined
