"""outputs/: one folder a run, with its record (run.json), history, checkpoints, notebooks and
reports.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from quadlib.config import RunSettings, Settings, SettingsError, read_settings
from quadlib.files import outputs_folder, read_json, write_json

STATUSES = ("queued", "running", "done", "failed", "killed", "timed-out")
RECORDED_PACKAGES = (
    "quadlib",
    "torch",
    "numpy",
    "pandas",
    "scikit-learn",
    "av",
    "soundfile",
    "pillow",
    "plotly",
    "papermill",
    "nbconvert",
)

Model = TypeVar("Model", bound=Settings)


class RunError(RuntimeError):
    """A run is missing, taken or not what was asked for; the message names it and a way out."""


@dataclass(frozen=True)
class Run:
    """One run folder; its record is read afresh from run.json, so that parent, kernel and reader
    see the same.
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
        return read_json(self.folder / "run.json")

    def path(self, *parts: str) -> Path:
        """A path inside the run folder."""
        return self.folder.joinpath(*parts)

    @classmethod
    def create(cls, settings: RunSettings, *, kind: str = "train") -> Run:
        """Makes the run folder that the settings name (a new sortable name when empty), or opens it
        when it is there.

        An existing run keeps its record; settings are recorded by the stage that uses them.
        """
        name = settings.run or new_name(kind)
        if name in (".", "..") or "/" in name or "\\" in name or name.startswith("."):
            raise RunError(
                f"run: {name!r} is not a plain folder name; use letters, digits and dashes"
            )
        run = cls(outputs_folder(settings.outputs) / name)
        run.folder.mkdir(parents=True, exist_ok=True)
        with run._record_lock():
            if not run.path("run.json").exists():
                write_json(
                    run.path("run.json"),
                    {
                        "name": name,
                        "status": "queued",
                        "created": _now(),
                        "started": None,
                        "ended": None,
                        "settings": {},
                        "seed": settings.seed,
                        "versions": _versions(),
                        "commit": _commit(),
                        "device": None,
                        "fingerprint": None,
                        "source": None,
                        "class_names": [],
                        "timings": {},
                        "error": None,
                    },
                )
        return run

    @classmethod
    def open(cls, name: str = "", outputs: str = "") -> Run:
        """Opens a run by name, by path, or the latest one when the name is empty; raises RunError
        naming what is there.
        """
        if name and Path(name, "run.json").is_file():
            return cls(Path(name).resolve())
        runs = list_runs(outputs)
        if not name:
            trained = [run for run in runs if run.path("history.jsonl").exists()]
            if not trained:
                raise RunError(
                    f"no trained run in {outputs_folder(outputs)}; train one first: quadlib run "
                    "02_train"
                )
            return trained[0]
        for run in runs:
            if run.name == name:
                return run
        known = ", ".join(run.name for run in runs[:5]) or "none"
        raise RunError(f"run: no {name!r} in {outputs_folder(outputs)}; the newest are {known}")

    def update(self, **fields: Any) -> None:
        """Merges fields into run.json under its lock; `timings` is merged key by key. Raises
        RunError on an unknown status.
        """
        if fields.get("status", "done") not in STATUSES:
            raise RunError(f"status: {fields['status']!r} is none of {', '.join(STATUSES)}")
        with self._record_lock():
            record = self.record
            record["timings"].update(fields.pop("timings", {}))
            if fields.get("status") == "running" and not record["started"]:
                record["started"] = _now()
            if fields.get("status") in ("done", "failed", "killed", "timed-out"):
                record["ended"] = _now()
            record.update(fields)
            write_json(self.path("run.json"), record)

    def settings(self, model: type[Model]) -> Model:
        """The settings that the run recorded, as their model; raises SettingsError when they do not
        fit it.
        """
        try:
            return read_settings(model, self.record["settings"])
        except SettingsError as error:
            raise SettingsError(
                f"{self.path('run.json')} does not fit this version of quadlib; {error}"
            ) from None

    def history(self) -> list[dict[str, Any]]:
        """The records of history.jsonl; empty before training."""
        return read_lines(self.path("history.jsonl"))

    def lock(self) -> FileLock:
        """The lock that whoever writes checkpoints holds; the system frees it when its holder
        dies.
        """
        return FileLock(self.folder / ".lock", timeout=0)

    def hold(self) -> FileLock:
        """Takes the run for this process, or raises RunError at once when another process has
        it.
        """
        lock = self.lock()
        try:
            lock.acquire()
        except Timeout:
            raise RunError(
                f"run {self.name} is being written by another process; wait for it, or choose "
                "another run name"
            ) from None
        return lock

    @contextmanager
    def in_progress(self) -> Iterator[None]:
        """Records running, then done or failed, around work in this process; in batch the parent
        process does that.

        A parent survives what kills its kernel, so only its word on how a batch run ended can be
        trusted.
        """
        if os.environ.get("QUADLIB_BATCH"):
            yield
            return
        self.update(status="running", error=None)
        try:
            yield
        except BaseException as error:
            status = "killed" if isinstance(error, KeyboardInterrupt) else "failed"
            self.update(status=status, error={"type": type(error).__name__, "message": str(error)})
            raise
        self.update(status="done")

    def _record_lock(self) -> FileLock:
        return FileLock(self.folder / ".record.lock", timeout=30)


def list_runs(outputs: str = "") -> list[Run]:
    """All runs under the outputs folder, newest first by their record."""
    found = [Run(path.parent) for path in outputs_folder(outputs).glob("*/run.json")]
    return sorted(found, key=lambda run: (run.record["created"], run.name), reverse=True)


def new_name(kind: str) -> str:
    """A sortable, readable run name: UTC date, time, kind and four random hex digits."""
    return f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}-{kind}-{secrets.token_hex(2)}"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file; empty when it is not there."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def lines_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Records as JSON lines; NaN and infinity are refused, since JSON has none."""
    return "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _commit() -> str | None:
    """The commit of the code, with `+changes` when tracked files differ from it; None outside a git
    checkout.
    """
    try:
        head, changes = (
            _git("rev-parse", "--short=12", "HEAD"),
            _git("status", "--porcelain", "--untracked-files=no"),
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changes else "")


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    ).stdout.strip()
