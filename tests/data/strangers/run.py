"""Opens cases by quadlib's public doors and says which class each falls into."""

import os
import re
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .case import Case, Made

GOOD = ("right", "right with a note", "refused")
BAD = ("SILENTLY WRONG", "HEALTHY REFUSED", "POOR WORDS", "FOREIGN TRACEBACK", "HANG")


@dataclass(frozen=True)
class Outcome:
    """Which class a case fell into, and the words that show why."""

    result: str
    why: str
    words: str = ""

    @property
    def good(self) -> bool:
        return self.result in GOOD


def judge(case: Case) -> Outcome:
    """Make a case's files, check and open them, and compare with the truth."""
    folder = Path(tempfile.mkdtemp(prefix="strangers_")).resolve()
    try:
        return _judge(case, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _judge(case: Case, folder: Path) -> Outcome:
    files = folder / "files"
    files.mkdir()
    made = case.make(files)
    settings = made.settings | {"outputs": str(folder / "outputs")}
    before = _words_of(made, folder) if made.folder else (0, "", None)
    if before[0] or before[2]:
        return _refusal(case, *before)
    code, words, error = _captured(
        lambda: _command(["data", "check", *_parameters(settings)]), folder
    )
    words = before[1] + words
    if code or error:
        return _refusal(case, code, words, error)
    try:
        wrong = made.compare(_dataset(settings), words)
    except Exception as problem:
        return Outcome("FOREIGN TRACEBACK", _last(problem), words)
    if not wrong and "right" in case.good:
        return Outcome("right", "", words)
    if not wrong:
        return Outcome("SILENTLY WRONG", "unusable, and read without a word", words)
    if case.says and re.search(case.says, words):
        return Outcome("right with a note", "; ".join(wrong), words)
    return Outcome("SILENTLY WRONG", "; ".join(wrong), words)


def _words_of(made: Made, folder: Path) -> tuple[int, str, BaseException | None]:
    target = made.settings["path"]
    return _captured(
        lambda: _command(["data", "make-table", str(made.folder), "--out", target]), folder
    )


def _refusal(case: Case, code: int, words: str, error: BaseException | None) -> Outcome:
    if error is not None or "Traceback (most" in words:
        reason = _last(error) if error is not None else words.strip().splitlines()[-1]
        return Outcome("FOREIGN TRACEBACK", reason, words)
    line = " / ".join(part.strip() for part in words.strip().splitlines()[-4:])
    if "refused" not in case.good:
        return Outcome("HEALTHY REFUSED", line, words)
    if case.says and not re.search(case.says, words):
        return Outcome("POOR WORDS", line, words)
    return Outcome("refused", line, words)


def _command(arguments: list[str]) -> int:
    from quadlib.cli import main

    before, sys.argv = sys.argv, ["quadlib", *arguments]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


def _parameters(settings: dict[str, Any]) -> list[str]:
    import json

    pairs = []
    for name, value in settings.items():
        text = value if isinstance(value, str) else json.dumps(value)
        pairs += ["-p", f"{name}={text}"]
    return pairs


def _dataset(settings: dict[str, Any]) -> Any:
    from quadlib import open_dataset
    from quadlib.config import TrainSettings

    return open_dataset(TrainSettings(**settings))


def _captured(call: Callable[[], int], folder: Path) -> tuple[int, str, BaseException | None]:
    """Exit code, everything written to the two channels (libraries in C too), a stray exception."""
    log = folder / "words.txt"
    error: BaseException | None = None
    code = 0
    with log.open("w") as file, _descriptors(file.fileno()), warnings.catch_warnings():
        warnings.simplefilter("always")
        with redirect_stdout(file), redirect_stderr(file):
            try:
                code = call()
            except Exception as problem:
                error = problem
                traceback.print_exc()
    return code, log.read_text(errors="replace"), error


@contextmanager
def _descriptors(target: int) -> Iterator[None]:
    """What libraries write past Python goes to `target`."""
    kept = os.dup(1), os.dup(2)
    try:
        os.dup2(target, 1)
        os.dup2(target, 2)
        yield
    finally:
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        for number in kept:
            os.close(number)


def _last(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {str(error).strip()[:300]}"
