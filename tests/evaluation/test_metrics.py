import numpy as np
import pytest
from sklearn.metrics import f1_score

from quadlib.evaluation.metrics import (
    alignment,
    auroc,
    classification,
    cross_modal_map_at_r,
    effective_rank,
    macro_f1,
    retrieval,
    uniformity,
)
from quadlib.evaluation.neighbours import class_nearness, knn_predict, rank
from quadlib.evaluation.score import Score, short


def on_circle(degrees: list[float]) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


FIXTURE = on_circle([0, 40, 20, 25, 60, 80])
FIXTURE_LABELS = np.array([0, 0, 0, 1, 1, 2])
EXPECTED = {"precision_at_1": 0.2, "r_precision": 0.3, "map_at_r": 0.2, "mrr": 0.5166667}


def means(*args: np.ndarray) -> dict[str, float | None]:
    return {name: score.value for name, score in retrieval(*args).means().items()}


def test_retrieval_leaves_self_and_lone_query_out() -> None:
    assert means(FIXTURE, FIXTURE_LABELS) == pytest.approx(EXPECTED, abs=1e-7)
    assert np.isnan(retrieval(FIXTURE, FIXTURE_LABELS).reciprocal_rank).tolist() == [False] * 5 + [
        True
    ]


def test_large_labels_and_text_labels_stay_distinct() -> None:
    assert means(FIXTURE, FIXTURE_LABELS + 2**24) == pytest.approx(EXPECTED, abs=1e-7)
    assert means(FIXTURE, FIXTURE_LABELS + 2**53) == pytest.approx(EXPECTED, abs=1e-7)
    assert means(FIXTURE, np.array(list("aaabbc"))) == pytest.approx(EXPECTED, abs=1e-7)


def test_negative_cosines_do_not_change_a_ranking() -> None:
    # A fourth axis pushes every cosine down by the same amount and leaves every order as it is.
    generator = np.random.default_rng(0)
    queries, gallery = unit(generator.normal(size=(20, 4))), unit(generator.normal(size=(30, 4)))
    q_labels, g_labels = generator.integers(0, 3, 20), generator.integers(0, 3, 30)
    for share in (0.9, 0.5):
        lowered_q = np.concatenate(
            [np.sqrt(share) * queries, np.full((20, 1), np.sqrt(1 - share))], axis=1
        )
        lowered_g = np.concatenate(
            [np.sqrt(share) * gallery, np.full((30, 1), -np.sqrt(1 - share))], axis=1
        )
        if share == 0.5:
            assert (lowered_q @ lowered_g.T).max() < 0.01
        assert means(lowered_q, q_labels, lowered_g, g_labels) == pytest.approx(
            means(queries, q_labels, gallery, g_labels), abs=1e-12
        )
        assert (
            knn_predict(lowered_q, lowered_g, g_labels, 5)
            == knn_predict(queries, gallery, g_labels, 5)
        ).all()
    opposite = on_circle([0, 180, 170, 190])
    assert means(opposite, np.array([0, 0, 1, 1]))["precision_at_1"] == 0


def test_retrieval_against_a_gallery_by_hand() -> None:
    result = retrieval(
        on_circle([0, 0]), np.array([0, 9]), on_circle([10, 20, 30, 40]), np.array([1, 0, 1, 0])
    )
    assert result.average_precision_at_r[0] == pytest.approx(0.25)  # R = 2: nothing at 1, half at 2
    assert result.reciprocal_rank[0] == pytest.approx(0.5)
    assert np.isnan(result.average_precision_at_r[1])


def test_ids_exclude_a_whole_session() -> None:
    angles, labels = on_circle([0, 1, 50, 51]), np.array([0, 0, 0, 1])
    sessions = np.array(["a", "a", "b", "b"])
    assert rank(angles, angles, 4, sessions, sessions).order[0].tolist()[:2] == [2, 3]
    assert np.isneginf(rank(angles, angles, 4, sessions, sessions).similarity[0, 2:]).all()
    assert knn_predict(angles, angles, labels, 1, sessions, sessions).tolist() == [0, 0, 0, 0]


def test_no_query_with_a_positive_is_undefined_with_a_reason() -> None:
    for score in retrieval(FIXTURE, np.arange(6)).means().values():
        assert score.value is None and "no query" in score.reason


def test_knn_votes_and_ties() -> None:
    gallery, labels = on_circle([1, 2, 3, 4, 5]), np.array([2, 1, 1, 2, 0])
    queries = on_circle([0])
    assert knn_predict(queries, gallery, labels, 1).tolist() == [2]
    assert knn_predict(queries, gallery, labels, 3).tolist() == [1]
    assert knn_predict(queries, gallery, labels, 4).tolist() == [
        2
    ]  # two votes each: the class of the nearest
    assert knn_predict(queries, gallery, labels, 99).tolist() == [2]
    assert knn_predict(queries, gallery, labels + 2**53, 3).tolist() == [1 + 2**53]


def test_equal_embeddings_rank_by_position() -> None:
    same = np.tile(unit(np.random.default_rng(1).normal(size=(1, 33))), (50, 1)).astype(np.float32)
    assert (rank(same, same, 50).order == np.arange(50)).all()


