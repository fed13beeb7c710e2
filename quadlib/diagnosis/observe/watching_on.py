"""Watches on after the traced steps, until an evaluation and a save after training are over."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import torch
from torch.optim import Optimizer
from torch.utils._python_dispatch import _disable_current_modes

from quadlib.diagnosis.observe.at_hand import note_variables
from quadlib.diagnosis.observe.frames import frames_of, frames_within
from quadlib.diagnosis.observe.later import Later
from quadlib.diagnosis.observe.later_watch import SHORT_SECONDS, LaterWatch
from quadlib.diagnosis.observe.leaving import EnoughSeen
from quadlib.diagnosis.observe.record import Record
from quadlib.diagnosis.observe.recorder import Recorder

MOST_LOOPS = 4  # optimisers of loops that are watched, one after the other
Shapes = tuple[tuple[int, ...], ...]


class WatchingOn(Recorder):
    """A recorder that does not leave the loop after its last watched step.

    A cheap watch goes on without tracing, until the first evaluation after training and the first
    save after it have ended, the loop ends, or the seconds are over. seconds: 0 leaves at once.
    settled(record) is asked after the last watched step whether that is enough, as it is where an
    error was found. What is seen stands in `record.later`.

    Where another loop begins meanwhile (fine-tuning after pre-training), its steps are watched in
    their turn; the record is then that loop's, and `record.before` the one before.
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
        self._deadline: float | None = None
        self._seen: list[Shapes] = []  # of the loops before

    def __enter__(self) -> WatchingOn:
        frame = sys._getframe(1)
        while frame.f_code.co_name == "__enter__" and frame.f_back is not None:
            frame = frame.f_back
        self._outermost = frame
        super().__enter__()
        return self

    def ran(self, variables: Mapping[str, Any]) -> None:
        """What a script's variables hold at its end, when its frame is gone."""
        if self._watch is not None:
            with self.looking():
                note_variables(self.record, variables)

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
        now = time.monotonic()
        self._deadline = self._deadline or now + self.seconds
        seconds = max(self._deadline - now, min(SHORT_SECONDS, self.seconds))
        self.record.later = Later(self.record.n_steps, seconds)
        self._watch = LaterWatch(
            self, self.record.later, self._outermost, self._end_watch, self._begin_anew
        )
        self._watch.install()

    def _is_settled(self) -> bool:
        """The answer to `settled`, which may do anything but change the loop's course."""
        assert self.settled is not None
        with self.passing_on(), _disable_current_modes(), torch.enable_grad():
            return self.settled(self.record)

    def _begin_anew(self, optimiser: Optimizer) -> bool:
        """Watches the steps of another loop from its second one on; whether it is one of a kind
        that was not watched yet.
        """
        assert self._watch is not None and self.record.later is not None
        self._seen += [_shapes(known) for known in self.record.optimisers]
        if _shapes(optimiser) in self._seen or len(self._seen) > MOST_LOOPS:
            return False
        self.record.later.ended = "left"
        self._watch.remove()
        self._watch = None
        self.end_log()
        before = self.record
        super().__init__(self.steps, stop=self.stop)
        self.record.before = before
        self.put_in()
        return True

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


def _shapes(optimiser: Optimizer) -> Shapes:
    """Of the parameters that an optimiser moves: the same for every fold and every seed."""
    every = (p for group in optimiser.param_groups for p in group["params"])
    return tuple(tuple(p.shape) for p in every if p.requires_grad)
