"""The monitor of training: the loss between floor and plateau, and how far the epoch is."""

from __future__ import annotations

import html
import time
from functools import cached_property
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go

from quadlib.figures.style import in_batch, score
from quadlib.figures.training import SCORES, loss_curve
from quadlib.jupyter.live import live, refresh, reported, with_picture
from quadlib.training.trainer import Trainer, Watcher

MINUTE = 60.0


class TrainingMonitor(Watcher):
    """Draws a run while it trains, and one that was trained before as it stands; in batch it is
    silent, since the trainer prints a line an epoch.
    """

    SECONDS = 3.0  # between two updates within an epoch

    def __init__(self) -> None:
        self._began = self._shown = 0.0
        self._first_step = 0
        self._output: Any = None

    @cached_property
    def widget(self) -> widgets.VBox:
        box = widgets.VBox([self.status, self.figure])
        box.add_class("quad-monitor")
        return box

    @cached_property
    def status(self) -> widgets.HTML:
        return widgets.HTML("<p>Training has not begun yet.</p>")

    @cached_property
    def figure(self) -> go.FigureWidget:
        return live(loss_curve([]))

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if not in_batch():
            shown = with_picture(self.widget, loss_curve([]))
            self._output = display(shown, raw=True, display_id=True)

    @reported
    def on_start(self, trainer: Trainer) -> None:
        if in_batch():
            return
        self._first_step = trainer.step
        self._began = self._shown = time.monotonic()
        self._say("The first step is still running." if not trainer.step else "Going on.")
        if trainer.history:
            refresh(self.figure, loss_curve(trainer.history))

    @reported
    def on_step(self, trainer: Trainer, step: int) -> None:
        if in_batch() or time.monotonic() - self._shown < self.SECONDS:
            return
        done = (
            step
            - trainer.steps_before
            - (trainer.epoch - 1 - trainer.began) * (trainer.steps_per_epoch)
        )
        self._say(
            f"Epoch {trainer.epoch} of {trainer.last_epoch}, step {done} of "
            f"{trainer.steps_per_epoch}; {self._left(trainer)} left at most."
        )
        refresh(self.figure, loss_curve(trainer.history))
        self._shown = time.monotonic()

    @reported
    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        if in_batch():
            return
        scores = ", ".join(
            f"{label} {score(record[name])}"
            for name, (label, _, _) in SCORES.items()
            if name in record
        )
        self._say(
            f"Epoch {record['epoch']} of {trainer.last_epoch}: {scores or 'not validated'}; best "
            f"so far: epoch {trainer.best_epoch}."
        )
        refresh(self.figure, loss_curve(trainer.history))

    @reported
    def on_end(self, trainer: Trainer) -> None:
        if in_batch():
            return
        stopped = trainer.run.record.get("stopped", "")
        ended = f"Ended after epoch {trainer.epoch}; best: epoch {trainer.best_epoch}."
        self._say(f"{stopped[0].upper()}{stopped[1:]}." if stopped else ended)
        curve = loss_curve(trainer.history)
        refresh(self.figure, curve)
        if self._output is not None:  # the notebook keeps the curve when its kernel has ended
            self._output.update(with_picture(self.widget, curve), raw=True)

    def _say(self, text: str) -> None:
        self.status.value = f"<p>{html.escape(text)}</p>"

    def _left(self, trainer: Trainer) -> str:
        """The time that the epochs to come take, at the pace since the start."""
        done = trainer.step - self._first_step
        total = (trainer.last_epoch - trainer.began) * trainer.steps_per_epoch
        to_come = total - (trainer.step - trainer.steps_before)
        seconds = (time.monotonic() - self._began) / max(done, 1) * max(to_come, 0)
        return f"{seconds:.0f} s" if seconds < 2 * MINUTE else f"{seconds / MINUTE:.0f} min"
