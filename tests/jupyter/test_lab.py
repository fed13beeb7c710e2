"""`quadlib lab` opens working copies, and never takes away what was changed in one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quadlib.cli import app
from quadlib.jupyter.lab import EXPORT, working_copies


@pytest.fixture
def notebooks(tmp_path: Path) -> Path:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in ("01_batches", "02_train"):
        (folder / f"{name}.ipynb").write_text(json.dumps({"name": name}))
    return folder


def test_copies_are_made_once_and_kept(notebooks: Path, tmp_path: Path) -> None:
    folder = working_copies(notebooks, str(tmp_path / "outputs"), print)
    assert folder == tmp_path / "outputs" / "notebooks"
    names = sorted(path.name for path in folder.glob("*.ipynb"))
    assert names == ["01_batches.ipynb", "02_train.ipynb"]
    copy = folder / "01_batches.ipynb"
    assert json.loads(copy.read_text()) == {"name": "01_batches"}
    copy.write_text("mine")
    working_copies(notebooks, str(tmp_path / "outputs"), print)
    assert copy.read_text() == "mine"


def test_a_newer_original_sets_the_copy_aside(notebooks: Path, tmp_path: Path) -> None:
    said: list[str] = []
    folder = working_copies(notebooks, str(tmp_path / "outputs"), print)
    (folder / "02_train.ipynb").write_text("mine")
    (notebooks / "02_train.ipynb").write_text("newer")
    working_copies(notebooks, str(tmp_path / "outputs"), said.append)
    assert (folder / "02_train.ipynb").read_text() == "newer"
    (kept,) = folder.glob("02_train_until_*.ipynb")
    assert kept.read_text() == "mine" and str(kept) in said[0]


def test_the_command_opens_a_copy_with_its_outputs(
    notebooks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outputs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QUADLIB_OUTPUTS", raising=False)
    calls = []

    class Server:
        def __init__(self, command: list[str], env: dict[str, str]) -> None:
            calls.append((command, env))

        def wait(self) -> int:
            if len(calls) == 1:
                calls.append("Ctrl-C, once")
                raise KeyboardInterrupt
            return 0

    monkeypatch.setattr(subprocess, "Popen", Server)
    done = CliRunner().invoke(app, ["lab", "02_train", "--", "--no-browser"])
    assert done.exit_code == 0, done.output
    (command, environment), outputs = calls[0], tmp_path / "outputs"
    assert command[-2:] == ["--no-browser", str(outputs / "notebooks" / "02_train.ipynb")]
    assert environment["QUADLIB_OUTPUTS"] == str(outputs)
    assert {f"--ServerApp.root_dir={tmp_path}", EXPORT} <= set(command)
    assert str(outputs / "notebooks") in done.output
