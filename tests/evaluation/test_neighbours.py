"""Selection equals a full stable sort; what retrieval and kNN cannot judge is refused in words."""

import numpy as np
import pytest

from quadlib.evaluation import neighbours
from quadlib.evaluation.inputs import common_codes
from quadlib.evaluation.neighbours import knn_predict, nearest, rank
from quadlib.evaluation.retrieval import knn_and_retrieval, retrieval


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def plain_scores(
    queries: np.ndarray, wanted: np.ndarray, gallery: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """P@1, R-precision, AP@R and reciprocal rank by their definitions, one query after another."""
    scores = np.full((4, len(queries)), np.nan)
    for n, query in enumerate(queries):
        order = np.argsort(-np.round(gallery @ query, 12), kind="stable")
        hits = labels[order] == wanted[n]
        r = int(hits.sum())
        if r:
            precision = [hits[: i + 1].mean() for i in range(r) if hits[i]]
            scores[:, n] = hits[0], hits[:r].mean(), sum(precision) / r, 1 / (hits.argmax() + 1)
    return scores


@pytest.mark.parametrize("seed", range(60))
def test_the_nearest_are_those_of_a_full_stable_sort(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, n = int(random.integers(1, 30)), int(random.integers(1, 4000))
    similarity = random.normal(size=(rows, n))
    if seed % 4 == 1:
        similarity = np.round(similarity, 1)  # many ties
    elif seed % 4 == 2:
        similarity = np.round(similarity, 1) + 3e-13 * random.normal(size=(rows, n))
    elif seed % 4 == 3:  # the largest stand where the sample does not look, or all where it does
        columns = np.argsort(np.arange(n) % neighbours.STRIDE, kind="stable")
        similarity = np.sort(similarity, axis=1)[:, columns[:: 1 if seed % 8 == 3 else -1]]
    if seed % 3 == 0:
        similarity[:, random.random(n) < 0.9] = -np.inf
    depth = int(random.integers(1, max(2, n // 20)))
    expected = np.argsort(-np.round(similarity, 12), axis=1, kind="stable")[:, :depth]
    assert (nearest(similarity, depth) == expected).all()


@pytest.mark.parametrize("tile", [300, 16_000_000])
def test_scores_are_their_definitions_in_tiles_of_any_size(
    tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "TILE_ELEMENTS", tile)
    random = np.random.default_rng(5)
    queries, gallery = unit(random.normal(size=(90, 6))), unit(random.normal(size=(700, 6)))
    wanted, labels = random.integers(0, 30, 90), random.geometric(0.15, 700) - 1
    predictions, ranking = knn_and_retrieval(queries, wanted, gallery, labels, 5)
    scores = [
        ranking.precision_at_1,
        ranking.r_precision,
        ranking.average_precision_at_r,
        ranking.reciprocal_rank,
    ]
    expected = plain_scores(queries, wanted, gallery, labels)
    assert np.isnan(expected).any() and (expected[3] < 1 / 20).any()
    np.testing.assert_allclose(scores, expected, atol=1e-12)
    assert (predictions == knn_predict(queries, gallery, labels, 5)).all()


def test_unlabelled_rows_neither_search_nor_are_found() -> None:
    random = np.random.default_rng(6)
    rows, labels = unit(random.normal(size=(40, 4))), random.integers(0, 3, 40)
    some = np.where(np.arange(40) % 4 == 0, -1, labels)
    known = some >= 0
    ranking, alone = retrieval(rows, some), retrieval(rows[known], some[known])
    assert np.isnan(ranking.average_precision_at_r[~known]).all()
    assert (ranking.average_precision_at_r[known] == alone.average_precision_at_r).all()
    names = np.where(known, np.array(list("abc"))[labels], None)
    assert (retrieval(rows, names).r_precision[known] == alone.r_precision).all()
    assert (
        knn_predict(rows, rows, some, 3) == knn_predict(rows, rows[known], some[known], 3)
    ).all()
    assert (knn_and_retrieval(rows, labels, rows, some, 3)[0] >= 0).all()
    assert retrieval(rows, np.full(40, -1)).means()["map_at_r"].value is None


def test_columns_of_labels_are_one_label_each_and_several_are_refused() -> None:
    rows, labels = unit(np.random.default_rng(7).normal(size=(12, 3))), np.arange(12) % 3
    column = retrieval(rows, labels[:, None]).average_precision_at_r
    assert (column == retrieval(rows, labels).average_precision_at_r).all()
    with pytest.raises(ValueError, match="one label a row"):
        retrieval(rows, labels[:, None] == np.arange(3))
    with pytest.raises(TypeError, match="none could ever match"):
        retrieval(rows, labels, rows, labels.astype(str))
    with pytest.raises(TypeError, match="float"):
        retrieval(rows, labels.astype(float))


GOOD = unit(np.random.default_rng(8).normal(size=(6, 4)))
LABELS = np.array([0, 0, 0, 1, 1, 2])


def changed(row: int, value: float) -> np.ndarray:
    rows = GOOD.copy()
    rows[row] = value
    return rows


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((changed(2, np.nan), LABELS), r"queries: row 2 \(1 of 6\) hold NaN"),
        ((GOOD, LABELS, changed(4, np.inf), LABELS), "gallery: row 4"),
        ((3 * GOOD, LABELS), "not of length 1 but 3 to 3"),
        ((changed(1, 0.0), LABELS), "rows of 0"),
        ((GOOD, LABELS[:5]), "query_labels has 5 entries"),
        ((GOOD, LABELS, GOOD, LABELS[:5]), "gallery_labels has 5 entries"),
        ((GOOD, LABELS, GOOD), "a gallery needs gallery_labels"),
        ((GOOD, LABELS, unit(GOOD[:, :3]), LABELS), "queries 4, gallery 3"),
        ((GOOD[0], LABELS), r"queries has the shape \(4,\)"),
        ((GOOD, LABELS, GOOD, LABELS, LABELS), "both queries and gallery"),
    ],
)
def test_what_cannot_be_ranked_is_refused(arguments: tuple, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        retrieval(*arguments)


@pytest.mark.parametrize("neighbours", [0, -1, 2.5, True])
def test_neighbours_are_counted_from_one_on(neighbours: float) -> None:
    for ask in (
        lambda: knn_predict(GOOD, GOOD, LABELS, neighbours),
        lambda: knn_and_retrieval(GOOD, LABELS, GOOD, LABELS, neighbours),
    ):
        with pytest.raises(ValueError, match=f"neighbours={neighbours!r}"):
            ask()


def test_a_vote_needs_labels() -> None:
    with pytest.raises(ValueError, match="gallery_labels is None"):
        knn_predict(GOOD, GOOD, None, 5)
    with pytest.raises(ValueError, match="without a neighbour"):
        knn_predict(GOOD, GOOD, np.full(6, -1), 5)
    with pytest.raises(ValueError, match="entries"):
        knn_predict(GOOD, GOOD, LABELS[:4], 5)
    with pytest.raises(ValueError, match="hold NaN"):
        rank(changed(0, np.nan), GOOD, 2)


def test_where_nobody_is_labelled_there_are_no_classes() -> None:
    queries, gallery, names = common_codes([-1, -1], [-1])
    assert queries.tolist() == [-1, -1] and gallery.tolist() == [-1] and not len(names)
