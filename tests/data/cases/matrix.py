"""What a case is, and how it is judged: made in an empty folder, opened by every door, compared.

A case is right when quadlib reads the values that numpy or pandas says are in the file, or refuses
with the words that name the cause. Every other end is one of four faults.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from typer.testing import CliRunner

from quadlib import Run, Trainer, open_dataset
from quadlib.cli import app
from quadlib.config import TrainSettings, read_settings

Verdict = Literal["right", "foreign traceback", "silently wrong", "healthy refused", "remedy fails"]
VERDICTS: tuple[Verdict, ...] = Verdict.__args__  # type: ignore[attr-defined]
SMALL = {"epochs": 1, "width": 8, "embedding_dim": 4, "fusion_heads": 1, "series_steps": 32}
SETTING = re.compile(r"\b([a-z_]+)=(\"[^\"]*\"|\[[^\]]*\]|[\w.-]+)")
COMMAND = re.compile(r"`(quadlib [^`]+)`")


@dataclass(frozen=True)
class Right:
    """The case is read: decoded `values`, modality -> sample_id -> array, within `tolerance` of the
    array's range; `says` are words that the printed inventory or its notes must hold; `holds` looks
    at the dataset and returns what is wrong with it, or nothing.
    """

    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    says: tuple[str, ...] = ()
    holds: Callable[[Any], str] | None = None
    tolerance: float = 0.02


@dataclass(frozen=True)
class Refused:
    """The case is refused by every door, with these words; `repair` changes the files as the
    message proposes, after which they are read.
    """

    words: tuple[str, ...]
    repair: Callable[[Path], None] | None = None


@dataclass(frozen=True)
class Case:
    """One line of the matrix: `make` writes into an empty folder and returns settings beside
    source="table" and path="recordings.csv".
    """

    name: str
    kind: str
    make: Callable[[Path], Mapping[str, Any] | None]
    right: Right | Refused


@dataclass(frozen=True)
class Outcome:
    """How one case ended, and why it is not right."""

    case: Case
    verdict: Verdict
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.verdict}: {self.case.kind}: {self.case.name}: {self.detail}"


def judge(case: Case, folder: Path) -> Outcome:
    """Makes the case in `folder`, which becomes the working folder meanwhile, and opens it by the
    command line, by `open_dataset` and, where both are content, by one epoch of training.
    """
    with _working_in(folder):
        made = dict(case.make(folder) or {})
        values = {"source": "table", "path": "recordings.csv", "outputs": "outputs"} | SMALL | made
        verdict, detail = _judged(case.right, values, folder)
    return Outcome(case, verdict, detail)


def run_all(cases: Iterable[Case], folder: Path) -> list[Outcome]:
    """Every case in a folder of its own."""
    outcomes = []
    for number, case in enumerate(cases):
        place = folder / str(number)
        place.mkdir(parents=True)
        outcomes.append(judge(case, place))
    return outcomes


def summary(outcomes: list[Outcome]) -> str:
    """The counts of every verdict by kind, then each case that is not right."""
    kinds = list(dict.fromkeys(outcome.case.kind for outcome in outcomes))
    lines = [" | ".join(["kind", *VERDICTS])]
    for kind in [*kinds, "all"]:
        counts = Counter(item.verdict for item in outcomes if kind in (item.case.kind, "all"))
        lines.append(" | ".join([kind, *(str(counts[verdict]) for verdict in VERDICTS)]))
    return "\n".join([*lines, *(str(item) for item in outcomes if item.verdict != "right")])


def _judged(right: Right | Refused, values: dict[str, Any], folder: Path) -> tuple[Verdict, str]:
    code, printed = _check(values)
    if code not in (0, 1, 2):
        return "foreign traceback", f"data check: {printed[-300:]}"
    try:
        dataset = open_dataset(read_settings(TrainSettings, values))
        refusal = ""
    except Exception as error:
        if not type(error).__module__.startswith("quadlib."):
            return "foreign traceback", f"open_dataset: {error!r}"[:300]
        dataset, refusal = None, str(error)
    if isinstance(right, Refused):
        if dataset is not None or code == 0:
            door = "data check" if code == 0 else "open_dataset"
            return "silently wrong", f"{door} accepts it; expected: {right.words}"
        missing = [word for word in right.words if word not in printed or word not in refusal]
        if missing:
            return "silently wrong", f"the cause is not named: {missing} in {printed[-500:]}"
        return _remedies(right, values, printed, folder)
    if dataset is None or code:
        both = refusal or f"data check alone: {printed}"
        return "healthy refused", both[-500:]
    unlike = list(_unlike(right, dataset, printed))
    if unlike:
        return "silently wrong", "; ".join(unlike)[:500]
    try:
        settings = read_settings(TrainSettings, values)
        Trainer(dataset, settings, Run.create(settings)).fit()
    except Exception as error:
        return "silently wrong", f"data check is content, training is not: {error!r}"[:400]
    return "right", ""


def _unlike(right: Right, dataset: Any, printed: str) -> Iterator[str]:
    rows = {name: row for row, name in enumerate(dataset.table.frame["sample_id"])}
    for modality, samples in right.values.items():
        if modality not in dataset.store.arrays:
            yield f"no modality {modality}, but {list(dataset.store.arrays)}"
            continue
        for sample_id, expected in samples.items():
            expected = np.asarray(expected, dtype=np.float64)
            array = np.asarray(dataset.store.arrays[modality][rows[sample_id]], dtype=np.float64)
            if array.shape != expected.shape:
                yield f"{sample_id} {modality} has shape {array.shape}, not {expected.shape}"
            elif np.abs(array - expected).max() > right.tolerance * max(np.ptp(expected), 1e-6):
                yield f"{sample_id} {modality} is {array.round(3)}, not {expected.round(3)}"
    if right.holds is not None and (wrong := right.holds(dataset)):
        yield wrong
    for words in right.says:
        if words not in printed:
            yield f"not said: {words!r} in {printed[-400:]}"


def _remedies(
    right: Refused, values: dict[str, Any], printed: str, folder: Path
) -> tuple[Verdict, str]:
    """Every setting and command that the message proposes, tried one by one."""
    lines = [line.strip() for line in printed.splitlines()]
    for line in lines:
        remedy = line.partition("; ")[2]
        for command in COMMAND.findall(line):
            result = CliRunner().invoke(app, shlex.split(command)[1:])
            if result.exit_code:
                return "remedy fails", f"{command}: {result.output[-300:]}"
        for name, value in SETTING.findall(remedy):
            if name not in TrainSettings.model_fields:
                continue
            plain = json.loads(value) if value[0] in '"[' else value
            if values.get(name) == plain:
                return "remedy fails", f"{name}={value} is set already: {line}"
            code, after = _check(values | {name: plain})
            if code not in (0, 1) or (code and line in after):
                return "remedy fails", f"{name}={value}: {after[-300:]}"
    if right.repair is not None:
        right.repair(folder)
        code, after = _check(values)
        if code:
            return "remedy fails", f"repaired as proposed, and refused: {after[-300:]}"
    return "right", ""


def _check(values: Mapping[str, Any]) -> tuple[int, str]:
    """Exit code and output of `quadlib data check`; -1 where a foreign error escapes."""
    texts = {
        name: json.dumps(value) if isinstance(value, list | dict) else str(value)
        for name, value in values.items()
    }
    options = [part for name, value in texts.items() for part in ("-p", f"{name}={value}")]
    result = CliRunner().invoke(app, ["data", "check", *options])
    error = result.exception
    if error is None or isinstance(error, SystemExit):
        return result.exit_code, result.output
    if type(error).__module__.startswith("quadlib."):
        return 1, f"{result.output}\n{error}"
    return -1, repr(error)


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """The folder is the working folder; environment variables that a case sets end with it."""
    before, environment = Path.cwd(), dict(os.environ)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environment)
