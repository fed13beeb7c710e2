"""`quadlib sweep`: every point of a file as a run, on the workers of this machine or of a cluster,
then a table of all and a comparison of those that stand.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import psutil

from quadlib.config import RunSettings, read_settings
from quadlib.evaluation.compare import compare
from quadlib.evaluation.score import short
from quadlib.files import usable_cores
from quadlib.reports.execute import execute_notebook, find_notebook
from quadlib.reports.gallery import write_gallery
from quadlib.reports.point import EVALUATION, Ended, Job, finished
from quadlib.reports.render import render_outcome
from quadlib.reports.workers import Workers
from quadlib.runs import Run, RunError
from quadlib.sweep.page import write_page
from quadlib.sweep.plan import Plan, read_plan
from quadlib.sweep.points import TABLE, Point, Row, numbered, row_of, table_lines, write_table

log = logging.getLogger(__name__)

COMPARE = "05_compare"
MOST_COMPARED = 12  # variants: each is held against every other
GIB_OF_A_RUN = 2.0


class Source(Protocol):
    """Where points come from: a grid has all at once, a search asks for one after the other."""

    notebooks: list[str]
    total: int
    points: list[Point]

    def waiting(self) -> Iterator[Point]:
        """The points that are not done, each when a worker is free for it."""

    def tell(self, point: Point, ended: Ended) -> None:
        """Takes notice of how a point ended."""


class Grid:
    """Every value with every other; what is done is kept, what failed or was killed goes on."""

    def __init__(self, plan: Plan, run: Run) -> None:
        self.notebooks = [str(plan.notebook), str(find_notebook(EVALUATION))]
        self.points = numbered(run, plan, plan.points)
        self.total = len(self.points)

    def waiting(self) -> Iterator[Point]:
        for point in self.points:
            if not (point.exists() and finished(point.run, self.notebooks)):
                yield point

    def tell(self, point: Point, ended: Ended) -> None:
        """Nothing depends on it."""


def sweep(
    path: str | Path,
    *,
    workers: int = 0,
    scheduler: str = "",
    name: str = "",
    outputs: str = "",
    say: Callable[[str], None] = log.info,
) -> int:
    """Runs every point of a sweep's file, and returns the exit code: 0 where all are done, 1 where
    some are not, 128 and the signal's number where one stopped it.

    Each point is trained and evaluated in processes of its own. One that fails stops no other; one
    that is killed, or whose worker is, goes on from its last checkpoint, once. The same command
    goes on where it stopped, and starts what failed again.

    Args:
        path: TOML file, as `read_plan` takes it.
        workers: Runs at a time on this machine; 0 takes one a core, one where there is CUDA.
        scheduler: Address or file of a running Dask scheduler, whose workers are used instead.
        name: Name of the sweep; empty takes the file's.
        outputs: Outputs folder; empty takes the project's own.
        say: Gets every line of progress.

    Raises:
        SettingsError: The file or settings in it are wrong; all are named before anything starts.
        RunError: The name is taken, or another process runs this sweep; or no scheduler answers.
    """
    plan = read_plan(path, outputs)
    run = _open(name or Path(path).stem, outputs)
    here = 1 if scheduler else _at_a_time(plan)
    pool = Workers(workers or here, scheduler, say=say)
    with run.hold():
        source = _source(plan, run)
        run.update(status="running", error=None, source=plan.settings(plan.points[0]).source)
        try:
            rows = _executed(source, plan, run, pool, say)
            if plan.is_search and not pool.stopped_by:
                rows = _test_best(source, plan, run, pool, rows, say)
            code = _report(rows, plan, run, pool, say)
        except BaseException as error:
            run.update(status="failed", error={"type": type(error).__name__, "message": str(error)})
            raise
    write_gallery(run.folder.parent)
    return code


def _open(name: str, outputs: str) -> Run:
    run = Run.create(read_settings(RunSettings, {"run": name, "outputs": outputs}))
    record = run.record
    if record.get("sweep") is None and (record["settings"] or record["notebooks"]):
        raise RunError(f"run {name} is there and is no sweep; name this one by --run")
    if record.get("sweep") is None:
        run.update(sweep={"points": []})
    return run


def _at_a_time(plan: Plan) -> int:
    """One run a core, as far as memory goes; runs on a GPU would only share it."""
    import torch

    on_cpu = all(plan.settings(point).device == "cpu" for point in plan.points)
    if torch.cuda.is_available() and not on_cpu:
        return 1
    memory_gib = psutil.virtual_memory().total / 2**30
    return max(1, min(usable_cores(), int(memory_gib / GIB_OF_A_RUN)))


def _source(plan: Plan, run: Run) -> Source:
    if not plan.is_search:
        return Grid(plan, run)
    from quadlib.sweep.search import Search  # Optuna is an extra

    return Search(plan, run)


def _executed(
    source: Source, plan: Plan, run: Run, pool: Workers, say: Callable[[str], None]
) -> list[Row]:
    """Runs what is not done; the rows of all points."""
    rows = {point.number: row_of(point, source.notebooks) for point in source.points}
    asked: dict[Run, Point] = {}
    over = done = sum(row.status == "done" for row in rows.values())
    say(
        f"{source.total} points in {run.folder}, "
        + (f"{done} done before; " if done else "")
        + (f"workers of {pool.scheduler}" if pool.scheduler else f"{pool.count} at a time")
    )

    def jobs() -> Iterator[Job]:
        for point in source.waiting():
            asked[point.run] = point
            yield point.job(plan, source.notebooks, run.name)

    began = time.monotonic()
    with contextlib.closing(pool.each(jobs())) as each:
        for ended in each:
            point = asked.pop(ended.run)
            source.tell(point, ended)
            over += 1
            left = (time.monotonic() - began) / (over - done) * (source.total - over)
            row = rows[point.number] = row_of(point, source.notebooks, ended)
            say(f"{over}/{source.total}  {point.label}  {_told(row)}  ~{left:.0f} s left")
            write_table(run, list(rows.values()))
    for point in source.points:  # of a search, those that were left before they ended
        if point.number not in rows:
            rows[point.number] = row_of(point, source.notebooks)
    return [rows[point.number] for point in source.points]


def _told(row: Row) -> str:
    again = f", started {row.starts} times" if row.starts > 1 else ""
    if row.status != "done":
        return f"{row.status}{again}: {' '.join(row.cause.split())}"
    figures = [
        f"{name} {short(value, 3)}"
        for name, value in (("val", row.val_macro_f1), ("test", row.test_macro_f1))
        if value is not None
    ]
    return f"done in {row.seconds:.0f} s{again}  macro-F1 {', '.join(figures)}"


def best_of(rows: Sequence[Row]) -> Row | None:
    """The point with the highest validation score; of equals the first."""
    known = [row for row in rows if row.status == "done" and row.val_macro_f1 is not None]
    return max(known, key=lambda row: row.val_macro_f1 or 0.0, default=None)


def _test_best(
    source: Source, plan: Plan, run: Run, pool: Workers, rows: list[Row], say: Callable[[str], None]
) -> list[Row]:
    """Evaluates the one trial that validation chose: the test split judges it, and chose none."""
    best = best_of(rows)
    if best is None:
        return rows
    notebooks = [*source.notebooks, str(find_notebook(EVALUATION))]
    job = best.point.job(plan, notebooks, run.name)
    for ended in [] if finished(best.point.run, notebooks) else list(pool.each([job])):
        say(f"trial {best.point.number} on the test split: {ended.status} {ended.cause}".rstrip())
    return [row_of(row.point, source.notebooks) if row is best else row for row in rows]


def _report(
    rows: Sequence[Row], plan: Plan, run: Run, pool: Workers, say: Callable[[str], None]
) -> int:
    """Prints and writes what came out, and records how the sweep ended."""
    write_table(run, rows)
    for line in table_lines(rows):
        say(line)
    say(f"the table: {run.path(TABLE)}")
    if (best := best_of(rows)) is not None:
        say(
            f"best on validation: point {best.point.number} ({best.point.label}), macro-F1 "
            f"{short(best.val_macro_f1 or 0.0, 3)}; its run: {best.point.run.folder}"
        )
    if pool.stopped_by:
        run.update(status="stopped")
        say("stopped; the same command goes on from here")
        return 128 + pool.stopped_by
    if not plan.is_search:
        _compare([row for row in rows if row.status == "done"], run, say)
    say(f"every point with its reports: {write_page(run, rows)}")
    undone = [row for row in rows if row.status != "done"]
    if not undone:
        run.update(status="done", error=None)
        return 0
    message = f"{len(undone)} of {len(rows)} points are not done; {TABLE} says why"
    run.update(status="failed", error={"type": "Points", "message": message})
    say(f"{message}. The same command starts them again")
    return 1


def _compare(rows: Sequence[Row], run: Run, say: Callable[[str], None]) -> None:
    """05_compare over the points that stand, of many the best on validation."""
    chosen = sorted(rows, key=lambda row: -(row.val_macro_f1 or 0.0))[:MOST_COMPARED]
    runs = [row.point.run for row in chosen]
    if len(runs) < 2:
        say(f"no comparison: {'one' if runs else 'none'} of the points is done")
        return
    try:
        compare(runs)
    except RunError as error:
        say(f"no comparison: {error}")
        return
    if len(chosen) < len(rows):
        say(f"compared are the {len(chosen)} points that are best on validation")
    notebook = find_notebook(COMPARE)
    outcome = execute_notebook(notebook, run, {"runs": [str(item.folder) for item in runs]})
    path = render_outcome(outcome, notebook, run)
    if outcome.error is not None:
        say(f"{outcome.status}: {outcome.error['type']}: {outcome.error['message']}")
    say(f"report: {path}")
