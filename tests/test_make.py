"""What `make` removes, and what it asks about first."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the Makefile beside a run, made data, a decoded store and the gallery."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in (
        "outputs/README.md",
        "outputs/my run/run.json",
        "outputs/my run/checkpoints/best_model.pth",
        "outputs/torn/checkpoints/best_model.pth",
        "outputs/data/weldsim-demo-0/manifest.csv",
        "outputs/store/video/array.npy",
        "outputs/docs/index.html",
        "quadlib/__pycache__/a.pyc",
        "tests/__pycache__/a.pyc",
        ".mypy_cache/a",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def make(project: Path, target: str, answer: str = "") -> str:
    done = subprocess.run(
        ["make", "-C", str(project), target], input=answer, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def kept(project: Path) -> set[str]:
    return {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}


RUNS = {
    "outputs/my run/run.json",
    "outputs/my run/checkpoints/best_model.pth",
    "outputs/torn/checkpoints/best_model.pth",
}


def test_clean_leaves_every_run(project: Path) -> None:
    make(project, "clean")
    assert kept(project) == {"Makefile", "outputs/README.md", *RUNS}


@pytest.mark.parametrize("answer", ["", "n\n", "yes please\n"])
def test_clean_runs_removes_nothing_without_a_yes(project: Path, answer: str) -> None:
    make(project, "clean-runs", answer)
    assert kept(project) >= RUNS


def test_clean_runs_removes_the_runs_and_nothing_else(project: Path) -> None:
    said = make(project, "clean-runs", "yes\n")
    assert "my run" in said and "torn" in said
    assert not kept(project) & RUNS
    assert kept(project) >= {"outputs/data/weldsim-demo-0/manifest.csv", "outputs/README.md"}
