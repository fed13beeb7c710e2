"""Runs a notebook in its own process and records how it really ended, whatever happens to the
kernel.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout

from quadlib.config import (
    BatchesSettings,
    CompareSettings,
    CrossvalSettings,
    DiagnoseSettings,
    EvaluateSettings,
    RunSettings,
    SettingsError,
    TrainSettings,
)
from quadlib.files import GLANCE_SECONDS, digest_file, locked, project_root, write_text
from quadlib.reports.process import Conditions, run_child
from quadlib.runs import Run, RunError
from quadlib.runs.memory import recall
from quadlib.runs.status import NOTEBOOK_LOCK
from quadlib.training.names import unknown_codes

NOTEBOOK_SETTINGS: dict[str, type[RunSettings]] = {
    "01_batches": BatchesSettings,
    "02_train": TrainSettings,
    "03_diagnose": DiagnoseSettings,
    "04_evaluate": EvaluateSettings,
    "05_compare": CompareSettings,
    "06_crossval": CrossvalSettings,
}
# nbclient can wait for ever on a kernel that has nothing to say; nothing here may
DAY_SECONDS = 86_400.0
LOG_LINES = 20


@dataclass(frozen=True)
class Outcome:
    """How a notebook ended: done, stopped (training left after a step), failed (error in a cell),
    killed (dead kernel, or a signal) or timed-out.
    """

    status: str
    notebook_path: Path
    seconds: float
    error: dict[str, Any] | None = None
    stopped_by: int = 0

    @property
    def exit_code(self) -> int:
        """0 for done, 128 + the signal's number when a signal stopped it, else 1."""
        return 0 if self.status == "done" else 128 + self.stopped_by if self.stopped_by else 1


def find_notebook(name: str) -> Path:
    """The notebook file for a path or a bare name such as `02_train`; raises RunError naming those
    that are there.

    Looked for in the project's own notebooks, then in those that came with the package.
    """
    package = Path(__file__).parents[1]
    folders = [project_root() / "notebooks", package / "notebooks", package.parent / "notebooks"]
    for path in [
        Path(name),
        *(folder / file for folder in folders for file in (name, f"{name}.ipynb")),
    ]:
        if os.path.isfile(path):
            return path.resolve()
    known = (
        ", ".join(sorted({path.stem for folder in folders for path in folder.glob("*.ipynb")}))
        or "none"
    )
    raise RunError(f"notebook: no {name!r}; known are {known}")


def settings_model(notebook: Path) -> type[RunSettings]:
    """The settings that a notebook takes, by the start of its name, so that a copy
    02_train_long.ipynb works as well.
    """
    for name, model in NOTEBOOK_SETTINGS.items():
        if notebook.stem.startswith(name):
            return model
    raise RunError(
        f"notebook: {notebook.name} starts with none of {', '.join(NOTEBOOK_SETTINGS)}, so its "
        "parameters are unknown; name a copy after the notebook it was made from"
    )


def check_parameters(notebook: Path, parameters: Mapping[str, Any]) -> RunSettings:
    """The notebook's settings with these parameters, the others as the named run was started;
    raises SettingsError that lists every wrong one.
    """
    try:
        problems = [*unknown_codes(parameters), *_unknown_fault(parameters)]
        return recall(settings_model(notebook), parameters, problems)
    except SettingsError as error:
        raise SettingsError(f"{notebook.stem}: {error}", error.problems) from None


def _unknown_fault(parameters: Mapping[str, Any]) -> list[str]:
    """What is wrong with a `fault`; the zoo is slow to load, and most runs inject none."""
    if not parameters.get("fault"):
        return []
    from quadlib.faults.lab import unknown_fault

    return unknown_fault(parameters)


