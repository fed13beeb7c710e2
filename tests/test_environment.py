"""environment.yml, pyproject.toml and requirements.lock say the same, and no file names a package
index.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
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


def pins(name: str) -> dict[str, str]:
    """What a lock pins: name to version."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", (ROOT / name).read_text(), re.M))


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
    lock = pins("requirements.lock")
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


@pytest.mark.parametrize("name", ["requirements.lock", ".ci/cuda.lock", ".ci/cpu.lock"])
def test_every_pin_has_hashes(name):
    for pin in re.split(
        r"\n(?=[A-Za-z])", re.sub("^#.*\n", "", (ROOT / name).read_text(), flags=re.M)
    ):
        first, *hashes = pin.strip().split(" \\\n    ")
        assert "==" in first and hashes, pin
        assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", part) for part in hashes), pin


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