def test_knn_without_a_neighbour_is_refused() -> None:
    with pytest.raises(ValueError, match="without a neighbour"):
        knn_predict(FIXTURE, FIXTURE[:0], FIXTURE_LABELS[:0], 5)
    with pytest.raises(ValueError, match="without a neighbour"):
        knn_predict(FIXTURE, FIXTURE, FIXTURE_LABELS, 5, np.zeros(6), np.zeros(6))
    assert knn_predict(FIXTURE[:0], FIXTURE, FIXTURE_LABELS, 5).shape == (0,)


def test_class_nearness_marks_absent_classes() -> None:
    nearness = class_nearness(on_circle([0]), on_circle([0, 60, 90]), np.array([0, 0, 2]), 3, 2)
    assert nearness[0] == pytest.approx([0.75, -np.inf, 0])


def test_classification_equals_scikit_learn() -> None:
    generator = np.random.default_rng(2)
    codes, predictions = generator.integers(0, 4, 200), generator.integers(0, 4, 200)
    result = classification(codes, predictions, list("abcd"))
    assert result.macro_f1.value == pytest.approx(f1_score(codes, predictions, average="macro"))
    assert result.accuracy.value == pytest.approx((codes == predictions).mean())
    assert (
        result.confusion.sum() == 200
        and result.confusion[1, 2] == ((codes == 1) & (predictions == 2)).sum()
    )
    few = codes < 3
    assert macro_f1(codes[few], predictions[few], 4) == pytest.approx(
        f1_score(codes[few], predictions[few], labels=[0, 1, 2], average="macro")
    )


def test_undefined_class_scores_have_reasons() -> None:
    result = classification(
        np.array([0, 0, 1]), np.array([0, 2, 2]), ["good", "spatter", "overlap", "warping"]
    )
    by_name = {score.name: score for score in result.per_class}
    assert by_name["good"].recall.value == 0.5 and by_name["good"].support == 2
    assert (
        by_name["spatter"].precision.reason == "never predicted"
        and by_name["spatter"].f1.value == 0
    )
    assert (
        by_name["overlap"].precision.value == 0
        and "no recording" in by_name["overlap"].recall.reason
    )
    assert by_name["warping"].f1.value is None


@pytest.mark.parametrize(
    "codes, words", [([], "no recordings"), ([1, 1], "one class only, spatter")]
)
def test_empty_and_one_class_splits_are_undefined(codes: list[int], words: str) -> None:
    chosen = np.array(codes, dtype=np.int64)
    result = classification(chosen, chosen, ["good", "spatter"])
    for score in (result.accuracy, result.macro_f1):
        assert score.value is None and words in score.reason
    assert auroc(chosen > 0, chosen.astype(float)).value is None


def test_auroc() -> None:
    assert auroc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])).value == pytest.approx(
        0.75
    )


def test_modality_to_modality_reads_present_recordings_only() -> None:
    rows = np.stack(
        [on_circle([0, 5, 90, 95]), on_circle([1, 4, 91, 94]), np.zeros((4, 2))], axis=1
    )
    labels, present = np.array([0, 0, 1, 1]), np.array([[True, True, False]] * 4)
    score, matrix = cross_modal_map_at_r(rows, present, labels, rows, present, labels)
    assert score.value == 1
    assert np.isnan(matrix).sum() == 7 and np.isnan(np.diag(matrix)).all()
    alone, _ = cross_modal_map_at_r(
        rows[:, :1], present[:, :1], labels, rows[:, :1], present[:, :1], labels
    )
    assert alone.value is None


def test_geometry_equals_its_definition() -> None:
    rows, codes = unit(np.random.default_rng(3).normal(size=(40, 5))), np.arange(40) % 3
    squared = ((rows[:, None] - rows[None]) ** 2).sum(-1)
    other = ~np.eye(40, dtype=bool)
    pairs = (codes[:, None] == codes[None]) & other
    assert alignment(rows, codes).value == pytest.approx(squared[pairs].mean())
    assert uniformity(rows).value == pytest.approx(np.log(np.exp(-2 * squared[other]).mean()))
    collapsed = np.tile(rows[:1], (40, 1))
    assert alignment(collapsed, codes).value == pytest.approx(0, abs=1e-9)
    assert uniformity(collapsed).value == pytest.approx(0, abs=1e-9)
    assert effective_rank(collapsed).value == pytest.approx(1)
    assert effective_rank(np.eye(6)).value == pytest.approx(6)
    simplex = np.eye(12) - 1 / 12
    assert effective_rank(unit(np.repeat(simplex, 5, axis=0))).value == pytest.approx(11)
    assert alignment(rows[:3], np.arange(3)).value is None and uniformity(rows[:1]).value is None


def test_score_text_and_refusals() -> None:
    assert str(Score(0.8621, 0.809, 0.9)) == ".862 [.81, .90]"
    assert (str(Score(1.0)), short(-0.052), short(0)) == ("1.000", "-.05", ".00")
    assert str(Score.undefined("one class")) == "undefined: one class"
    with pytest.raises(ValueError, match="reason"):
        Score(None)
    with pytest.raises(ValueError, match="undefined"):
        Score(float("nan"))
