"""Training scripts of strangers under the doctor: what was once read wrongly stays right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LOOPS = Path(__file__).parents[1] / "bench" / "loops"


def verdict(script: str, variant: str, folder: Path) -> dict:
    path = folder / "verdict.json"
    command = [sys.executable, "-m", "quadlib", "doctor", str(LOOPS / script), "--json", str(path)]
    subprocess.run(
        [*command, "--", "--fault", variant],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
        timeout=240,
    )
    return json.loads(path.read_text())


@pytest.mark.parametrize("script", ["q02_supcon_trainer.py", "q08_four_modalities.py"])
def test_a_healthy_script_raises_no_alarm(script, tmp_path):
    seen = verdict(script, "healthy", tmp_path)
    assert seen["ok"] is True, [root["title"] for root in seen["roots"]]
    assert {"model", "loss", "optimiser", "batches"} <= set(seen["seen"]) and not seen["crashed"]


@pytest.mark.parametrize(
    ("script", "variant", "stage"),
    [
        ("q01_simclr.py", "normalize_over_batch", "P"),
        ("q03_clip.py", "text_tower_no_grad", "N"),
        ("q05_hf_trainer.py", "prompt_fills_max_length", "D"),
    ],
)
def test_the_root_of_a_mistake_is_named_first(script, variant, stage, tmp_path):
    alarms = [
        root for root in verdict(script, variant, tmp_path)["roots"] if root["severity"] != "note"
    ]
    assert alarms and alarms[0]["code"][3] == stage
