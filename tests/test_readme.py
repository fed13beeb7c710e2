"""The README's code and commands do what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def run(command: list[str], folder: Path) -> str:
    environment = {
        **os.environ,
        "QUADLIB_OUTPUTS": str(folder / "outputs"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def write_recordings(folder: Path) -> None:
    """Sixty recordings of three classes in twelve sessions, each a photo and a sensor log."""
    random = np.random.default_rng(0)
    rows = ["sample_id,label,group,image,sensor"]
    for number in range(60):
        label = number % 3
        name = f"r{number:02d}"
        pixels = (random.normal(60 * label + 60, 20, (24, 48, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        values = random.normal(label, 1.0, (40, 2))
        lines = ["time_s,current_a,voltage_v"] + [
            f"{t / 10},{a:.4f},{b:.4f}" for t, (a, b) in enumerate(values)
        ]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
        rows.append(f"{name},class {label},session {number // 5},{name}.png,{name}.csv")
    (folder / "recordings.csv").write_text("\n".join(rows) + "\n")


def test_the_python_examples_run_and_print_what_is_claimed(tmp_path):
    write_recordings(tmp_path)
    script = tmp_path / "examples.py"
    script.write_text("\n".join(blocks("python")))
    text = run([sys.executable, str(script)], tmp_path)
    assert text.startswith("18 2 3\n")
    assert "ln 31" in text
    assert blocks("text")[0].strip() in text
    assert "macro-F1" in text


def test_the_two_commands_are_make_targets():
    assert blocks("console")[0].split("\n")[:2] == ["make demo", "make test"]
    targets = run(["make", "-C", str(ROOT), "help"], ROOT)
    for command in re.findall(r"`?make (\w+)", README):
        assert re.search(rf"make {command}\b", targets), command


@pytest.mark.slow
def test_the_batch_commands_run_one_after_the_other(tmp_path):
    os.symlink(ROOT / "notebooks", tmp_path / "notebooks")
    commands = [line for block in blocks("console")[1:] for line in block.splitlines() if line]
    assert len(commands) >= 7
    for command in commands:
        run(command.split(), tmp_path)
    assert (tmp_path / "outputs" / "first" / "reports" / "04_evaluate.html").exists()
    assert (tmp_path / "out.ipynb").exists()


def test_pictures_are_there():
    for name in re.findall(r"\]\((notebooks/pictures/[^)]+)\)", README):
        assert (ROOT / name).stat().st_size < 400_000, name
