"""Sensor logs whose truth is a function of time: what quadlib's steps must hold."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .case import COUNT, Made, table

TOLERANCE = 0.04  # of a channel's range: steps may be means of bins or points between readings


@dataclass(frozen=True)
class Truth:
    """Readings of one file: seconds since its first reading, and each channel's values at them."""

    seconds: np.ndarray
    channels: dict[str, np.ndarray] = field(default_factory=dict)
    clocked: bool = True  # False: the file has no clock, and its rows count as evenly spaced


def readings(number: int, count: int = 240, seconds: float = 4.0) -> Truth:
    """A current and a voltage that differ in every recording, in shape and in level."""
    time = np.arange(count) * seconds / count
    phase = time / time[-1]
    current = 20 + number + 5 * np.sin(2 * np.pi * (0.6 + 0.1 * number) * phase + number)
    voltage = -3 + 0.5 * number + (1.5 + 0.1 * number) * phase
    return Truth(time, {"current": current, "voltage": voltage})


def logs(
    folder: Path, write: Callable[[Path, int], Truth], ending: str = "csv", **settings: Any
) -> Made:
    """Eight recordings with one log each, written by `write(path, number)`."""
    names = [f"log{number}.{ending}" for number in range(COUNT)]
    truths = [write(folder / name, number) for number, name in enumerate(names)]
    return Made(
        table(folder, {"log": names}, **settings),
        lambda dataset, words: compare_logs(dataset, words, truths),
    )


def text(path: Path, lines: list[str], encoding: str = "utf-8", end: str = "\n") -> None:
    """Write lines as they stand."""
    path.write_bytes((end.join(lines) + end).encode(encoding))


def rows(*columns: Any, separator: str = ",") -> list[str]:
    """Lines of columns of finished text."""
    return [separator.join(cells) for cells in zip(*columns, strict=True)]


def numbers(values: np.ndarray, form: str = ".4f", decimal: str = ".") -> list[str]:
    """Values as text."""
    return [format(value, form).replace(".", decimal) for value in values]


def compare_logs(dataset: Any, words: str, truths: list[Truth], modality: str = "log") -> list[str]:
    """How channels, lengths and values differ from the truth; empty where they do not."""
    names = channel_names(words, modality)
    expected = list(truths[0].channels)
    order = [_place(name, names) for name in expected]
    wrong = [f"channel {n} is missing" for n, at in zip(expected, order, strict=True) if at is None]
    wrong += [f"channel {name} too many" for at, name in enumerate(names) if at not in order]
    array = dataset.store.arrays[modality]
    ids = dataset.table.frame["sample_id"].tolist()
    facts = dataset.store.facts[modality]
    for number, truth in enumerate(truths):
        row = ids.index(f"r{number}")
        length = truth.seconds[-1] - truth.seconds[0]
        seconds = facts[row].get("seconds") if facts[row] else None
        if truth.clocked and (seconds is None or abs(seconds - length) > 0.03 * length + 1e-9):
            wrong.append(f"r{number} is {seconds} s long, not {length:.6g} s")
        for name, at in zip(expected, order, strict=True):
            if at is not None:
                wrong += _compare_channel(f"r{number} {name}", array[row, at], truth, name)
    return wrong[:6]


def channel_names(words: str, modality: str) -> list[str]:
    """The channels that the report names for a modality, in order."""
    block = re.search(rf"^{modality}: series.*\n((?: .*\n?)*)", words, re.MULTILINE)
    return re.findall(r"^  channel (.+): \S+ to \S+$", block[1], re.MULTILINE) if block else []


def _place(name: str, names: list[str]) -> int | None:
    """Where a channel stands; "*1" is the second, whatever quadlib calls what has no name."""
    if name.startswith("*"):
        return int(name[1:]) if int(name[1:]) < len(names) else None
    for match in (str.__eq__, str.__contains__):
        for at, other in enumerate(names):
            if match(other.lower(), name.lower()):
                return at
    return None


def _compare_channel(where: str, steps: np.ndarray, truth: Truth, name: str) -> list[str]:
    values = np.asarray(truth.channels[name], dtype=float)
    time = truth.seconds
    centres = time[0] + (np.arange(len(steps)) + 0.5) / len(steps) * (time[-1] - time[0])
    good = np.isfinite(values)
    expected = np.interp(centres, time[good], values[good])
    off = np.abs(steps - expected)
    # Where a channel jumps, a step may lie between what is before and behind it.
    beside = np.stack([np.roll(expected, -1), expected, np.roll(expected, 1)])
    beside[0, -1] = beside[2, 0] = np.nan
    outside = np.maximum(np.nanmin(beside, 0) - steps, steps - np.nanmax(beside, 0))
    limit = TOLERANCE * (np.ptp(values[good]) or max(abs(values[good][0]), 1))
    if not (np.quantile(off, 0.95) <= limit and outside.max() <= 6 * limit):
        at = int(np.argmax(off))
        return [f"{where} is {steps[at]:.6g} at step {at}, not {expected[at]:.6g}"]
    return []
