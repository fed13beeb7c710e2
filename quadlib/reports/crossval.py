"""Cross-validation: every fold of every seed a run through the notebooks, then one report."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from quadlib.config import SettingsError, TrainSettings
from quadlib.data.open import open_table
from quadlib.files import digest_bytes, outputs_folder, read_record
from quadlib.reports.execute import check_parameters, execute_notebook, find_notebook
from quadlib.reports.gallery import write_gallery
from quadlib.reports.point import PLACES, Job, finished
from quadlib.reports.render import render_outcome
from quadlib.reports.workers import Workers
from quadlib.runs import Run, RunError
from quadlib.runs.memory import FREE_TO_CHANGE

log = logging.getLogger(__name__)

STAGES = ("02_train", "04_evaluate")
REPORT = "06_crossval"
# What crossval sets itself, fold by fold, and what changes no figure.
OWN = {
    "fold": "it tests every fold in turn",
    "split": "every fold is a division of its own",
    "fractions": "it tests one fold and takes val from the others",
    "resume": "a fold goes on where it stopped",
}
MAY_CHANGE = {*FREE_TO_CHANGE} - {"refit", "path", "data_root"}


def cross_validate(
    values: Mapping[str, Any],
    folds: int = 0,
    seeds: int = 0,
    *,
    workers: int = 1,
    scheduler: str = "",
    say: Callable[[str], None] = log.info,
) -> int:
    """Trains and evaluates every fold of every seed, then writes the report of all; returns the
    exit code.

    The same command goes on where it stopped: folds that were evaluated are kept, and further seeds
    are added to them. Without a name, the run is named after the source and its settings.

    Args:
        values: Settings of 02_train, `run` the name of the cross-validation; the seeds count up
            from `seed`, and divide anew, but the recordings stay those of `data_seed`, or of the
            first seed.
        folds: Parts of whole sessions, each tested once a seed; 0 takes those of the named run, or
            5.
        seeds: How many times; 0 takes those of the named run, or 1.
        say: Gets every line of progress.

    Raises:
        SettingsError: Settings are wrong, or are crossval's own.
        TableError: The recordings cannot be divided so.
        RunError: The name is taken by another run or by other settings.
    """
    folds, seeds = _asked(values, folds, seeds)
    settings = _checked(values, folds, seeds)
    open_table(_settings_of(settings, settings.seed, 1, folds))  # all problems before any kernel
    run = _open(settings, folds, seeds)
    cells = [
        (seed, fold)
        for seed in range(settings.seed, settings.seed + seeds)
        for fold in range(1, folds + 1)
    ]
    say(f"{folds} folds x {seeds} seed{'s' * (seeds > 1)} in {run.folder}")
    parts = {cell: _part(run, settings, *cell, folds) for cell in cells}
    scores = {cell: _score(part) for cell, part in parts.items()}
    for seed, fold in cells:
        if scores[seed, fold]:
            say(f"seed {seed} fold {fold}/{folds}  {scores[seed, fold]}  kept")
    left = {parts[cell]: cell for cell in cells if not scores[cell]}
    jobs = [
        _job(part, _settings_of(settings, *cell, folds).model_dump()) for part, cell in left.items()
    ]
    began, pool = time.monotonic(), Workers(workers, scheduler, say=say)
    with contextlib.closing(pool.each(jobs)) as each:
        for ended in each:
            seed, fold = left.pop(ended.run)
            if ended.exit_code:
                say(f"{ended.run.name}: {ended.cause or ended.status}")
                say(f"the same command goes on from here; its report: {ended.run.path('reports')}")
                write_gallery(run.folder.parent)
                return ended.exit_code
            seconds = (time.monotonic() - began) / (len(jobs) - len(left)) * len(left)
            say(f"seed {seed} fold {fold}/{folds}  {_score(ended.run)}  ~{seconds:.0f} s left")
    if pool.stopped_by:
        return 128 + pool.stopped_by
    return _report(run, say)


def _asked(values: Mapping[str, Any], folds: int, seeds: int) -> tuple[int, int]:
    """Folds and seeds, those of the named run where they are 0."""
    path = outputs_folder(str(values.get("outputs", ""))) / str(values.get("run", "")) / "run.json"
    known = (read_record(path, "run").get("crossval") if os.path.isfile(path) else None) or {}
    return folds or known.get("folds", 5), seeds or len(known.get("seeds", [0]))


def _checked(values: Mapping[str, Any], folds: int, seeds: int) -> TrainSettings:
    """The settings of every fold, or all that is wrong with them at once."""
    problems = [
        f"  {name}: crossval sets it itself, since {why}; leave it out"
        for name, why in OWN.items()
        if name in values
    ]
    if folds < 2:
        problems.append(f"  folds: {folds} does not fit: at least 2 parts are needed")
    if seeds < 1:
        problems.append(f"  seeds: {seeds} does not fit: at least 1 is needed")
    if problems:
        raise SettingsError("crossval:\n" + "\n".join(problems))
    settings = check_parameters(find_notebook("02_train"), values)
    assert isinstance(settings, TrainSettings)
    return settings


def _open(settings: TrainSettings, folds: int, seeds: int) -> Run:
    """The run of the cross-validation, new or gone on with; its record names all its parts."""
    fixed = {key: value for key, value in settings.changed().items() if key not in MAY_CHANGE}
    digest = digest_bytes(json.dumps(fixed | {"folds": folds}, sort_keys=True).encode())[:8]
    name = settings.run or f"crossval-{settings.source}-{digest}"
    run = Run.create(settings.model_copy(update={"run": name}), kind="crossval")
    record = run.record
    known = record.get("crossval")
    if known is None and (record["settings"] or record["notebooks"]):
        raise RunError(f"run {name} is there and is no cross-validation; choose another name")
    if known is not None:
        begun = run.settings(TrainSettings).model_dump() | {"folds": known["folds"]}
        changed = [
            f"{setting} {begun[setting]!r} -> {value!r}"
            for setting, value in (settings.model_dump() | {"folds": folds}).items()
            if setting not in MAY_CHANGE and begun[setting] != value
        ]
        if changed:
            raise RunError(
                f"run {name} was begun with other settings ({', '.join(changed)}); choose another "
                "name for these"
            )
        seeds = max(seeds, len(known["seeds"]))
    numbers = list(range(settings.seed, settings.seed + seeds))
    run.update(
        source=settings.source,
        settings=settings.model_dump(exclude=set(PLACES)),
        crossval={
            "folds": folds,
            "seeds": numbers,
            "parts": [
                {"seed": seed, "fold": fold, "run": _name(run, seed, fold)}
                for seed in numbers
                for fold in range(1, folds + 1)
            ],
        },
    )
    return run


def _name(run: Run, seed: int, fold: int) -> str:
    return f"{run.name}-s{seed}-f{fold}"


def _settings_of(settings: TrainSettings, seed: int, fold: int, folds: int) -> TrainSettings:
    """Those of one fold; the recordings are made or divided by the source with one seed."""
    data_seed = settings.data_seed if settings.data_seed >= 0 else settings.seed
    return settings.model_copy(
        update={"seed": seed, "data_seed": data_seed, "fold": f"{fold}/{folds}"}
    )


def _part(run: Run, settings: TrainSettings, seed: int, fold: int, folds: int) -> Run:
    own = _settings_of(settings, seed, fold, folds)
    part = Run.create(own.model_copy(update={"run": _name(run, seed, fold)}))
    if part.record["part_of"] != run.name:
        part.update(part_of=run.name)
    return part


def _job(part: Run, settings: Mapping[str, Any]) -> Job:
    return Job(str(part.folder), tuple(str(find_notebook(name)) for name in STAGES), settings)


def _score(part: Run) -> str:
    """The headline of an evaluated fold, "" before that."""
    if not finished(part, STAGES):
        return ""
    return str(read_record(part.path("evaluation.json"), "evaluation")["headline"])


def _report(run: Run, say: Callable[[str], None]) -> int:
    notebook = find_notebook(REPORT)
    outcome = execute_notebook(notebook, run, {})
    path = render_outcome(outcome, notebook, run)
    write_gallery(run.folder.parent)
    if outcome.error is not None:
        say(f"{outcome.status}: {outcome.error['type']}: {outcome.error['message']}")
        return outcome.exit_code
    say(read_record(run.path("crossval.json"), "crossval")["headline"])
    say(f"report: {path}")
    return 0
