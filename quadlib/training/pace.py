"""When a run is saved within an epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from quadlib.config import TrainSettings
from quadlib.training import ranks

MOST_SHARE = 0.01  # of the time that saving within epochs may take


class Pace:
    """Says when so many steps or seconds have gone by since the last save; by time, no oftener than
    costs a hundredth of it, whatever the model's size.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self.every_steps = settings.checkpoint_every_steps
        self.every_seconds = settings.checkpoint_every_seconds
        self.step, self.seconds = 0, 0.0  # of the last save: after which step, how long it took
        self.begin()

    def begin(self) -> None:
        """The time counts from here."""
        self.saved = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether to save after this optimiser step; the process that saves knows."""
        if not ranks.first():
            return False
        if self.every_steps and step - self.step >= self.every_steps:
            return True
        wait = max(self.every_seconds, self.seconds / MOST_SHARE)
        return self.every_seconds > 0 and time.monotonic() - self.saved >= wait

    @contextmanager
    def saving(self, step: int) -> Iterator[None]:
        """Around every save, also at the end of an epoch."""
        began = time.monotonic()
        yield
        self.begin()
        self.step, self.seconds = step, self.saved - began
