"""outputs/: one folder a run, with its record (run.json), history, checkpoints, notebooks and
reports.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from filelock import Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from quadlib.config import RunSettings, Settings, SettingsError, read_settings
from quadlib.files import (
    GLANCE_SECONDS,
    FileError,
    leftovers_of,
    locked,
    make_folder,
    outputs_folder,
    read_record,
    write_record,
)
from quadlib.runs.commands import train_command
from quadlib.runs.earlier import as_recorded
from quadlib.runs.lines import read_lines
from quadlib.runs.names import name_problem, new_name
from quadlib.runs.provenance import code_commit, package_versions
from quadlib.runs.status import TRAINING_LOCK, as_it_is

Status = Literal["queued", "running", "done", "stopped", "failed", "killed", "timed-out"]
STATUSES: tuple[Status, ...] = get_args(Status)
LATEST, BEST = "latest_model.pth", "best_model.pth"  # the only checkpoint files of a run

Model = TypeVar("Model", bound=Settings)


class RunError(RuntimeError):
    """A run is missing, taken or not what was asked for; the message names it and a way out."""


class RunRecord(BaseModel):
    """What run.json holds at least; stages may add entries of their own."""

    model_config = ConfigDict(extra="allow", strict=True)

    name: str
    status: Status
    created: str  # times are ISO 8601 in UTC
    number: int = 0  # in the order in which they were made, which a clock set back does not change
    started: str | None = None
    ended: str | None = None
    settings: dict[str, Any] = {}
    seed: int = 0
    versions: dict[str, str] = {}
    commit: str | None = None
    device: str | None = None
    fingerprint: str | None = None
    source: str | None = None
    class_names: list[str] = []
    timings: dict[str, float] = {}
    error: dict[str, Any] | None = None
    part_of: str | None = None  # the cross-validation or sweep of which it is a part
    notebooks: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True)
class Run:
    """One run folder; its record is read afresh from run.json, so that parent, kernel and reader
    see the same.

    Example:
        >>> from quadlib.config import RunSettings
        >>> run = Run.create(RunSettings(run="first", outputs="outputs"))
        >>> with run.hold():
        ...     run.update(status="running", timings={"load_seconds": 0.5})
        ...     print(run.record["status"], run.record["timings"])
        running {'load_seconds': 0.5}
        >>> Run.open("first", outputs="outputs") == run
        True
    """

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def record(self) -> dict[str, Any]:
        """What run.json holds (RunRecord), but "killed" for what it calls running and nobody works
        on; raises FileError naming everything that is wrong with it.
        """
        return as_it_is(self.folder, self._written)

    @property
    def _written(self) -> dict[str, Any]:
        path = self.path("run.json")
        record = read_record(path, "run")
        try:
            return RunRecord(**record).model_dump()
        except ValidationError as error:
            problems = [
                f"  {'.'.join(map(str, item['loc']))}: {_fault(item)}" for item in error.errors()
            ]
        raise FileError(
            f"{path} is not the record of a run:\n"
            + "\n".join(problems)
            + "\nRestore the file, or delete its folder."
        )

    @property
    def trained(self) -> bool:
        """Whether there is a checkpoint from which training goes on."""
        return any((self.checkpoints / name).is_file() for name in (LATEST, BEST))

    def path(self, *parts: str) -> Path:
        """A path inside the run folder."""
        return self.folder.joinpath(*parts)

    @classmethod
    def create(cls, settings: RunSettings, *, kind: str = "train") -> Run:
        """Makes the run folder that the settings name, or opens it when it exists; an existing run
        keeps its record.

        Args:
            settings: `run` is the folder's name (empty: a new sortable one), `outputs` where it
                lies, `seed` is recorded; the other settings are recorded by the stage that uses
                them.
            kind: Word in a new name, such as `train`.

        Returns:
            The run, status queued when it is new.

        Raises:
            RunError: The name is not a plain folder name.
            FileError: There can be no such folder.
        """
        name = settings.run or new_name(kind)
        if problem := name_problem(name):
            raise RunError(f"run: {problem}")
        run = cls(outputs_folder(settings.outputs) / name)
        make_folder(run.folder)
        with run._record_lock():
            if not run.path("run.json").exists():
                record = RunRecord(
                    name=name,
                    status="queued",
                    created=_now(),
                    number=1
                    + max((item["number"] for item in _records(settings.outputs)), default=0),
                    seed=settings.seed,
                    versions=package_versions(),
                    commit=code_commit(),
                )
                write_record(run.path("run.json"), "run", record.model_dump())
        return run

    @classmethod
    def open(cls, name: str = "", outputs: str = "") -> Run:
        """Opens a run by name, by path, or the latest trained one when the name is empty.

        Args:
            name: Name or path of a run folder; empty takes the latest run that was trained.
            outputs: Outputs folder; empty takes the project's own.

        Raises:
            RunError: No such run; the message names the newest ones.
            FileError: The run's record is damaged; the message says how.
        """
        if (
            name
            and (len(Path(name).parts) > 1 or not outputs)
            and os.path.isfile(Path(name, "run.json"))
        ):
            return cls(Path(name).resolve())
        runs = list_runs(outputs)
        if not name:
            trained = [run for run in runs if run.path("history.jsonl").exists()]
            if not trained:
                raise RunError(
                    f"no trained run in {outputs_folder(outputs)}; train one first: "
                    + train_command(outputs_folder(outputs))
                )
            return trained[0]
        named = cls(outputs_folder(outputs) / name)
        if os.path.isfile(named.path("run.json")) and named.record:
            return named
        known = ", ".join(run.name for run in runs[:5]) or "none"
        raise RunError(f"run: no {name!r} in {outputs_folder(outputs)}; the newest are {known}")

    def update(self, **fields: Any) -> None:
        """Merges fields into run.json under its lock.

        Args:
            fields: Entries of RunRecord or a stage's own; `timings` is merged key by key, and
                `status` also sets when the run started or ended.

        Raises:
            RunError: The status is none of STATUSES.
        """
        if fields.get("status", "done") not in STATUSES:
            raise RunError(f"status: {fields['status']!r} is none of {', '.join(STATUSES)}")
        with self._record_lock():
            for rest in leftovers_of(self.path("run.json")):  # of a writer that was killed
                rest.unlink()
            record = self._written
            record["timings"].update(fields.pop("timings", {}))
            if fields.get("status") == "running" and not record["started"]:
                record["started"] = _now()
            if fields.get("status") in ("done", "stopped", "failed", "killed", "timed-out"):
                record["ended"] = _now()
            record.update(fields)
            write_record(self.path("run.json"), "run", record)

    def settings(self, model: type[Model]) -> Model:
        """The settings that the run recorded, as their model, with the place where the run lies
        now; raises SettingsError when they do not fit it.
        """
        place = {"run": self.name, "outputs": str(self.folder.parent)}
        try:
            return read_settings(model, as_recorded(self.record["settings"]) | place)
        except SettingsError as error:
            raise SettingsError(
                f"{self.path('run.json')} does not fit this version of quadlib; {error}"
            ) from None

    def history(self) -> list[dict[str, Any]]:
        """The records of history.jsonl; empty before training."""
        return read_lines(self.path("history.jsonl"))

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Takes the run for one writer of checkpoints, or raises RunError at once when it is taken;
        the system frees it when its holder dies.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path(TRAINING_LOCK), GLANCE_SECONDS))
            except Timeout:
                raise RunError(
                    f"run {self.name} is being written by another process; wait for it, or choose "
                    "another run name"
                ) from None
            yield

    @contextmanager
    def in_progress(self) -> Iterator[None]:
        """Records running, then done, stopped or failed, around work in this process; in batch the
        parent process does that.

        A parent survives what kills its kernel, so only its word on how a batch run ended can be
        trusted.
        """
        if started_by_quadlib():
            yield
            return
        self.update(status="running", error=None)
        try:
            yield
        except BaseException as error:
            status = "killed" if isinstance(error, KeyboardInterrupt) else "failed"
            self.update(status=status, error={"type": type(error).__name__, "message": str(error)})
            raise
        self.update(status="stopped" if self.record.get("stopped") else "done")

    def _record_lock(self) -> AbstractContextManager[None]:
        return locked(self.path(".record.lock"), 30)


@dataclass(frozen=True)
class DamagedRun:
    """A run folder whose run.json cannot be used, and why."""

    run: Run
    cause: str


def list_runs(outputs: str = "") -> list[Run]:
    """All runs under the outputs folder whose record is whole, the one made last first; the parts
    of a cross-validation or a sweep are left to it.

    Args:
        outputs: Outputs folder; empty takes the project's own.

    Example:
        >>> from quadlib.config import RunSettings
        >>> run = Run.create(RunSettings(run="only", outputs="other-outputs"))
        >>> list_runs("other-outputs") == [run]
        True
    """
    records = {
        run: record
        for run, record in _scan(outputs)
        if isinstance(record, dict) and not record["part_of"]
    }
    order = ("number", "created", "name")
    return sorted(records, key=lambda run: [records[run][name] for name in order], reverse=True)


def damaged_runs(outputs: str = "") -> list[DamagedRun]:
    """The runs under the outputs folder that `list_runs` leaves out, by name, each with the file
    and the cause.
    """
    return [DamagedRun(run, str(cause)) for run, cause in _scan(outputs) if isinstance(cause, str)]


def _scan(outputs: str) -> Iterator[tuple[Run, dict[str, Any] | str]]:
    """Every run folder with its record, or with what is wrong with it."""
    folder = outputs_folder(outputs)
    try:
        paths = sorted(folder.glob("*/run.json"))
    except (OSError, ValueError) as error:
        raise RunError(f"outputs: {str(folder)!r} cannot be listed ({error})") from None
    for path in paths:
        run = Run(path.parent)
        try:
            yield run, run.record
        except OSError as error:
            yield run, str(error)


def _records(outputs: str) -> Iterator[dict[str, Any]]:
    return (record for _, record in _scan(outputs) if isinstance(record, dict))


def _fault(item: Any) -> str:
    return (
        f"{item['input']!r} does not fit: {item['msg']}" if item["type"] != "missing" else "missing"
    )


def started_by_quadlib() -> bool:
    """Whether `quadlib run` started this process: it has settled the parameters, and records how
    the notebook ends.
    """
    return os.environ.get("QUADLIB_BATCH", "") not in ("", "0")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
