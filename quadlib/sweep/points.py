"""The points of a sweep, each a run of its own, and the table of how they ended."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quadlib.config import TrainSettings
from quadlib.files import read_record, write_text
from quadlib.reports.point import Ended, Job, finished
from quadlib.runs import Run
from quadlib.sweep.plan import Plan, identity, label, value_text

TABLE = "points.csv"
MEASURE = "val_macro_f1"  # of the model that was kept; never the test split's
CAUSE_WIDTH = 80


@dataclass(frozen=True)
class Point:
    """One run of a sweep: its number, which it keeps, and the settings that vary."""

    number: int
    run: Run
    values: Mapping[str, Any]
    settings: TrainSettings

    @property
    def label(self) -> str:
        return label(self.values)

    def exists(self) -> bool:
        return self.run.path("run.json").is_file()

    def job(self, plan: Plan, notebooks: Sequence[str], part_of: str) -> Job:
        """What a worker gets; makes the run's folder where it is new."""
        place = {"run": self.run.name, "outputs": str(self.run.folder.parent)}
        run = Run.create(self.settings.model_copy(update=place))
        if run.record["part_of"] != part_of:
            run.update(part_of=part_of)
        settings = self.settings.model_dump()
        return Job(str(run.folder), tuple(notebooks), settings, limits=plan.limits)


@dataclass(frozen=True)
class Row:
    """What the table says of a point; figures that are not there are None."""

    point: Point
    status: str
    starts: int
    val_macro_f1: float | None
    test_macro_f1: float | None
    seconds: float | None
    cause: str


def numbered(run: Run, plan: Plan, points: Sequence[Mapping[str, Any]]) -> list[Point]:
    """The points with their numbers: those that the sweep has run keep theirs, whatever was added
    to the file or taken out, and new ones count on.
    """
    known = list((run.record.get("sweep") or {}).get("points", []))
    entries = {json.dumps(item["settings"], sort_keys=True): item for item in known}
    found = []
    for values in points:
        settings = plan.settings(values)
        own = identity(settings)
        key = json.dumps(own, sort_keys=True)
        if key not in entries:
            number = 1 + len(known)
            entries[key] = {"number": number, "run": f"{run.name}-{number:03d}", "settings": own}
            known.append(entries[key])
        entry = entries[key]
        found.append(
            Point(entry["number"], Run(run.folder.parent / entry["run"]), values, settings)
        )
    record = run.record.get("sweep") or {}
    run.update(sweep=record | {"points": known})
    return found


def row_of(point: Point, notebooks: Sequence[str], ended: Ended | None = None) -> Row:
    """How a point stands: as it just ended, or as its run says."""
    if not point.exists():
        return Row(point, "queued", 0, None, None, None, "")
    record = point.run.record
    done = finished(point.run, notebooks)
    status = "done" if done else ended.status if ended else record["status"]
    if status == "done" and not done:
        status = "queued"  # trained, not evaluated yet
    error = record["error"] or {}
    cause = ended.cause if ended else ": ".join(filter(None, map(error.get, ("type", "message"))))
    seconds = [entry.get("seconds") or 0.0 for entry in record["notebooks"].values()]
    return Row(
        point,
        status,
        int((record.get("started_by") or {}).get("starts", 0)),
        measured(point.run),
        _tested(point.run),
        round(sum(seconds), 1),
        "" if done else cause,
    )


def measured(run: Run) -> float | None:
    """Macro-F1 on the validation split of the model that a run kept; None before its first
    epoch.
    """
    kept = [
        record[MEASURE]
        for record in run.history()
        if record.get("kind") == "epoch" and record.get("best") and MEASURE in record
    ]
    return float(kept[-1]) if kept else None


def _tested(run: Run) -> float | None:
    path = run.path("evaluation.json")
    value = (
        read_record(path, "evaluation")["scores"]["macro_f1"]["value"] if path.exists() else None
    )
    return None if value is None else float(value)


def _cells(row: Row, names: Sequence[str], digits: int) -> list[str]:
    figures = (row.val_macro_f1, row.test_macro_f1)
    return [
        str(row.point.number),
        row.point.run.name,
        *(value_text(row.point.values.get(name), digits) for name in names),
        row.status,
        str(row.starts),
        *("" if value is None else f"{value:.4f}" for value in figures),
        "" if row.seconds is None else f"{row.seconds:.1f}",
        row.cause,
    ]


def _head(names: Sequence[str]) -> list[str]:
    return [
        *("point", "run", *names, "status", "starts"),
        *("val_macro_f1", "test_macro_f1", "seconds", "cause"),
    ]


def table_cells(rows: Sequence[Row], digits: int = 4) -> list[list[str]]:
    """The head and a line a point, as text; fractions of settings to so many digits, or all (0)."""
    names = list(dict.fromkeys(name for row in rows for name in row.point.values))
    return [_head(names), *(_cells(row, names, digits) for row in rows)]


def write_table(run: Run, rows: Sequence[Row]) -> None:
    """Writes points.csv into the sweep's folder, whole or not at all."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table_cells(rows, digits=0))
    write_text(run.path(TABLE), text.getvalue())


def table_lines(rows: Sequence[Row]) -> list[str]:
    """The table as it is printed: aligned, causes cut to one line, without the runs' names."""
    cells = table_cells(rows)
    for line in cells:
        del line[1]
        line[-1] = textwrap.shorten(line[-1], CAUSE_WIDTH, placeholder=" …")
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
