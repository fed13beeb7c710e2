"""What looks on while a run trains: the events, in the order in which they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quadlib.data.dataset import Batch

if TYPE_CHECKING:
    from quadlib.training.trainer import Trainer


class Watcher:
    """What looks on while a run trains; every method may be left as it is. Nothing here may change
    the run.
    """

    def on_start(self, trainer: Trainer) -> None:
        """Before the first step, everything built and, when resuming, restored."""

    def on_batch(self, trainer: Trainer, batch: Batch) -> None:
        """A batch is about to be embedded."""

    def on_step(self, trainer: Trainer, step: int) -> None:
        """The optimiser has stepped; gradients are still there."""

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """An epoch was trained, validated and saved; `record` is its line of the history."""

    def on_end(self, trainer: Trainer) -> None:
        """Training has ended, early or not."""
