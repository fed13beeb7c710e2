"""One run of many, as a worker executes it: trained and evaluated as far as that is not done, from
where it stopped, in processes of its own.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import Timeout

from quadlib.config import read_settings
from quadlib.config.sweep import LimitSettings
from quadlib.files import FileError, locked
from quadlib.reports.execute import DAY_SECONDS, execute_notebook, settings_model
from quadlib.reports.process import Conditions
from quadlib.reports.render import render_outcome
from quadlib.runs import Run, RunError
from quadlib.runs.status import LOST, NOTEBOOK_LOCK

NO_LIMITS = read_settings(LimitSettings, {})
PLACES = ("run", "outputs")
EVALUATION = "04_evaluate"
LOOK_SECONDS = 0.5  # between two looks whether a run is free
# What became of runs that this worker executes now is decided by what is appended here.
_stopped_by: dict[str, list[int]] = {}


@dataclass(frozen=True)
class Job:
    """One run to be executed: its folder, the notebooks one after the other, its settings.

    `command` names the command that asked, within which a killed run is started again
    `limits.retries` times, wherever that befell it; `working_folder` is what relative paths mean.
    """

    folder: str
    notebooks: tuple[str, ...]
    settings: Mapping[str, Any]
    command: str = ""
    working_folder: str | None = None
    limits: LimitSettings = NO_LIMITS

    @property
    def run(self) -> Run:
        return Run(Path(self.folder))


@dataclass(frozen=True)
class Ended:
    """How a run ended: its status, an error's type and message, the exit code of what failed, how
    often this command started it.
    """

    run: Run
    status: str
    cause: str = ""
    exit_code: int = 0
    starts: int = 0


def finished(run: Run, notebooks: Sequence[str]) -> bool:
    """Whether these notebooks are done in a run, and what the last of them wrote is there."""
    entries = run.record["notebooks"]
    names = [Path(name).stem for name in notebooks]
    done = all(entries.get(name, {}).get("status") == "done" for name in names)
    return done and (names[-1] != EVALUATION or run.path("evaluation.json").exists())


def execute_job(job: Job) -> Ended:
    """Executes a run's notebooks in its folder, and tells how it ended; raises nothing that one run
    may cause.

    It may be called twice for one run, by two workers, where the first one was lost from sight: the
    second waits until the run is free, and finds it done, or goes on from its last checkpoint.
    """
    try:
        return _executed(job)
    except Exception as error:  # one run may not end the others
        return Ended(job.run, "failed", f"{type(error).__name__}: {error}", 1)


def stop_jobs(folders: Sequence[str], number: int, times: int) -> None:
    """Stops those of these runs that this worker executes, as the signal of this number would that
    was sent so many times; it may be called again for runs that had not begun.
    """
    for folder in folders:
        if (stopped := _stopped_by.get(folder)) is not None:
            stopped += [number] * (times - len(stopped))


def _executed(job: Job) -> Ended:
    run, allowed = job.run, 1 + job.limits.retries
    if not os.path.isfile(run.path("run.json")):
        raise RunError(
            f"{socket.gethostname()} does not see {run.folder}; workers need the outputs folder "
            "under the same path as the command that asks them"
        )
    stopped_by: list[int] = []
    _stopped_by[job.folder] = stopped_by
    try:
        while True:
            _wait_until_free(run, stopped_by)
            starts = _starts(run, job)
            if stopped_by:
                return Ended(run, "stopped", "before it started", 128 + stopped_by[0], starts)
            if finished(run, job.notebooks):
                return Ended(run, "done", starts=starts)
            if starts == allowed:
                return _lost(run, starts)
            run.update(started_by={"command": job.command, "starts": starts + 1})
            ended = _started(job, Conditions(**_limits(job), stopped_by=stopped_by), starts + 1)
            if ended.status == "killed" and stopped_by:  # before it had anything to save
                return replace(ended, status="stopped")
            if ended.status != "killed" or starts + 1 == allowed:
                return ended
    finally:
        _stopped_by.pop(job.folder, None)


def _wait_until_free(run: Run, stopped_by: Sequence[int]) -> None:
    """Waits for whoever works on this very run, or until it shall stop."""
    while not stopped_by:
        with contextlib.suppress(Timeout), locked(run.path(NOTEBOOK_LOCK), LOOK_SECONDS):
            return


def _starts(run: Run, job: Job) -> int:
    """How often this command has started the run."""
    known = run.record.get("started_by") or {}
    return int(known["starts"]) if known.get("command") == job.command else 0


def _lost(run: Run, starts: int) -> Ended:
    """A run whose worker died as often as is allowed, and with it the process that records."""
    return Ended(run, "killed", _cause(run.record["error"] or LOST), 1, starts)


def _limits(job: Job) -> dict[str, Any]:
    return {
        "threads": job.limits.threads,
        "memory_bytes": int(job.limits.memory_gib * 2**30),
        "folder": job.working_folder,
    }


def _started(job: Job, conditions: Conditions, starts: int) -> Ended:
    """One start of the run: the notebooks that are not done, until one does not end well."""
    run = job.run
    deadline = time.monotonic() + (job.limits.timeout_seconds or DAY_SECONDS * len(job.notebooks))
    for path in map(Path, job.notebooks):
        done = run.record["notebooks"].get(path.stem, {}).get("status") == "done"
        if done and str(path) != job.notebooks[-1]:
            continue
        fields = settings_model(path).model_fields
        given = {
            name: value
            for name, value in job.settings.items()
            if name in fields and name not in PLACES and value != fields[name].default
        }
        outcome = execute_notebook(
            path,
            run,
            given,
            timeout_seconds=max(deadline - time.monotonic(), 1.0),
            conditions=conditions,
        )
        render_outcome(outcome, path, run)
        if outcome.exit_code:
            cause = _cause(outcome.error, job.limits.memory_gib)
            if outcome.status == "timed-out":
                allowed = f"timeout_seconds = {job.limits.timeout_seconds:g}"
                cause = f"Timeout: {path.stem} was not over in time ({allowed})"
            return Ended(run, outcome.status, cause, outcome.exit_code, starts)
    if not finished(run, job.notebooks):
        raise FileError(f"{run.folder} holds no evaluation.json, although {EVALUATION} is done")
    return Ended(run, "done", starts=starts)


def _cause(error: Mapping[str, Any] | None, memory_gib: float = 0.0) -> str:
    """The error in one line; where memory may be short, which it seldom says itself, with its
    limit.
    """
    if not error:
        return ""
    kind, message = error["type"], error["message"]
    short = kind in ("MemoryError", "DeadKernel") or not message or "allocate" in message
    hint = f"memory_gib = {memory_gib:g} may be too little" if memory_gib and short else ""
    return ": ".join(filter(None, (kind, message, hint)))
