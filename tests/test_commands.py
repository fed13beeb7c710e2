"""Every command that a page, a message or a notebook prints is found and executed."""

from __future__ import annotations

import ast
import html
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.main import get_command

from quadlib import open_source
from quadlib.cli import app
from quadlib.config import TrainSettings
from quadlib.data.samples import TableError
from quadlib.evaluation.record import Evaluation
from quadlib.files import FileError
from quadlib.reports.render import render_all
from quadlib.runs import Run, RunError
from quadlib.runs.commands import (
    compare_command,
    crossval_command,
    demo_command,
    doctor_command,
)

ROOT = Path(__file__).parents[1]
VERBS = "run|demo|data|doctor|report|runs|explain|lab|crossval|compare|sweep"
COMMAND = re.compile(rf"\bquadlib (?:{VERBS})\b[^\n`<]*")
# Named, with a word in capitals for the reader's own script; or a page's and a report's title.
NAMES = {"quadlib doctor SCRIPT.py", "quadlib doctor", "quadlib runs"}


def texts() -> list[tuple[str, str]]:
    """Every text in the package that may reach a reader, with the values put into it as {}."""
    found = []
    for path in sorted((ROOT / "quadlib").rglob("*.py")):
        tree = ast.parse(path.read_text())
        documents = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        parts = {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.JoinedStr)
            for part in node.values
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                pieces = [p.value if isinstance(p, ast.Constant) else "{}" for p in node.values]
                found.append((path.name, "".join(map(str, pieces))))
            elif isinstance(node, ast.Constant) and id(node) not in documents | parts:
                found.append((path.name, str(node.value)))
    for path in sorted((ROOT / "quadlib").rglob("*.j2")):
        found.append((path.name, re.sub(r"{{.*?}}", "{}", path.read_text())))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        found += [(path.name, "".join(cell["source"])) for cell in cells]
    return found


def printed() -> set[tuple[str, str]]:
    """The commands in those texts, without what stands behind them in the sentence."""
    return {
        (name, re.split(r"[,;<)]", command)[0].strip(" .,"))
        for name, text in texts()
        for command in COMMAND.findall(text)
    }


def test_commands_are_put_together_in_one_place() -> None:
    """What has values in it is quoted there, and executed below; a new one is missed here first."""
    assert {text for name, text in printed() if name != "commands.py"} - NAMES == {
        "quadlib explain {}"
    }
    functions = ast.parse((ROOT / "quadlib" / "runs" / "commands.py").read_text()).body
    names = {node.name for node in functions if isinstance(node, ast.FunctionDef)}
    assert {name for name in names if name[0] != "_"} == {
        *("check_command", "compare_command", "crossval_command", "demo_command"),
        *("doctor_command", "features_command"),
        *("notebook_command", "table_command", "train_command"),
    }


def execute(command: str, folder: Path, outputs: Path, code: int = 0) -> str:
    """Runs a command as a shell would, in a folder that knows nothing of quadlib."""
    environment = os.environ | {
        "QUADLIB_OUTPUTS": str(outputs),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of one epoch on the digits, begun in one folder and gone on with from others."""
    outputs = tmp_path_factory.mktemp("some outputs")
    with pytest.raises(RunError) as nothing:
        Run.open(outputs=str(outputs))
    command = COMMAND.findall(str(nothing.value))[0] + " -p source=mfeat -p epochs=1"
    elsewhere = tmp_path_factory.mktemp("begun")
    execute(f"{command} --run 'a run'", elsewhere, elsewhere / "other outputs")
    return Run.open("a run", str(outputs))


@pytest.mark.slow
def test_the_commands_of_a_page_and_of_messages_go_on(trained: Run, tmp_path: Path) -> None:
    page = trained.path("reports", "02_train.html").read_text()
    commands = {html.unescape(command) for command in COMMAND.findall(page)}
    with pytest.raises(FileError) as unevaluated:
        Evaluation.read(trained)
    empty = Run.create(TrainSettings(run="empty", outputs=str(trained.folder.parent)))
    with pytest.raises(RunError) as unreported:
        list(render_all(empty))
    assert COMMAND.findall(str(unreported.value))[0].endswith("/empty'")
    commands |= set(COMMAND.findall(str(unevaluated.value)))
    commands.add(doctor_command(trained))
    begun = [command.split(" --run")[0] for command in sorted(commands)]
    assert begun == [
        f"quadlib doctor {shlex.quote(str(trained.folder))}",
        *("quadlib run 02_train", "quadlib run 03_diagnose", "quadlib run 04_evaluate"),
    ]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for command in sorted(commands):
        if " 03_" in command or " 04_" in command:  # run from the README, in its own test
            words = shlex.split(command)[1:]
            context = get_command(app).commands[words[0]].make_context(words[0], words[1:])
            assert Run.open(context.params["run_name"]).folder == trained.folder
            continue
        said = execute(command, elsewhere, tmp_path / "other outputs")
        if " 02_train " in command:
            assert "run a run goes on with source=mfeat, epochs=1" in said
    assert list(elsewhere.iterdir()) == []


def test_a_folder_below_home_is_named_by_its_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/home/reader"))
    assert doctor_command(Run(Path("/home/reader/my runs/a"))) == "quadlib doctor ~/'my runs/a'"
    assert doctor_command(Run(Path("/data/a"))) == "quadlib doctor /data/a"


@pytest.mark.slow
def test_a_conflict_is_named_before_anything_starts(trained: Run, tmp_path: Path) -> None:
    before = trained.path("run.json").read_text()
    command = f"quadlib run 02_train --run {shlex.quote(str(trained.folder))} -p batch_size=64"
    said = execute(command, tmp_path, tmp_path / "other outputs", code=2)
    assert "batch_size: 32 in run.json, 64 given" in said
    assert trained.path("run.json").read_text() == before


@pytest.mark.slow
def test_a_folder_becomes_a_table_that_can_be_checked(tmp_path: Path) -> None:
    folder = tmp_path / "my recordings"
    for number in range(12):
        photo = folder / "ab"[number % 2] / f"session{number % 6}_{number}.png"
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (20 * number, 99, 0)).save(photo)
    with pytest.raises(TableError) as refused:
        open_source("table", str(folder))
    said = execute(COMMAND.findall(str(refused.value))[0], tmp_path, tmp_path / "outputs")
    said = execute(COMMAND.findall(said)[0], tmp_path, tmp_path / "outputs")
    assert "12 recordings checked" in said


def test_the_other_commands_are_understood(tmp_path: Path) -> None:
    """The demo is run as a whole by tests of its own."""
    assert "QL-S01" in execute("quadlib explain QL-S01", tmp_path, tmp_path)
    words = shlex.split(demo_command(tmp_path / "my outputs"))[2:]
    context = get_command(app).commands["demo"].make_context("demo", words)
    assert context.params["outputs"] == str(tmp_path / "my outputs")
    for command, behind in ((crossval_command, []), (compare_command, ["a", "b c"])):
        verb, *words = shlex.split(command(tmp_path / "my outputs"))[1:]
        context = get_command(app).commands[verb].make_context(verb, [*words, *behind])
        assert context.params["outputs"] == str(tmp_path / "my outputs")
        assert context.params.get("names", behind) == behind
