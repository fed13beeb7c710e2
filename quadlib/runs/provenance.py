"""Which code computed a run: package versions, and the commit of this package's source."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RECORDED_PACKAGES = (
    "quadlib",
    "torch",
    "numpy",
    "pandas",
    "scikit-learn",
    "av",
    "soundfile",
    "pillow",
    "plotly",
    "papermill",
    "nbconvert",
)


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what a run computes."""
    versions = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def code_commit(source: Path = Path(__file__)) -> str | None:
    """The commit of this package's code, with `+changes` when tracked files differ from it; None
    where no git checkout holds its source.

    An installed package often lies inside somebody's repository, whose commit says nothing of the
    package: only a repository that tracks the source file counts.
    """
    try:
        _git(source, "ls-files", "--error-unmatch", source.name)
        head = _git(source, "rev-parse", "--short=12", "HEAD")
        changes = _git(source, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changes else "")


def _git(source: Path, *arguments: str) -> str:
    # a hook's GIT_DIR would name the repository that it runs for
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    return subprocess.run(
        ["git", *arguments],
        cwd=source.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
