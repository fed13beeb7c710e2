"""Retrieval against pytorch-metric-learning's AccuracyCalculator, on random and edge inputs.

Differences, on purpose: where nothing can be scored theirs is NaN, ours undefined with a reason;
theirs ranks in float32 and leaves ties to the order of topk, ours ranks equals in gallery order;
theirs reads labels as float32, so that classes 2^24 and 2^24 + 1 are one, ours keeps them apart.
Its mean_average_precision looks at all k neighbours asked for and has no counterpart here.
"""

import logging

import numpy as np
import pytest
from pytorch_metric_learning.distances import CosineSimilarity, LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN

from quadlib.evaluation.neighbours import rank
from quadlib.evaluation.retrieval import retrieval

NAMES = {
    "precision_at_1": "precision_at_1",
    "r_precision": "r_precision",
    "mean_average_precision_at_r": "map_at_r",
    "mean_reciprocal_rank": "mrr",
}


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def theirs(distance: object = None, **arguments: np.ndarray) -> dict[str, float]:
    calculator = AccuracyCalculator(
        include=tuple(NAMES),
        k=len(arguments["reference"]) if "reference" in arguments else len(arguments["query"]) - 1,
        device="cpu",
        knn_func=CustomKNN(distance or CosineSimilarity()),
        kmeans_func=lambda *_: None,
    )
    logging.getLogger("PML").setLevel(logging.ERROR)
    scores = calculator.get_accuracy(**arguments)
    return {ours: float(scores[name]) for name, ours in NAMES.items()}


def mine(*arguments: np.ndarray) -> dict[str, float | None]:
    return {name: score.value for name, score in retrieval(*arguments).means().items()}


def on_a_line(values: list[float]) -> np.ndarray:
    """Points of a line as unit rows whose cosines keep the order of their distances."""
    angle = np.asarray(values, dtype=float) / 100
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


@pytest.mark.parametrize("seed", range(120))
def test_random_galleries_score_the_same(seed: int) -> None:
    random = np.random.default_rng(seed)
    n, m, width = (int(random.integers(low, high)) for low, high in ((2, 60), (2, 150), (2, 20)))
    classes = int(random.integers(1, 12))
    queries = unit(random.normal(size=(n, width))).astype(np.float32)
    gallery = unit(random.normal(size=(m, width))).astype(np.float32)
    wanted, labels = random.integers(0, classes, n), random.integers(0, max(1, classes - 2), m)
    if not np.isin(wanted, labels).any():
        wanted[0] = labels[0]
    expected = theirs(
        query=queries, query_labels=wanted, reference=gallery, reference_labels=labels
    )
    assert mine(queries, wanted, gallery, labels) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(80))
def test_random_sets_that_search_themselves_score_the_same(seed: int) -> None:
    random = np.random.default_rng(1000 + seed)
    n, classes = int(random.integers(4, 150)), int(random.integers(1, 12))
    rows = unit(random.normal(size=(n, 8))).astype(np.float32)
    labels = random.integers(0, classes, n)
    labels[:2] = 0
    expected = theirs(query=rows, query_labels=labels)
    assert mine(rows, labels) == pytest.approx(expected, abs=1e-6)


def test_points_on_a_line_by_hand() -> None:
    queries, wanted = on_a_line([0, 3, 8, 12]), np.array([1, 1, 2, 3])
    gallery, labels = on_a_line([1, 2, 4, 7, 9, 13, 20]), np.array([1, 2, 1, 2, 2, 3, 3])
    result = retrieval(queries, wanted, gallery, labels)
    # R = 2, 2, 3, 2; the nearest are 1 2 | 4 2 (or 2 4: both are 1 away) | 7 9 4 | 13 9
    assert result.precision_at_1.tolist() == [1, 0, 1, 1]
    assert result.r_precision.tolist() == pytest.approx([1 / 2, 1 / 2, 2 / 3, 1 / 2])
    assert result.average_precision_at_r.tolist() == pytest.approx([1 / 2, 1 / 4, 2 / 3, 1 / 2])


def test_its_case_of_neighbours_given_as_labels() -> None:
    """Three queries whose neighbours have known labels; values by the definitions of the paper."""
    queries, wanted = np.eye(3), np.array([0, 1, 2])
    similarity = np.array(
        [[0.9, 0.8, 0.7, 0.6, 0.5], [0.5, 0.9, 0.6, 0.8, 0.7], [0.6, 0.5, 0.7, 0.8, 0.9]]
    )
    gallery = np.concatenate([similarity.T, np.zeros((5, 1))], axis=1) / 2
    gallery[:, 3] = np.sqrt(1 - (gallery[:, :3] ** 2).sum(axis=1))
    labels = np.array([0, 1, 1, 0, 2])
    rows = np.concatenate([queries, np.zeros((3, 1))], axis=1)
    assert rank(rows, gallery, 5).order.tolist() == [
        [0, 1, 2, 3, 4],
        [1, 3, 4, 2, 0],
        [4, 3, 2, 0, 1],
    ]
    result = retrieval(rows, wanted, gallery, labels)
    assert result.precision_at_1.tolist() == [1, 1, 1]
    assert result.r_precision.tolist() == [1 / 2, 1 / 2, 1]
    assert result.average_precision_at_r.tolist() == [1 / 2, 1 / 2, 1]
    assert theirs(
        query=rows, query_labels=wanted, reference=gallery, reference_labels=labels
    ) == pytest.approx(mine(rows, wanted, gallery, labels), abs=1e-6)


def test_lone_queries_leave_the_mean_in_both() -> None:
    rows = on_a_line([0, 1, 10, 11, 30])
    labels = np.array([0, 0, 1, 1, 2])
    assert mine(rows, labels) == dict.fromkeys(NAMES.values(), 1.0)
    assert theirs(query=rows, query_labels=labels) == dict.fromkeys(NAMES.values(), 1.0)
    apart = np.arange(5)
    assert set(mine(rows, apart).values()) == {None}
    assert set(map(str, theirs(query=rows, query_labels=apart).values())) == {"nan"}


def test_large_classes_stay_apart_where_theirs_run_together() -> None:
    rows = on_a_line([0, 1, 2, 3])
    labels = 2**24 + np.array([0, 1, 0, 1])
    assert theirs(query=rows, query_labels=labels)["precision_at_1"] == 1
    assert mine(rows, labels)["precision_at_1"] == 0


def test_unit_rows_rank_alike_by_cosine_and_by_distance() -> None:
    random = np.random.default_rng(9)
    rows, labels = unit(random.normal(size=(80, 5))), random.integers(0, 4, 80)
    assert theirs(LpDistance(), query=rows, query_labels=labels) == pytest.approx(
        mine(rows, labels), abs=1e-6
    )


def test_equals_rank_by_position() -> None:
    gallery, labels = np.tile(on_a_line([0]), (6, 1)), np.array([1, 0, 0, 1, 0, 0])
    result = retrieval(on_a_line([0]), np.array([0]), gallery, labels)
    assert result.reciprocal_rank[0] == 1 / 2 and result.r_precision[0] == 2 / 4
