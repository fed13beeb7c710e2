"""An evaluation as figures, and the map of embeddings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quadlib.evaluation.record import Evaluation
from quadlib.evaluation.score import Score
from quadlib.evaluation.subsets import SubsetScore
from quadlib.figures.calibration import reliability_curve
from quadlib.figures.evaluation import (
    baseline_name,
    confusion_map,
    confusion_order,
    evaluation_figures,
    per_class,
    score_line,
    worst_recordings,
)
from quadlib.figures.maps import embedding_map
from quadlib.figures.modalities import fusion_weights, modality_retrieval, shapley_bars, subset_dots


@pytest.fixture
def scored(evaluation: Evaluation) -> Evaluation:
    """The evaluation with three subsets and Shapley values."""
    values = {("video",): 0.5, ("audio",): 0.4, ("video", "audio"): 0.7}
    subsets = [
        SubsetScore(names, 16, Score(value), Score(value), Score(value))
        for names, value in values.items()
    ]
    return replace(
        evaluation,
        subsets=subsets,
        shapley={"video": Score(0.3), "audio": Score(0.2), "sensor": Score.undefined("not scored")},
    )


def test_the_score_stands_beside_its_baselines(evaluation: Evaluation) -> None:
    figure = score_line(evaluation)
    rows = {row[0]: row for row in figure.layout.meta["table"]["rows"]}
    assert list(rows)[0] == "all modalities"
    assert {"most common class", "confounds alone", "duration alone"} <= set(rows)
    assert rows["confounds alone"][1] is None and rows["confounds alone"][4]
    assert (
        "Not available for this table: confounds alone, duration alone."
        in figure.layout.meta["caption"]
    )
    assert figure.data[-1].error_x.array  # the fused score has its interval


def test_confused_classes_become_neighbours() -> None:
    confusion = np.diag([10, 10, 10, 10])
    confusion[0, 3] = confusion[3, 0] = 8
    order = confusion_order(confusion).tolist()
    assert sorted(order) == [0, 1, 2, 3] and abs(order.index(0) - order.index(3)) == 1
    assert confusion_order(np.eye(2)).tolist() == [0, 1]


def test_confusion_is_by_true_class_and_says_the_commonest(evaluation: Evaluation) -> None:
    figure = confusion_map(evaluation)
    assert np.nansum(figure.data[0].z, axis=1) == pytest.approx(100)
    assert (
        figure.layout.meta["caption"]
        == "Most common error: 50 % of spatter (2 of 4) are predicted as <b>porosity</b>."
    )
    assert figure.layout.xaxis.type == "category"


def test_a_class_without_recordings_is_left_blank(evaluation: Evaluation) -> None:
    confusion = [list(row) for row in evaluation.confusion]
    confusion[3] = [0, 0, 0, 0]
    figure = confusion_map(replace(evaluation, confusion=confusion))
    assert np.isnan(figure.data[0].z).all(axis=1).sum() == 1


def test_weakest_class_first_with_support_and_interval(evaluation: Evaluation) -> None:
    figure = per_class(evaluation)
    assert figure.data[0].y[0] == "spatter (n = 4)"
    row = figure.layout.meta["table"]["rows"][0]
    assert row[:3] == ["spatter", 4, 0.5] and row[3] < 0.5 < row[4]


def test_subsets_best_first(scored: Evaluation) -> None:
    figure = subset_dots(scored)
    assert [row[0] for row in figure.layout.meta["table"]["rows"]] == [
        "video + audio",
        "video",
        "audio",
    ]
    assert tuple(figure.data[0].y) == (0, 1)  # video is visible in the two best
    assert figure.data[-1].marker.color[1] == "#0072B2"
    assert "the best single modality is video with .500" in figure.layout.meta["caption"]


def test_shares_of_the_modalities(scored: Evaluation) -> None:
    figure = shapley_bars(scored)
    assert (
        figure.layout.meta["caption"]
        == "video contributes most to the score (+0.300), audio least (+0.200)."
    )
    assert figure.data[0].text == ("+0.300", "+0.200", "")


def test_weights_only_where_the_modality_is_there(evaluation: Evaluation) -> None:
    rows = {row[0]: row for row in fusion_weights(evaluation).layout.meta["table"]["rows"]}
    asked = evaluation.arrays["split"] == "test"
    assert (
        rows["image"][1] == int(evaluation.arrays["present"][asked][:, 1].sum()) < rows["video"][1]
    )


def test_the_diagonal_is_search_within_a_modality(evaluation: Evaluation) -> None:
    values = np.array(modality_retrieval(evaluation).data[0].z, dtype=float)
    assert values[0, 0] == pytest.approx(evaluation.by_modality["video"]["map_at_r"].value)
    assert not np.isnan(values).any()


def test_the_map_has_three_views(evaluation: Evaluation) -> None:
    figure = embedding_map(evaluation)
    buttons = figure.layout.updatemenus[0].buttons
    assert [button.label for button in buttons] == ["by class", "by session", "by error"]
    shown = np.array([button.args[0]["visible"] for button in buttons])
    assert (shown.sum(axis=0) == 1).all()  # each trace belongs to one view
    assert "&lt;b&gt;porosity&lt;/b&gt;" in figure.layout.annotations[2].text
    assert figure.layout.meta["caption"].startswith(
        "2 of 16 evaluated recordings are predicted as another class"
    )


def test_worst_recordings_name_what_they_lean_on(evaluation: Evaluation) -> None:
    worst = worst_recordings(evaluation)
    assert worst["class"].iloc[0] == "spatter" and worst["predicted"].iloc[0] == "<b>porosity</b>"
    assert worst["margin"].is_monotonic_increasing


def test_every_figure_draws(evaluation: Evaluation, scored: Evaluation) -> None:
    for one in (evaluation, scored):
        for figure in evaluation_figures(one):
            assert figure.layout.meta["caption"] and figure.layout.meta["table"]["columns"]
            figure.to_json()
    assert len(evaluation_figures(scored)) == len(evaluation_figures(evaluation)) + 2
    assert baseline_name("set-points") == "set-points alone"


def test_the_vote_is_drawn_beside_what_it_promises(evaluation: Evaluation) -> None:
    figure = reliability_curve(evaluation)
    rows = figure.layout.meta["table"]["rows"]
    assert sum(row[1] for row in rows) == evaluation.n_queries
    assert "of the neighbours agree, the vote is right about" in figure.layout.meta["caption"]
    empty = reliability_curve(replace(evaluation, calibration=[]))
    assert empty.layout.meta["caption"].startswith("The calibration error is")
