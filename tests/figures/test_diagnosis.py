"""The facts of a diagnosis as figures."""

from __future__ import annotations

import html
import math

import numpy as np
import pandas as pd
import pytest

from quadlib.diagnosis import Diagnosis
from quadlib.figures.diagnosis import (
    facts_figures,
    gradient_flow,
    label_composition,
    loss_place,
    not_run_table,
    positives_per_batch,
    similarity_histogram,
    trainable_share,
)

FACTS = {
    "labels": pd.DataFrame({"class": ["0", "1"], "val": [4, 0], "train": [9, 8]}),
    "positives_per_batch": pd.DataFrame(
        {
            "batch": [0, 1],
            "size": [8, 8],
            "classes": [4, 1],
            "positives_min": [1, 7],
            "lone_anchors": [0, 0],
        }
    ),
    "frozen_parameters": pd.DataFrame(
        {"module": ["encoders.video", "fusion"], "parameters": [100, 300], "frozen": [100, 0]}
    ),
    "gradient_flow": pd.DataFrame(
        {
            "module": ["encoders.video", "fusion"],
            "gradient_norm": [0.0, 0.5],
            "without_gradient": [1, 0],
            "update_ratio": [0.0, 1e-3],
        }
    ),
}


def test_a_missing_class_is_counted() -> None:
    figure = label_composition(FACTS["labels"])
    assert figure.layout.meta["caption"] == "train has 2 of 2 classes; val has 1 of 2 classes."
    assert list(figure.data[0].x) == ["train", "val"] and figure.layout.yaxis.type == "category"


def test_a_one_class_batch_is_called_out() -> None:
    assert (
        positives_per_batch(FACTS["positives_per_batch"])
        .layout.meta["caption"]
        .startswith("1 of 2 batches hold one class")
    )
    assert (
        "holds 4 classes, and every anchor has at least 1 positive"
        in positives_per_batch(FACTS["positives_per_batch"].iloc[:1]).layout.meta["caption"]
    )


def test_frozen_parts_are_named() -> None:
    assert (
        trainable_share(FACTS["frozen_parameters"]).layout.meta["caption"]
        == "100 of 400 parameters are frozen: encoders.video."
    )


def test_a_part_without_gradient_is_crossed_out() -> None:
    figure = gradient_flow(FACTS["gradient_flow"])
    assert tuple(figure.data[0].marker.symbol) == ("x", "circle")
    assert figure.layout.meta["caption"] == "No gradient reaches encoders.video."


def test_facts_are_drawn_in_the_order_of_the_pipeline() -> None:
    titles = [figure.layout.title.text for figure in facts_figures(FACTS)]
    assert titles == [
        "Recordings per class and split",
        "Classes and positives per batch",
        "Trainable parameters",
        "Gradient norms on the first batch",
    ]
    assert facts_figures({"labels": pd.DataFrame({"not available": ["no labels"]})}) == []


def test_where_a_loss_stands() -> None:
    assert "50.0 % of the way" in loss_place(2.0, 1.0, 3.0).layout.meta["caption"]
    assert (
        "holds one class"
        in loss_place(math.log(15), math.log(15), math.log(15)).layout.meta["caption"]
    )


def test_similarities_of_a_collapsed_and_of_a_learned_batch() -> None:
    labels = np.array([0, 0, 1, 1])
    same = labels[:, None] == labels[None, :]
    assert "collapsed" in similarity_histogram(np.ones((4, 4)), same).layout.meta["caption"]
    learned = similarity_histogram(np.where(same, 0.9, -0.1), same)
    assert (
        learned.layout.meta["caption"]
        == "The mean cosine of same-class pairs is 1.00 higher than that of different-class pairs."
    )
    alone = similarity_histogram(np.arange(9.0).reshape(3, 3) / 9, np.eye(3, dtype=bool))
    assert "nothing to compare" in alone.layout.meta["caption"]
    assert sum(row[1] for row in learned.layout.meta["table"]["rows"]) == 2


@pytest.mark.parametrize("not_run", [(), (("QL-E01 self match", "no evaluation"),)])
def test_checks_that_were_not_run(not_run: tuple[tuple[str, str], ...]) -> None:
    shown = not_run_table(Diagnosis((), ("QL-S01 one class",), not_run)).to_html()
    assert all(
        html.escape(name) in shown and html.escape(reason) in shown for name, reason in not_run
    )
