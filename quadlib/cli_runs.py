"""The commands that make runs, many at a time or one, and that list, compare and report them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from quadlib.cli_data import Outputs, Parameters, Preset
from quadlib.terminal import say

if TYPE_CHECKING:
    from quadlib.runs import Run

Scheduler = Annotated[
    str,
    typer.Option(
        help="Address (tcp://host:8786) or file of a running Dask scheduler; its workers are used "
        "instead of this machine."
    ),
]

runs_app = typer.Typer()


@runs_app.command()
def run(
    notebook: Annotated[str, typer.Argument(help="Name (02_train) or path of a notebook.")],
    parameter: Parameters = None,
    run_name: Annotated[
        str,
        typer.Option(
            "--run",
            help="Name or folder of a run: 01 and 02 go on with its settings; empty makes a new "
            "one, and for 03 and 04 takes the latest.",
        ),
    ] = "",
    preset: Preset = None,
    nproc: Annotated[
        int,
        typer.Option(help="Processes that train together, of 02; 0 takes the setting nproc, or 1."),
    ] = 0,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds after which the notebook is stopped.")
    ] = None,
) -> None:
    """Run a notebook in batch, into a run folder, with its report."""
    from quadlib.config import read_options
    from quadlib.reports.execute import (
        check_parameters,
        execute_notebook,
        find_notebook,
        open_run,
        settings_model,
    )
    from quadlib.runs.memory import going_on

    path = find_notebook(notebook)
    named = {"run": run_name, "nproc": nproc}
    parameter = [*(parameter or []), *(f"{name}={v}" for name, v in named.items() if v)]
    values = read_options(settings_model(path), parameter, preset)
    settings = check_parameters(path, values)
    if before := going_on(settings):
        say(before)
    target = open_run(path, settings)
    say(f"{path.stem} in {target.folder}")
    outcome = execute_notebook(
        path, target, values, timeout_seconds=timeout, echo=lambda text: typer.echo(text, nl=False)
    )
    from quadlib.reports.gallery import write_gallery
    from quadlib.reports.render import render_outcome

    report_path = render_outcome(outcome, path, target)
    write_gallery(target.folder.parent)
    if outcome.error is not None:
        say(f"{outcome.status}: {outcome.error['type']}: {outcome.error['message']}", err=True)
    say(f"{outcome.status} in {outcome.seconds:.1f} s: {report_path}")
    raise typer.Exit(outcome.exit_code)


@runs_app.command()
def crossval(
    parameter: Parameters = None,
    folds: Annotated[
        int,
        typer.Option(help="Parts of whole sessions, each tested once; 0 takes the run's, or 5."),
    ] = 0,
    seeds: Annotated[
        int,
        typer.Option(
            help="How many times, each with a division and weights of its own; 0 takes the run's, "
            "or 1."
        ),
    ] = 0,
    run_name: Annotated[
        str,
        typer.Option("--run", help="Its name; empty takes the source and a digest of settings."),
    ] = "",
    preset: Preset = None,
    outputs: Outputs = "",
    workers: Annotated[int, typer.Option(min=1, help="Folds at a time on this machine.")] = 1,
    scheduler: Scheduler = "",
) -> None:
    """Train and evaluate on every fold of whole sessions, and report all together; the same command
    goes on where it stopped.
    """
    from quadlib.config import TrainSettings, read_options
    from quadlib.reports.crossval import cross_validate

    named = {"run": run_name, "outputs": outputs}
    values = read_options(TrainSettings, parameter, preset)
    values |= {name: value for name, value in named.items() if value}
    raise typer.Exit(
        cross_validate(values, folds, seeds, workers=workers, scheduler=scheduler, say=say)
    )


@runs_app.command()
def sweep(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="GRID.toml", help="TOML file with the tables fixed and grid, or search."
        ),
    ],
    workers: Annotated[
        int,
        typer.Option(
            min=0, help="Runs at a time on this machine; 0 takes one a core, one with CUDA."
        ),
    ] = 0,
    scheduler: Scheduler = "",
    run_name: Annotated[
        str, typer.Option("--run", help="Name of the sweep; empty takes the file's.")
    ] = "",
    outputs: Outputs = "",
) -> None:
    """Train and evaluate every point of a grid of settings, or search for the best; the same
    command goes on where it stopped.
    """
    from quadlib.sweep import sweep as run_sweep

    raise typer.Exit(
        run_sweep(
            file, workers=workers, scheduler=scheduler, name=run_name, outputs=outputs, say=say
        )
    )


@runs_app.command()
def compare(
    names: Annotated[
        list[str], typer.Argument(metavar="RUN RUN ...", help="Names or folders of evaluated runs.")
    ],
    measure: Annotated[
        Literal["macro_f1", "accuracy"], typer.Option(help="Score by which they are compared.")
    ] = "macro_f1",
    run_name: Annotated[
        str, typer.Option("--run", help="Name of the comparison; empty makes a new one.")
    ] = "",
    outputs: Outputs = "",
) -> None:
    """Compare evaluated runs or cross-validations over the same recordings, and report; runs that
    differ in their seed alone are taken together.
    """
    from quadlib.config import CompareSettings, read_settings
    from quadlib.evaluation.compare import compare as compared
    from quadlib.figures.compare import judge_compare
    from quadlib.reports.execute import execute_notebook, find_notebook
    from quadlib.reports.gallery import write_gallery
    from quadlib.reports.render import render_outcome
    from quadlib.runs import Run

    opened = [Run.open(name, outputs) for name in names]
    verdict = judge_compare(compared(opened, measure))  # what is wrong is said before a kernel
    folders = [str(item.folder) for item in opened]
    settings = read_settings(CompareSettings, {"run": run_name, "outputs": outputs})
    target, notebook = Run.create(settings, kind="compare"), find_notebook("05_compare")
    outcome = execute_notebook(notebook, target, {"runs": folders, "measure": measure})
    path = render_outcome(outcome, notebook, target)
    write_gallery(target.folder.parent)
    say(str(verdict))
    say(f"{outcome.status}: {path}")
    raise typer.Exit(outcome.exit_code)


@runs_app.command()
def runs(outputs: Outputs = "") -> None:
    """List the runs, newest first."""
    from quadlib.files import outputs_folder
    from quadlib.runs import damaged_runs, list_runs
    from quadlib.runs.commands import demo_command

    listed, damaged = list_runs(outputs), damaged_runs(outputs)
    if not listed and not damaged:
        folder = outputs_folder(outputs)
        say(f"No run in {folder} yet. Make the first one: {demo_command(folder)}")
    width = max((len(item.name) for item in listed), default=0)
    for item in listed:
        record = item.record
        source = " ".join((record["source"] or "").split())  # a file's name may hold a new line
        say(f"{item.name:<{width}}  {record['status']:<9}  {source:<10}  {_score(item)}".rstrip())
    for broken in damaged:
        say(f"{broken.run.name}  damaged  {broken.cause}", err=True)
    raise typer.Exit(1 if damaged else 0)


def _score(run: Run) -> str:
    """The headline of a run's evaluation, empty before it; what is wrong with its file where it is
    damaged.
    """
    from quadlib.files import FileError
    from quadlib.reports.gallery import scored

    try:
        return scored(run)
    except FileError as error:
        return f"damaged: {error}"


@runs_app.command()
def report(
    run_name: Annotated[
        str, typer.Argument(metavar="[RUN]", help="Run to report on; empty takes the latest.")
    ] = "",
    outputs: Outputs = "",
) -> None:
    """Render the reports of a run, and the gallery, again."""
    from quadlib.reports.gallery import write_gallery
    from quadlib.reports.render import render_all
    from quadlib.runs import Run

    target = Run.open(run_name, outputs)
    try:
        for path in render_all(target):
            say(path)
    finally:
        say(write_gallery(target.folder.parent))
