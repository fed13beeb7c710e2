"""The commands that pages and messages print: each works from any folder, as it stands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quadlib.runs.run import Run


def notebook_command(name: str, run: Run, parameters: Mapping[str, Any] | None = None) -> str:
    """The command that runs a notebook in a run, by the run's folder: its name alone would be
    looked up in the outputs folder of wherever the command is typed.

    Example:
        >>> from quadlib.runs import Run
        >>> notebook_command("04_evaluate", Run(Path("/data/my runs/a")), {"deep": True})
        "quadlib run 04_evaluate --run '/data/my runs/a' -p deep=true"
    """
    return " ".join(["quadlib run", name, "--run", _place(run.folder), *_given(parameters or {})])


def train_command(outputs: Path) -> str:
    """The command that trains a first run."""
    return " ".join(["quadlib run 02_train", *_given({"outputs": str(outputs)})])


def demo_command(outputs: Path, fault: str = "") -> str:
    """The command that makes, trains and reports two runs, or one with a fault in it."""
    shown = f" --fault {fault}" if fault else ""
    return f"quadlib demo --outputs {_place(outputs)}{shown}"


def crossval_command(outputs: Path) -> str:
    """The command that trains and tests every fold of the default source."""
    return f"quadlib crossval --outputs {_place(outputs)}"


def compare_command(outputs: Path) -> str:
    """The command that compares the runs whose names are put behind it."""
    return f"quadlib compare --outputs {_place(outputs)}"


def table_command(folder: Path) -> str:
    """The command that writes a table of a folder's recordings."""
    return f"quadlib data make-table {shlex.quote(str(folder.absolute()))}"


def features_command(table: Path) -> str:
    """The command that writes a table's columns of numbers as arrays; without a column called
    label, it names those that may be.
    """
    return f"quadlib data make-table {_place(table)}"


def doctor_command(run: Run) -> str:
    """The command that examines a run."""
    return f"quadlib doctor {_place(run.folder)}"


def check_command(settings: Mapping[str, Any]) -> str:
    """The command that reads every recording that the settings name and lists what stands against
    training.
    """
    return " ".join(["quadlib data check", *_given(settings)])


def _place(path: Path) -> str:
    """A path as one word of a shell, from any folder: below the home folder by `~`, so that a page
    that is passed on does not name its writer.
    """
    home = Path.home()
    if path != home and path.is_relative_to(home):
        return f"~/{shlex.quote(path.relative_to(home).as_posix())}"
    return shlex.quote(str(path))


def _given(parameters: Mapping[str, Any]) -> list[str]:
    """-p options, each one word of a shell; texts as they are, all else as JSON."""
    texts = {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in parameters.items()
    }
    return [f"-p {shlex.quote(f'{name}={text}')}" for name, text in texts.items()]
