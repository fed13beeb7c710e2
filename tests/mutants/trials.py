"""A copy of the project in which one file is changed, and the tests that run the changed line."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from coverage import CoverageData

from tests.mutants.changes import Change

MOST_BYTES = 8 * 2**30  # of memory: a changed number may ask for all there is
SLACK_SECONDS = 20.0  # beyond three times what the tests take
MOST_SECONDS = 120.0  # of tests a change: what they do not notice by then counts as not noticed


class Trials:
    """One room's tests in a copy of the project; `caught` says whether they notice a change.

    A child forked from this process runs them, since it has torch loaded already, and each change
    is met by the tests that run its lines, the fastest first.
    """

    def __init__(self, root: Path, folder: Path, tests: Sequence[str]) -> None:
        self.copy = folder
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=root, capture_output=True, text=True, check=True)
        for name in filter(lambda name: (root / name).is_file(), names.stdout.splitlines()):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, folder / name)
        times, coverage = folder / "times.json", folder / ".coverage"
        options = ["--cov=quadlib", "--cov-context=test", "--cov-report="]
        end = self._run([*options, *tests], times)
        if end != 0:
            log = (folder / "log").read_text()
            raise SystemExit(
                f"{log}\nThe tests of {', '.join(tests)} fail as they are: exit {end}."
            )
        self.seconds: dict[str, float] = json.loads(times.read_text())
        self.data = CoverageData(str(coverage))
        self.data.read()

    def caught(self, change: Change) -> bool:
        """Whether a test fails, or does not end, where the change is made."""
        tests = self._tests_of(change)
        path = self.copy / change.path
        before = path.read_bytes()
        limit = SLACK_SECONDS + 3 * sum(self.seconds[name] for name in tests)
        try:
            path.write_bytes(change.applied(before))
            self._forget(path)
            return self._run(["--exitfirst", *tests], limit=limit) != 0
        finally:
            path.write_bytes(before)
            self._forget(path)

    def _tests_of(self, change: Change) -> list[str]:
        """Tests that run a line of the change; all where it runs as its module is read, or at most
        in a process that a test starts; a fixture that runs it is used by its whole file.
        """
        contexts = self.data.contexts_by_lineno(str(self.copy / change.path))
        lines = range(change.line, change.last_line + 1)
        names = {name for line in lines for name in contexts.get(line, [])}
        chosen = set()
        for name in names:
            test, _, phase = name.rpartition("|")
            if not test:
                chosen |= set(self.seconds)
            elif phase == "run":
                chosen.add(test)
            else:
                chosen |= {other for other in self.seconds if _file(other) == _file(test)}
        ordered = sorted(chosen & set(self.seconds) or self.seconds, key=self.seconds.__getitem__)
        ends = itertools.accumulate(self.seconds[name] for name in ordered)
        return [name for name, end in zip(ordered, ends, strict=True) if end < MOST_SECONDS]

    def _run(self, options: list[str], times: Path | None = None, limit: float = 3600.0) -> int:
        """Exit status of pytest in a forked child; -9 where the limit in seconds was over."""
        shutil.rmtree(self.copy / ".hypothesis", ignore_errors=True)
        child = os.fork()
        if not child:
            _child(self.copy, lambda: _pytest(options, times))
        end = time.monotonic() + limit
        while time.monotonic() < end:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def _forget(self, path: Path) -> None:
        """Bytecode of the former text, which Python tells apart by size and whole seconds alone."""
        Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)


def _file(test: str) -> str:
    return test.partition("::")[0]


def _child(folder: Path, work: Callable[[], int]) -> None:
    """Runs work in the folder, silently and in a process group of its own, and ends."""
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    os.chdir(folder)
    silence = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    os.environ["PYTHONPATH"] = str(folder)
    sys.path.insert(0, str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    try:
        end = work()
    except BaseException:
        traceback.print_exc()
        end = 3
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(end)


class _Times:
    """Notes what each test that passed takes, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.seconds[report.nodeid] = report.duration


def _pytest(options: list[str], times: Path | None) -> int:
    noted = _Times()
    quiet = ["-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--durations=0"]
    end = int(pytest.main([*quiet, *options], plugins=[noted]))
    if times:
        times.write_text(json.dumps(noted.seconds))
    return end
