"""The demo's sources side by side, a process each: one core trains while the other reads, starts
kernels and renders.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from quadlib.files import usable_cores

log = logging.getLogger(__name__)


def demo_side_by_side(
    sources: Sequence[str], *, size: str, outputs: str, say: Callable[[str], None] = log.info
) -> int:
    """Runs the demo of each source in a process of its own, the cores shared out evenly; returns
    the highest exit code.

    Lines are said as they come, each behind the name of its source. A signal is handed on to every
    process.
    """
    began = time.monotonic()
    threads = str(max(1, usable_cores() // len(sources)))
    environment = {"OMP_NUM_THREADS": threads, **os.environ, "PYTHONUNBUFFERED": "1"}
    processes = {
        source: subprocess.Popen(
            [
                sys.executable,
                "-m",
                "quadlib",
                "demo",
                "--source",
                source,
                "--size",
                size,
                *(["--outputs", outputs] if outputs else []),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,
        )
        for source in sources
    }
    readers = [
        threading.Thread(target=_echo, args=(source, process, say))
        for source, process in processes.items()
    ]
    with _handed_on(list(processes.values())):
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        codes = [process.wait() for process in processes.values()]
    say(f"both in {time.monotonic() - began:.0f} s, {threads} thread{'s' * (threads != '1')} each")
    return max(code if code >= 0 else 128 - code for code in codes)


def _echo(source: str, process: subprocess.Popen[str], say: Callable[[str], None]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            say(f"{source:<8}| {line.rstrip()}")


@contextmanager
def _handed_on(processes: list[subprocess.Popen[str]]) -> Iterator[None]:
    """SIGINT and SIGTERM go to the processes, which record how their runs ended before they
    stop.
    """

    def hand_on(number: int, _frame: FrameType | None) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
