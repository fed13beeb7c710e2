"""Watches on after the traced steps, until an evaluation and a save after training are over."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from quadlib.diagnosis.observe.frames import frames_of, frames_within
from quadlib.diagnosis.observe.later import Later
from quadlib.diagnosis.observe.later_watch import LaterWatch
from quadlib.diagnosis.observe.leaving import EnoughSeen
from quadlib.diagnosis.observe.record import Record
from quadlib.diagnosis.observe.recorder import Recorder


class WatchingOn(Recorder):
    """A recorder that does not leave the loop after its last watched step.

    A cheap watch goes on without tracing, until the first evaluation after training and the first
    save after it have ended, the loop ends, or the seconds are over. seconds: 0 leaves at once.
    settled(record) is asked after the last watched step whether that is enough, as it is where an
    error was found. What is seen stands in `record.later`.
    """

    def __init__(
        self,
        steps: int = 8,
        *,
        seconds: float,
        settled: Callable[[Record], bool] | None = None,
        stop: bool = True,
    ) -> None:
        if seconds < 0:
            raise ValueError(f"seconds is {seconds}; give 0 to leave the loop at once, or more")
        super().__init__(steps, stop=stop)
        self.seconds, self.settled = seconds, settled
        self._outermost: FrameType | None = None
        self._watch: LaterWatch | None = None

    def __enter__(self) -> WatchingOn:
        frame = sys._getframe(1)
        while frame.f_code.co_name == "__enter__" and frame.f_back is not None:
            frame = frame.f_back
        self._outermost = frame
        super().__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, traceback: Any) -> bool:
        later = self.record.later
        self._outermost = None
        if later is None:
            return super().__exit__(kind, error, traceback)
        if self._watch is not None:
            self._end_watch("finished" if kind in (None, SystemExit) else kind.__name__, traceback)
        return kind is EnoughSeen

    def _end(self) -> None:
        self.record.ended = "enough"
        if not self.record.n_steps or not self.seconds or self._outermost is None:
            super()._end()
            return
        self.take_out()
        with self.looking():
            self.look_at_hand(frames_within(sys._getframe(), self._outermost))
        self.record.goes_on = True
        if self.settled is not None and self._is_settled():
            self._leave()
            return
        self.record.later = Later(self.record.n_steps, self.seconds)
        self._watch = LaterWatch(self, self.record.later, self._outermost, self._end_watch)
        self._watch.install()

    def _is_settled(self) -> bool:
        """The answer to `settled`, which may do anything but change the loop's course."""
        assert self.settled is not None
        with self.passing_on(), _disable_current_modes(), torch.enable_grad():
            return self.settled(self.record)

    def _end_watch(self, how: str, traceback: Any = None) -> None:
        assert self._watch is not None and self.record.later is not None
        self.record.later.ended = how
        self._watch.remove(frames_of(traceback))
        self._watch = None
        if how in ("left", "limit"):
            self._leave()
        else:
            self.release()

    def _leave(self) -> None:
        self.release()
        if self.stop:
            raise EnoughSeen
