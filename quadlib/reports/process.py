"""The child process of a notebook, from start to end: its deadline, the signals that stop it, and
how it really ended.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from quadlib.files import patient_environment, read_json
from quadlib.processes import ENDS
from quadlib.runs import Run

# What an interrupted cell gets to end its step and save before everything is killed.
GRACE_SECONDS = 30.0
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Conditions:
    """Where and within which limits a child runs: its threads and the bytes that each of its
    processes may take, 0 for no limit, and its working folder.

    A signal's number that anybody appends to `stopped_by` stops it as the signal itself would.
    """

    threads: int = 0
    memory_bytes: int = 0
    folder: str | None = None
    stopped_by: list[int] = field(default_factory=list)


def run_child(
    notebook: Path,
    run: Run,
    parameters: dict[str, Any],
    timeout_seconds: float,
    echo: Callable[[str], None] | None,
    conditions: Conditions,
) -> tuple[str, dict[str, Any] | None, int]:
    """Status, error and the signal that stopped it, of one child process from start to end."""
    folder = run.path("notebooks")
    folder.mkdir(exist_ok=True)
    commit_path, log_path = (
        folder / f".{notebook.stem}.commit.json",
        folder / f"{notebook.stem}.log",
    )
    commit_path.unlink(missing_ok=True)
    stopped_before = run.record.get("stopped")  # by an earlier start, if by any
    job = {
        "notebook": str(notebook),
        "output": str(folder / f"{notebook.stem}.ipynb"),
        "commit": str(commit_path),
        "parent": os.getpid(),
        "parameters": parameters,
        "timeout_seconds": math.ceil(timeout_seconds),
        "memory_bytes": conditions.memory_bytes,
    }
    environment = patient_environment() | {
        "QUADLIB_BATCH": "1",
        "PYTHONUNBUFFERED": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    if conditions.threads:
        environment |= dict.fromkeys(THREADS, str(conditions.threads))
    with (
        signals_caught(conditions.stopped_by) as caught,
        open(log_path, "wb") as log,
        open(log_path, encoding="utf-8", errors="replace") as reader,
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", "quadlib.reports.child"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=conditions.folder,
            start_new_session=True,
        )
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(job).encode())
            process.stdin.close()
            deadline = time.monotonic() + timeout_seconds
            while process.poll() is None and not caught and time.monotonic() < deadline:
                time.sleep(0.05)
                _echo(reader, echo)
            timed_out = process.poll() is None and not caught
            _stop(process, caught, lambda: run.record.get("stopped") in ("", stopped_before))
            _echo(reader, echo)
        finally:
            _kill_tree(process)
    commit = read_json(commit_path) if commit_path.exists() else None
    commit_path.unlink(missing_ok=True)
    if caught and commit is not None and commit["status"] == "done":
        return "done", None, caught[0]  # training stopped after its step, and its page was made
    if caught:
        return (
            "killed",
            _reason(commit, "Signal", f"stopped by {signal.Signals(caught[0]).name}"),
            caught[0],
        )
    if timed_out:
        return (
            "timed-out",
            _reason(commit, "Timeout", f"not finished after {timeout_seconds:g} s"),
            0,
        )
    if commit is None:
        return (
            "killed",
            _reason(
                None,
                "DeadProcess",
                f"the notebook's process ended with code {process.returncode} and left no record",
            ),
            0,
        )
    if commit["status"] == "done" and process.returncode != 0:
        return (
            "failed",
            _reason(
                None,
                "DeadProcess",
                f"the notebook's process ended with code {process.returncode} after its last cell",
            ),
            0,
        )
    return commit["status"], commit["error"], 0


def _reason(commit: dict[str, Any] | None, kind: str, message: str) -> dict[str, Any]:
    """Why it was stopped, with the cell and traceback that the interrupted child could still
    record.
    """
    seen = (commit or {}).get("error") or {"cell": None, "traceback": []}
    return {**seen, "type": kind, "message": message}


def _stop(
    process: subprocess.Popen[bytes], caught: list[int], interrupts: Callable[[], bool]
) -> None:
    """Interrupts the running cell and waits; a second signal, or the end of the grace time, leaves
    the rest to `_kill_tree`. A training that was told too, and has saved already, is left to make
    its page: an interrupt would meet the cells behind it.
    """
    if process.poll() is not None:
        return
    signals_seen = len(caught)
    kernels = psutil.Process(process.pid).children()
    for kernel in kernels if interrupts() else []:
        with contextlib.suppress(psutil.NoSuchProcess):
            kernel.send_signal(signal.SIGINT)
    deadline = time.monotonic() + GRACE_SECONDS
    while process.poll() is None and len(caught) == signals_seen and time.monotonic() < deadline:
        time.sleep(0.05)


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kills what is left of the child, its kernel and the kernel's loaders, and waits until they
    are gone.
    """
    if process.poll() is not None:
        return
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, timeout=5)
    process.wait()


@contextlib.contextmanager
def signals_caught(caught: list[int]) -> Iterator[list[int]]:
    """Collects the signals that end a run while it lasts, ignored ones left alone; only the main
    thread may do so, elsewhere nothing is heard.
    """
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)

    heard = [number for number in ENDS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in heard}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _echo(reader: Any, echo: Callable[[str], None] | None) -> None:
    if echo is not None and (text := reader.read()):
        echo(text)
