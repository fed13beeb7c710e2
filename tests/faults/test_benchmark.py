"""The doctor's benchmark in its quick form: one seed, measured digits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "bench" / "doctor.py"


@pytest.mark.zoo
def test_root_named_and_healthy_runs_silent(tmp_path):
    ended = subprocess.run(
        [sys.executable, BENCHMARK, "--quick", "--processes", "1", "--folder", tmp_path],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    report = json.loads((tmp_path / "doctor.json").read_text())
    assert report["faults"] == 52 and report["errors"] == 0, ended.stdout
    assert report["root_top1"] >= 0.95 and report["root_top1_exact"] == 1.0, report["confusion"]
    assert report["healthy_runs"] >= 50 and report["false_alarms"] == 0, report["alarmed"]
    assert "<script src=" not in (tmp_path / "doctor.html").read_text()
