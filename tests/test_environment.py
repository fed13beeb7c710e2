"""environment.yml, pyproject.toml and requirements.lock say the same, and no file names a package
index.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"torch": "pytorch"}
FROM_PIP = {
    "soundfile",
    "soxr",
    "nh3",
}  # conda-forge has other names for these; `pip: -e .` brings them


def requirements() -> dict[str, str]:
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return {re.match(r"[\w-]+", line)[0]: re.sub(r"^[\w-]+", "", line) for line in lines}


def test_environment_lists_what_the_project_requires():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = {
        re.match(r"[\w-]+", line)[0]: re.sub(r"^[\w-]+", "", line)
        for line in listed
        if isinstance(line, str)
    }
    assert (
        conda.pop("python")
        == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    )
    conda.pop("pip")
    assert conda == {
        CONDA_NAMES.get(name, name): bound
        for name, bound in requirements().items()
        if name not in FROM_PIP
    }
    assert listed[-1] == {"pip": ["-e ."]}


def test_lock_pins_every_requirement():
    lock = dict(
        line.split("==")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if line and not line.startswith("#")
    )
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    chosen = ("dev", "peers", "mfeat", "pretrained", "aisfx")
    tested = [line for extra in chosen for line in extras[extra]]
    names = set(requirements()) | {re.match(r"[\w-]+", line)[0] for line in tested}
    assert {name.lower().replace("_", "-") for name in names} <= {
        name.lower().replace("_", "-") for name in lock
    }
    assert lock["torch"] == "2.13.0"


def test_no_file_names_a_package_index():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    pattern = re.compile(r"index-url|find-links|files\.pythonhosted|pypi\.org/simple")
    this = Path(__file__).relative_to(ROOT).as_posix()
    assert not [
        name
        for name in tracked
        if name != this
        and (ROOT / name).is_file()
        and pattern.search((ROOT / name).read_text(errors="ignore"))
    ]
