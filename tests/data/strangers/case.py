"""What a case is, and the tables around its files."""

import csv
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COUNT = 8  # recordings a case
LABELS = ["good", "bad"] * 4
SPLITS = ["train"] * 4 + ["val"] * 2 + ["test"] * 2


@dataclass(frozen=True)
class Made:
    """A case's files on disk: the settings that open them, and `compare(dataset, words)`, which
    lists how what was read differs from the truth."""

    settings: dict[str, Any]
    compare: Callable[[Any, str], list[str]]
    folder: Path | None = None  # a folder for make-table, which writes the table that is opened


@dataclass(frozen=True)
class Case:
    """One stranger's files.

    `good` names the outcomes that serve the stranger: "right" (read, equal to the truth), "refused"
    (by name of the file and its cause). `says` is a pattern that the words of a refusal, or of a
    reading whose values are not all of the file's, must hold. `source` is where the idea is from.
    """

    name: str
    make: Callable[[Path], Made]
    good: frozenset[str] = field(default_factory=lambda: frozenset({"right"}))
    says: str = ""
    source: str = ""


def listed(cases: list[Case], good: str = "right", says: str = "", source: str = "") -> Callable:
    """A decorator that appends a maker to `cases` under its own name."""

    def keep(make: Callable[[Path], Made]) -> Callable[[Path], Made]:
        name = make.__name__.strip("_")
        cases.append(Case(name, make, frozenset(good.split(" or ")), says, source))
        return make

    return keep


def table(folder: Path, columns: dict[str, Sequence[str]], **settings: Any) -> dict[str, Any]:
    """Write recordings.csv of eight recordings with these columns of files; the settings for it."""
    names = [f"r{number}" for number in range(COUNT)]
    every = {"sample_id": names, "label": LABELS, "group": names, "split": SPLITS} | columns
    with (folder / "recordings.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(every)
        writer.writerows(zip(*every.values(), strict=True))
    return opened(folder / "recordings.csv", **settings)


def opened(path: Path, **settings: Any) -> dict[str, Any]:
    """Settings that open the table at `path`."""
    return {"source": "table", "path": str(path), "batch_size": 4} | settings


def ffmpeg(*arguments: str | Path, data: bytes | None = None) -> None:
    """Run ffmpeg, which overwrites and speaks only of errors."""
    command = ["ffmpeg", "-nostdin" if data is None else "-hide_banner", "-y", "-v", "error"]
    subprocess.run([*command, *map(str, arguments)], input=data, check=True, capture_output=True)
