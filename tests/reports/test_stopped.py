"""A batch run that is interrupted ends after its step, with status, page and the way on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from quadlib.runs import Run
from quadlib.training.checkpoint import load_checkpoint


@pytest.mark.slow
def test_a_batch_run_whose_processes_are_all_told_to_end_is_stopped_and_reported(
    tmp_path: Path,
) -> None:
    """As a scheduler does at the end of a job's time: with the loading processes, too."""
    environment = {**os.environ, "QUADLIB_OUTPUTS": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "quadlib", "run", "02_train", "--run", "r"]
    command += ["-p", "source=mfeat", "-p", "epochs=500", "-p", "patience=0"]
    command += ["-p", "num_workers=1"]
    said = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if line.startswith("epoch   2/500"):
                family = psutil.Process(process.pid).children(recursive=True)
                for member in family:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        member.send_signal(signal.SIGTERM)
                time.sleep(0.3)  # told last, when training has saved and other cells run
                process.send_signal(signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM, said
    run = Run.open("r", str(tmp_path))
    record = run.record
    ended = [record["status"], record["notebooks"]["02_train"]["status"]]
    assert ended == ["stopped", "stopped"], "\n".join(map(str, record["error"].items()))
    assert record["error"] is None and record["stopped"] in said
    assert record["stopped"].endswith(f"go on: quadlib run 02_train --run {run.folder}")
    epoch = load_checkpoint(run.checkpoints / "latest_model.pth")["epoch"]
    assert record["stopped"].startswith(f"stopped after epoch {epoch}")
    page = run.path("reports", "02_train.html").read_text()
    assert "Stopped</p>" in page and f"Stopped after epoch {epoch}" in page
    assert f"Resume: quadlib run 02_train --run {run.folder}" in page
    assert page.count('class="plot-area"') >= 5
