"""How training ends: also by an interrupt, after its step, with a checkpoint from which it goes on
bit for bit.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from quadlib.runs import Run
from quadlib.runs.commands import notebook_command
from quadlib.runs.run import LATEST, started_by_quadlib


@dataclass(frozen=True)
class FitResult:
    """How training ended: epochs done, the best epoch and its monitor value, whether it ended
    before the last epoch, and where it was stopped by an interrupt (empty where it was not).
    """

    epochs: int
    best_epoch: int
    monitor: str
    best_value: float
    stopped_early: bool
    seconds: float
    stopped: str = ""


@contextmanager
def first_interrupt(ask: Callable[[], bool]) -> Iterator[None]:
    """Calls `ask` on an interrupt (Ctrl-C, or that of a Jupyter kernel) instead of raising
    KeyboardInterrupt; one that comes when `ask` says False, since it was asked before, raises it.

    Only the main thread hears of interrupts; in any other nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        if not ask():
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


def stopped_text(run: Run, epoch: int, step: int) -> str:
    """Where a run was stopped, what holds it, and how to go on; step 0 for a whole epoch."""
    if started_by_quadlib():
        way = f"go on: {notebook_command('02_train', run)}"
    elif "ipykernel" in sys.modules:
        way = "run the cell again to go on"
    else:
        way = "train with the same settings again to go on"
    within = f", step {step}" if step else ""
    return f"stopped after epoch {epoch}{within}; {LATEST} holds it; {way}"
