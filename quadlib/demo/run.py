"""The whole job: made or read data, batches, training, diagnosis, evaluation, reports, gallery."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from quadlib.config import TrainSettings, read_settings
from quadlib.files import read_record
from quadlib.reports.execute import Outcome, execute_notebook, find_notebook, settings_model
from quadlib.reports.gallery import write_gallery
from quadlib.reports.render import render_outcome
from quadlib.runs import Run

log = logging.getLogger(__name__)

STAGES = ("01_batches", "02_train", "03_diagnose", "04_evaluate")
SOURCES = ("weldsim", "mfeat")


def run_demo(
    sources: Sequence[str] = SOURCES,
    *,
    size: str = "demo",
    outputs: str = "",
    say: Callable[[str], None] = log.info,
) -> int:
    """Runs all four notebooks for each source into one run folder each, with reports and gallery;
    returns the exit code.

    Data and decoded stores that are there are used again; training is always new. A stage that does
    not end well ends its source, and its report says why; the other source still runs.
    """
    began = time.monotonic()
    code, runs = 0, []
    for source in sources:
        run = Run.create(
            read_settings(TrainSettings, {"source": source, "size": size, "outputs": outputs}),
            kind=f"demo-{source}",
        )
        runs.append(run)
        outcome = run_stages(run, {"source": source, "size": size}, say)
        code = max(code, outcome.exit_code)
        if outcome.stopped_by:
            break
    gallery = write_gallery(outputs)
    say("")
    for run in runs:
        say(f"{run.record['source'] or run.name}: {run.record['status']}, {headline(run)}")
        for page in sorted(run.path("reports").glob("*.html")):
            say(f"  {page}")
    say(f"all runs: {gallery}")
    say(f"wall time: {time.monotonic() - began:.0f} s")
    return code


def run_stages(run: Run, values: dict[str, Any], say: Callable[[str], None]) -> Outcome:
    """Executes and renders the four notebooks in order, up to the first that does not end well;
    each takes the values it knows.
    """
    for stage in STAGES:
        notebook = find_notebook(stage)
        known = {
            name: value
            for name, value in values.items()
            if name in settings_model(notebook).model_fields
        }
        say(f"{run.name}: {stage}")
        outcome = execute_notebook(notebook, run, known, echo=lambda text: say(_indented(text)))
        render_outcome(outcome, notebook, run)
        if outcome.status != "done":
            error = outcome.error
            why = f": {error['type']}: {error['message']}" if error else ""
            say(f"{stage}: {outcome.status} after {outcome.seconds:.1f} s{why}")
            return outcome
        say(f"  {stage} done in {outcome.seconds:.1f} s")
    return outcome


def headline(run: Run) -> str:
    """The score of a run's evaluation, in a line."""
    path: Path = run.path("evaluation.json")
    return read_record(path, "evaluation")["headline"] if path.exists() else "not evaluated"


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.rstrip("\n").splitlines())