def open_run(notebook: Path, settings: RunSettings) -> Run:
    """The run that a notebook writes into: 01, 02 and 05 make one (or open the one named), the
    others open the one named or the latest.
    """
    if isinstance(settings, TrainSettings | BatchesSettings | CompareSettings):
        return Run.create(settings, kind=notebook.stem[3:])
    return Run.open(settings.run, settings.outputs)


def execute_notebook(
    notebook: Path,
    run: Run,
    parameters: Mapping[str, Any],
    *,
    timeout_seconds: float | None = None,
    echo: Callable[[str], None] | None = None,
    conditions: Conditions | None = None,
) -> Outcome:
    """Executes a notebook into `<run>/notebooks/` and writes the run's status; never takes
    papermill's word for success.

    The parameters are checked before a kernel starts. The notebook runs in a child process with
    QUADLIB_BATCH=1; it counts as done only when that process exits with 0 and left its own commit
    record. SIGTERM, SIGINT, SIGHUP and SIGUSR1 interrupt the kernel's cell, so that training can
    save, then end everything. `echo` gets the notebook's printed text as it comes; `conditions` say
    where and within which limits the child runs. Raises SettingsError for wrong parameters, and
    RunError when another process is running a notebook in this run.
    """
    limit_seconds = DAY_SECONDS if timeout_seconds is None else timeout_seconds
    if not 0 < limit_seconds <= DAY_SECONDS * 365:  # nor NaN
        raise SettingsError(f"timeout: {limit_seconds:g} s; seconds above 0 were expected")
    place = {"run": run.name, "outputs": str(run.folder.parent)}
    settings = check_parameters(notebook, {**parameters, **place})
    given = {name: getattr(settings, name) for name in parameters} | settings.changed() | place
    with _only_one(run):
        _record(run, notebook.stem, "running", parameters=given)
        started = time.monotonic()
        status, error, stopped_by = run_child(
            notebook, run, given, limit_seconds, echo, conditions or Conditions()
        )
        seconds = time.monotonic() - started
        if status == "done" and notebook.stem.startswith("02") and run.record.get("stopped"):
            status = "stopped"
        if error is not None:
            error = {
                "notebook": notebook.stem,
                **error,
                "log": _last_lines(run.path("notebooks", f"{notebook.stem}.log")),
            }
        _record(run, notebook.stem, status, error=error, seconds=round(seconds, 3))
    return Outcome(
        status, run.path("notebooks", f"{notebook.stem}.ipynb"), seconds, error, stopped_by
    )


def _record(
    run: Run,
    name: str,
    status: str,
    *,
    error: dict[str, Any] | None = None,
    seconds: float | None = None,
    parameters: dict[str, Any] | None = None,
) -> None:
    """Writes the run's status and this notebook's own; run.json keeps one entry a notebook under
    `notebooks`, with the digest of the executed one once it is over.
    """
    notebooks = run.record.get("notebooks", {})
    entry = notebooks.get(name, {}) | {"status": status, "error": error, "seconds": seconds}
    executed = run.path("notebooks", f"{name}.ipynb")
    over = seconds is not None and executed.exists()
    entry["sha256"] = digest_file(executed) if over else None
    entry |= {} if parameters is None else {"parameters": parameters}
    timings = {} if seconds is None else {name: seconds}
    run.update(status=status, error=error, timings=timings, notebooks=notebooks | {name: entry})


@contextlib.contextmanager
def _only_one(run: Run) -> Iterator[None]:
    """Holds the run for one notebook at a time; the system frees the lock when its holder dies."""
    note = run.path(".notebook.holder")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(run.path(NOTEBOOK_LOCK), GLANCE_SECONDS))
        except Timeout:
            holder = note.read_text() if note.exists() else "another process"
            raise RunError(
                f"run {run.name} is busy: {holder} is running a notebook in it; wait until it is "
                "done, or choose another run name"
            ) from None
        write_text(note, f"process {os.getpid()} on {socket.gethostname()}")
        stack.callback(note.unlink, missing_ok=True)
        yield


def _last_lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
