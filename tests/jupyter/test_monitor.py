"""The monitor driven from Python, without a browser."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quadlib.jupyter.monitor import TrainingMonitor


def history(epochs: int) -> list[dict[str, Any]]:
    """One step and one epoch line each."""
    facts = {"loss": 2.0, "fused": 2.0, "floor": 0.5, "collapse": 3.4, "progress": 0.5}
    steps = [
        {"kind": "step", "epoch": epoch, "step": epoch, **facts} for epoch in range(1, epochs + 1)
    ]
    return [
        *steps,
        *(
            {"kind": "epoch", "epoch": epoch, "val_macro_f1": 0.6, **facts}
            for epoch in range(1, epochs + 1)
        ),
    ]


def trainer(epochs: int) -> Any:
    """A trainer of nine epochs with five steps each, so many of them done."""
    return SimpleNamespace(
        history=history(epochs),
        epoch=epochs,
        step=5 * epochs,
        best_epoch=epochs,
        last_epoch=9,
        began=0,
        steps_before=0,
        steps_per_epoch=5,
        run=SimpleNamespace(record={}, folder=Path("nowhere")),
    )


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every page that a monitor puts into its cell."""
    pages: list[str] = []

    def display(bundle: dict[str, str], **_: Any) -> Any:
        pages.append(bundle["text/html"])
        return SimpleNamespace(update=lambda later, raw: pages.append(later["text/html"]))

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.delenv("QUADLIB_BATCH", raising=False)
    return pages


def test_the_monitor_follows_a_run_and_leaves_its_state_in_the_folder(
    shown: list[str], tmp_path: Path
) -> None:
    monitor, made = TrainingMonitor(), trainer(3)
    made.run.folder = tmp_path
    monitor.SECONDS = 0.0
    monitor._ipython_display_()
    assert "not begun" in shown[-1]
    monitor.on_start(made)
    monitor.on_epoch(made, made.history[-1])
    assert "Epoch 3 of 9: macro-F1 .600" in shown[-1] and shown[-1].count("<polyline") == 3
    assert f'data-place="{tmp_path.as_posix()}/monitor.html"' in shown[-1]
    assert "<script>" in shown[-1] and "__ID__" not in shown[-1]
    kept = (tmp_path / "monitor.html").read_text()
    assert kept in shown[-1] and "<script" not in kept and "data-ended" not in kept
    monitor.on_end(made)
    assert "data-ended" in (tmp_path / "monitor.html").read_text()
    assert "<script" not in shown[-1] and "<polyline" in shown[-1]  # what a stored notebook keeps


def test_the_monitor_never_stops_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUADLIB_BATCH", raising=False)
    monitor = TrainingMonitor()
    monitor.on_epoch(SimpleNamespace(), {"epoch": 1})  # type: ignore[arg-type]
    assert "AttributeError" in monitor.status.value


def test_the_monitor_is_silent_in_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUADLIB_BATCH", "1")
    monitor = TrainingMonitor()
    monitor.on_epoch(trainer(1), trainer(1).history[-1])
    assert "not begun" in monitor.status.value


def test_within_an_epoch_it_says_how_far_and_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUADLIB_BATCH", raising=False)
    monitor, made = TrainingMonitor(), trainer(2)
    monitor.on_start(made)
    made.epoch, made.step = 3, 13
    monitor.on_step(made, 13)
    assert "Going on" in monitor.status.value  # not more than one update in a few seconds
    monitor.SECONDS = 0.0
    monitor.on_step(made, 13)
    assert re.search("Epoch 3 of 9, step 3 of 5; [0-9]+ s left at most", monitor.status.value)


def test_a_finished_run_shows_its_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUADLIB_BATCH", raising=False)
    monitor = TrainingMonitor()
    monitor.on_start(trainer(9))
    monitor.on_end(trainer(9))
    assert "Ended after epoch 9; best: epoch 9." in monitor.status.value
    assert "<polyline" in monitor.content()


def test_a_stopped_run_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUADLIB_BATCH", raising=False)
    monitor, made = TrainingMonitor(), trainer(1)
    made.run.record["stopped"] = "stopped after epoch 1, step 2; and <so> on"
    monitor.on_end(made)
    assert "Stopped after epoch 1, step 2; and &lt;so&gt; on." in monitor.status.value
