"""The monitor of training: the loss between floor and plateau, and how far the epoch is."""

from __future__ import annotations

import html
import time
import uuid
from pathlib import Path
from typing import Any

from quadlib.figures.live_curve import loss_svg
from quadlib.figures.style import in_batch, score
from quadlib.figures.training import SCORES
from quadlib.files import write_text
from quadlib.jupyter.live import reported
from quadlib.training.trainer import Trainer, Watcher

MINUTE = 60.0
SCRIPT = Path(__file__).with_suffix(".js")
FILE = "monitor.html"  # in the run's folder: what is shown now


class Words:
    """The line above the curve; a new value is shown at once."""

    def __init__(self, monitor: TrainingMonitor) -> None:
        self._monitor, self._value = monitor, "<p>Training has not begun yet.</p>"

    @property
    def value(self) -> str:
        return self._value

    @value.setter
    def value(self, text: str) -> None:
        self._value = text
        self._monitor.show()


class TrainingMonitor(Watcher):
    """Draws a run while it trains, and one that was trained before as it stands; in batch it is
    silent, since the trainer prints a line an epoch.

    What it shows is an output and no widget: a page that is loaded again while the cell runs shows
    the last state, and goes on from the run's folder, though the kernel is busy; a stored notebook
    keeps the curve.
    """

    SECONDS = 3.0  # between two updates within an epoch

    def __init__(self) -> None:
        self._began = self._shown = 0.0
        self._first_step = 0
        self._output: Any = None
        self._folder: Path | None = None
        self._ended = False
        self._history: list[dict[str, Any]] = []
        self.status = Words(self)

    def content(self) -> str:
        """The words and the curve."""
        ended = " data-ended" if self._ended else ""
        curve = loss_svg(self._history) if self._history else ""
        return f'<div role="status"{ended}>{self.status.value}</div>{curve}'

    def page(self) -> str:
        """The content, and the script that follows the run's folder once the kernel is silent."""
        name = f"quad-monitor-{uuid.uuid4().hex[:12]}"
        place = "" if self._folder is None else (self._folder.absolute() / FILE).as_posix()
        given = f'data-place="{html.escape(place)}" data-home="{html.escape(str(Path.home()))}"'
        script = SCRIPT.read_text(encoding="utf-8").replace("__ID__", name)
        follow = "" if self._ended else f"<script>{script}</script>"
        return f'<div class="quad-monitor" id="{name}" {given}>{self.content()}</div>{follow}'

    def show(self) -> None:
        """Puts the present state in the place of the last."""
        if self._folder is not None and self._folder.is_dir():
            write_text(self._folder / FILE, self.content())
        if self._output is not None:
            self._output.update({"text/html": self.page()}, raw=True)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if not in_batch():
            self._output = display({"text/html": self.page()}, raw=True, display_id=True)

    @reported
    def on_start(self, trainer: Trainer) -> None:
        if in_batch():
            return
        self._first_step, self._ended = trainer.step, False
        self._folder, self._history = trainer.run.folder, trainer.history
        self._began = self._shown = time.monotonic()
        self._say("The first step is still running." if not trainer.step else "Going on.")

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

    @reported
    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        if in_batch() or time.monotonic() - self._shown < self.SECONDS / 3:
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

    @reported
    def on_end(self, trainer: Trainer) -> None:
        if in_batch():
            return
        self._folder, self._history, self._ended = trainer.run.folder, trainer.history, True
        stopped = trainer.run.record.get("stopped", "")
        ended = f"Ended after epoch {trainer.epoch}; best: epoch {trainer.best_epoch}."
        self._say(f"{stopped[0].upper()}{stopped[1:]}." if stopped else ended)

    def _say(self, text: str) -> None:
        self._shown = time.monotonic()
        self.status.value = f"<p>{html.escape(text)}</p>"

    def _left(self, trainer: Trainer) -> str:
        """The time that the epochs to come take, at the pace since the start."""
        done = trainer.step - self._first_step
        total = (trainer.last_epoch - trainer.began) * trainer.steps_per_epoch
        to_come = total - (trainer.step - trainer.steps_before)
        seconds = (time.monotonic() - self._began) / max(done, 1) * max(to_come, 0)
        return f"{seconds:.0f} s" if seconds < 2 * MINUTE else f"{seconds / MINUTE:.0f} min"
