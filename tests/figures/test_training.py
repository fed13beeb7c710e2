"""A run as figures, from history records alone."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from quadlib.figures.history import split_history
from quadlib.figures.telemetry import gradient_curves, learning_rate_curve, time_per_epoch
from quadlib.figures.training import loss_curve, training_figures, validation_curve


def test_the_plateau_is_named(history: list[dict[str, Any]]) -> None:
    figure = loss_curve(history)
    assert "ln 31 = 3.434: collapse" in [trace.name for trace in figure.data]
    assert "ln 31 = 3.434: collapse" in [note.text for note in figure.layout.annotations]
    assert figure.layout.meta["caption"].endswith("81 % of the way from collapse to the floor.")


def test_the_floor_band_is_of_each_epoch(history: list[dict[str, Any]]) -> None:
    band = next(trace for trace in loss_curve(history).data if trace.name == "floor")
    assert min(band.y) == pytest.approx(0.55) and max(band.y) == pytest.approx(0.59)


def test_steps_lie_around_their_epoch(history: list[dict[str, Any]]) -> None:
    steps, epochs = split_history(history)
    assert steps["at"].min() > 0.5 and steps["at"].max() == len(epochs) + 0.5


def test_findings_are_marked_at_their_step(history: list[dict[str, Any]]) -> None:
    finding = SimpleNamespace(step=7, code="QL-O01", title="collapsed")
    assert "▲ QL-O01" in [note.text for note in loss_curve(history, [finding]).layout.annotations]
    unplaced = SimpleNamespace(step=None, code="QL-S01", title="one class")
    assert "▲ QL-S01" not in [
        note.text for note in loss_curve(history, [unplaced]).layout.annotations
    ]


def test_one_class_batches_are_said_to_teach_nothing(history: list[dict[str, Any]]) -> None:
    for line in history:
        line |= {"floor": math.log(31), "fused": math.log(31), "progress": None}
    assert "nothing can be learned" in loss_curve(history).layout.meta["caption"]


def test_without_a_fused_term_there_is_no_plateau(history: list[dict[str, Any]]) -> None:
    for line in history:
        line.pop("fused")
    figure = loss_curve(history)
    assert len(figure.data) == 1 and "fused_weight is 0" in figure.layout.meta["caption"]


def test_the_best_epoch_is_marked(history: list[dict[str, Any]]) -> None:
    figure = validation_curve(history)
    best = next(trace for trace in figure.data if trace.name == "best model")
    assert tuple(best.x) == (3,) and best.y[0] == pytest.approx(0.8)
    assert (
        figure.layout.meta["caption"]
        == "The best model is from epoch 3, with validation macro-F1 .800; 1 later epoch was no "
        "better."
    )


def test_a_rate_of_zero_is_called_out(history: list[dict[str, Any]]) -> None:
    for line in history:
        if line["kind"] == "step":
            line["learning_rate"] = 0.0
    assert "so nothing was learned" in learning_rate_curve(history).layout.meta["caption"]


def test_batches_that_only_accumulate_have_no_rate(history: list[dict[str, Any]]) -> None:
    history[0].pop("learning_rate")
    assert len(learning_rate_curve(history).data[0].x) == 19


def test_a_silent_part_is_named_and_gapped(history: list[dict[str, Any]]) -> None:
    for line in history:
        if line["kind"] == "epoch":
            line["gradient_norms"]["encoders.video"] = 0.0
    figure = gradient_curves(history)
    assert (
        figure.layout.meta["caption"]
        == "No gradient ever reached video: frozen or disconnected from the loss."
    )
    assert all(math.isnan(value) for value in figure.data[0].y)
    assert figure.data[0].line.color == "#0072B2"


def test_time_is_split_by_phase() -> None:
    timings = [
        {
            "epoch": epoch,
            "load_seconds": 1.0,
            "forward_seconds": 2.0,
            "backward_seconds": 4.0,
            "validate_seconds": 1.0,
        }
        for epoch in (1, 2)
    ]
    figure = time_per_epoch(timings)
    assert [trace.name for trace in figure.data] == ["load", "forward", "backward", "validate"]
    assert (
        figure.layout.meta["caption"]
        == "16.0 s in 2 epochs, 8.00 s each; backward took most, 50 %."
    )


@pytest.mark.parametrize("upto", [0, 3, 6, None])
def test_every_prefix_of_a_history_draws(history: list[dict[str, Any]], upto: int | None) -> None:
    for figure in training_figures(history[:upto], [{"epoch": 1, "load_seconds": 1.0}]):
        assert figure.layout.meta["caption"]
        figure.to_json()
