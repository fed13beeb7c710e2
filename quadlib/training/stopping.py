"""How training ends: also by a signal, after its step, with a checkpoint from which it goes on
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
from typing import Any

from quadlib.processes import ENDS
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
def first_signals(ask: Callable[[], bool]) -> Iterator[None]:
    """Calls `ask` on an interrupt (Ctrl-C, or that of a Jupyter kernel) instead of raising
    KeyboardInterrupt, and on SIGTERM, SIGHUP and SIGUSR1, by which schedulers announce the end,
    instead of dying; these are sent again on leaving, to do what they would have done.

    The same signal a second time, or one after somebody else asked, does that at once. Only the
    main thread hears of signals; in any other nothing is changed, and an ignored one stays ignored,
    but an interrupt, which shells ignore for what they start behind &.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        again, others = number in seen, bool(seen)  # another one announces the same end
        if not again:
            seen.append(number)
            if others or ask():
                return
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        signal.signal(number, before[number])
        signal.raise_signal(number)

    for end in ENDS:
        if end == signal.SIGINT or signal.getsignal(end) != signal.SIG_IGN:
            before[end] = signal.signal(end, note) or signal.SIG_DFL
    try:
        yield
    finally:
        if seen and started_by_quadlib():  # its parent may announce the same end only now
            before[signal.SIGINT] = signal.SIG_IGN  # until the cell is over
        for number, handler in before.items():
            signal.signal(number, handler)
    for heard in seen:
        if heard != signal.SIGINT and not started_by_quadlib():  # there, its parent decides
            signal.raise_signal(heard)


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
