"""A batch run that is interrupted ends after its step, with status, page and the way on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from quadlib.runs import Run
from quadlib.training.checkpoint import load_checkpoint


@pytest.mark.slow
def test_an_interrupted_batch_run_is_stopped_and_reported(tmp_path: Path) -> None:
    environment = {**os.environ, "QUADLIB_OUTPUTS": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "quadlib", "run", "02_train", "--run", "r"]
    command += ["-p", "source=mfeat", "-p", "epochs=500", "-p", "patience=0"]
    said = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if line.startswith("epoch   2/500"):
                process.send_signal(signal.SIGINT)
    assert process.returncode == 128 + signal.SIGINT, said
    run = Run.open("r", str(tmp_path))
    record = run.record
    assert record["status"] == record["notebooks"]["02_train"]["status"] == "stopped"
    assert record["error"] is None and record["stopped"] in said
    assert record["stopped"].endswith(f"go on: quadlib run 02_train --run {run.folder}")
    epoch = load_checkpoint(run.checkpoints / "latest_model.pth")["epoch"]
    assert record["stopped"].startswith(f"stopped after epoch {epoch}")
    page = run.path("reports", "02_train.html").read_text()
    assert "Stopped</p>" in page and f"Stopped after epoch {epoch}" in page
    assert f"Resume: quadlib run 02_train --run {run.folder}" in page
    assert page.count('class="plot-area"') >= 5
