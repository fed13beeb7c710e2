"""Batches as figures, and the exact chances behind them."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import plotly.graph_objects as go
import pytest

from quadlib.data.samples import SampleTable
from quadlib.figures.batches import (
    batch_heatmap,
    batch_inspection,
    batch_overview,
    batch_table,
    worst_first,
)
from quadlib.figures.positives import (
    batch_floors,
    chance_of_lone_anchor,
    chance_of_one_class,
    positives_per_anchor,
    random_odds,
)
from quadlib.figures.recordings import availability, split_table
from quadlib.sampler.plan import BatchPlan


def test_worst_batch_first(bad_plan: BatchPlan) -> None:
    assert worst_first(batch_table(bad_plan, 0.1)).tolist() == [2, 1, 0]
    figure = batch_heatmap(bad_plan, 0.1)
    assert list(figure.data[0].x) == ["2", "1", "0"]
    np.testing.assert_array_equal(figure.data[0].z, bad_plan.counts[[2, 1, 0]].T)
    assert list(batch_heatmap(bad_plan, 0.1, order="epoch").data[0].x) == ["0", "1", "2"]


def test_a_one_class_batch_has_no_room(bad_plan: BatchPlan) -> None:
    room = batch_table(bad_plan, 0.1)["room"]
    assert room[2] == pytest.approx(0.0) and room[0] > 0.5


def test_captions_state_the_finding(plan: BatchPlan, bad_plan: BatchPlan) -> None:
    assert (
        batch_heatmap(plan, 0.1)
        .layout.meta["caption"]
        .startswith(
            "Each batch holds 16 recordings of 4 classes, 4 of each class; every anchor has a "
            "positive."
        )
    )
    assert "1 of 11 anchors have no positive" in batch_heatmap(bad_plan, 0.1).layout.meta["caption"]
    assert (
        positives_per_anchor(plan, 0.1).layout.meta["caption"]
        == "Every anchor has at least 3 positives; the median is 3."
    )
    assert "1 of 3 batches hold one class" in batch_floors(bad_plan, 0.1).layout.meta["caption"]
    assert "ln 15 = 2.708" in batch_floors(plan, 0.1).layout.meta["caption"]


def test_names_with_tags_are_escaped_in_the_drawing_and_whole_in_the_table(plan: BatchPlan) -> None:
    figure = batch_heatmap(plan, 0.1)
    assert "&lt;b&gt;porosity&lt;/b&gt;" in figure.data[0].y
    assert "<b>porosity</b>" in figure.layout.meta["table"]["columns"]
    assert figure.layout.yaxis.type == "category"  # classes named 0 to 9 are names


def test_the_chosen_batch_is_beside_the_map(bad_plan: BatchPlan) -> None:
    figure = batch_inspection(bad_plan, 0.1, chosen=1)
    np.testing.assert_array_equal(figure.data[1].x, bad_plan.counts[1])
    assert "no positive ✕" in figure.data[1].text
    assert figure.layout.shapes[0].x0 == 0.5  # batch 1 is the second worst
    assert batch_inspection(bad_plan, 0.1).layout.xaxis2.title.text == "recordings in batch 2"


def test_many_batches_are_cut_and_said_so(table: SampleTable) -> None:
    codes = np.tile([0, 0, 1, 1], 100)
    many = BatchPlan([np.arange(start, start + 4) for start in range(0, 400, 4)], codes, ("a", "b"))
    figure = batch_heatmap(many, 0.1)
    assert figure.data[0].z.shape == (2, 60)
    assert "Shown are the 60 worst of 100 batches." in figure.layout.meta["caption"]


def test_chances_equal_counting_every_batch() -> None:
    labels = np.repeat([0, 1, 2], [4, 3, 1])
    for size in (2, 3, 4):
        batches = list(combinations(range(8), size))
        lone = np.mean(
            [
                np.mean([(labels[list(batch)] == labels[anchor]).sum() == 1 for anchor in batch])
                for batch in batches
            ]
        )
        one_class = np.mean([len(set(labels[list(batch)])) == 1 for batch in batches])
        assert chance_of_lone_anchor(np.array([4, 3, 1]), size) == pytest.approx(lone)
        assert chance_of_one_class(np.array([4, 3, 1]), size) == pytest.approx(one_class)


def test_a_one_class_split_gives_one_class_batches() -> None:
    assert chance_of_one_class(np.array([576]), 32) == pytest.approx(1.0)
    assert chance_of_lone_anchor(np.array([576]), 32) == 0.0
    assert 0 < chance_of_one_class(np.array([48] * 12), 32) < 1e-35


def test_odds_are_shares_of_all_anchors(plan: BatchPlan) -> None:
    figure = random_odds(plan)
    at_random, planned = figure.data
    assert sum(at_random.y) == pytest.approx(100, abs=0.1)
    assert math.isclose(sum(planned.y), 100) and planned.y[3] == 100


def test_recordings_and_sessions_of_each_split(table: SampleTable) -> None:
    figure = split_table(table)
    assert list(figure.data[0].x) == ["train", "val", "test"]
    assert list(figure.data[0].text[0]) == ["16 / 2", "4 / 2", "4 / 2"]
    assert "no session is in more than one split" in figure.layout.meta["caption"]
    shared = table.with_columns(group=["one"] * len(table))
    assert "1 session is in more than one split" in split_table(shared).layout.meta["caption"]


def test_missing_modalities_are_counted(table: SampleTable) -> None:
    figure = availability(table)
    missing = int((~table.present[:, 1]).sum())
    assert figure.layout.meta["table"]["rows"][1] == ["image", len(table) - missing, missing]
    assert f"{missing} lack image" in figure.layout.meta["caption"]


def test_every_figure_has_caption_table_and_template(
    plan: BatchPlan, bad_plan: BatchPlan, table: SampleTable
) -> None:
    for one in (plan, bad_plan):
        for figure in [
            *batch_overview(one, 0.1),
            positives_per_anchor(one, 0.1),
            batch_floors(one, 0.1),
            random_odds(one),
            split_table(table),
        ]:
            assert isinstance(figure, go.Figure)
            assert figure.layout.meta["caption"] and figure.layout.meta["table"]["rows"]
            assert figure.layout.template.layout.modebar.remove
            figure.to_json()
