"""How a notebook ended is told truly: done, failed, killed and timed-out, with no kernel left
behind.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from quadlib.config import SettingsError
from quadlib.files import FileError
from quadlib.reports import process
from quadlib.reports.execute import check_parameters, execute_notebook, find_notebook, open_run
from quadlib.reports.render import render_report
from quadlib.runs import RunError
from tests.helpers.flips import silent


def left_behind() -> list[psutil.Process]:
    """Kernels and notebook processes of ours that still run; a browser that other tests keep open
    is none of them.
    """
    ours = ("ipykernel", "quadlib.reports")
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if any(name in " ".join(child.cmdline()) for name in ours)
    ]


def test_done_leaves_notebook_record_and_log(make_notebook, run):
    heard = []
    notebook = make_notebook(
        "import os, sys\nprint('batch', os.environ['QUADLIB_BATCH'], batch_size * 2, run)",
        "for i in range(5):\n    print(i, flush=True)",
    )
    outcome = execute_notebook(notebook, run, {"batch_size": "16"}, echo=heard.append)
    assert (outcome.status, outcome.error, outcome.exit_code) == ("done", None, 0)
    record = run.record
    assert record["status"] == "done" and record["error"] is None
    assert record["notebooks"]["01_batches"]["parameters"] == {
        "batch_size": 16,
        "run": "a-run",
        "outputs": str(run.folder.parent),
    }
    assert record["timings"]["01_batches"] == pytest.approx(outcome.seconds, abs=0.01)
    cells = json.loads(outcome.notebook_path.read_text())["cells"]
    assert "".join(cells[2]["outputs"][0]["text"]) == "batch 1 32 a-run\n"
    assert len(cells[3]["outputs"]) == 1
    assert "batch 1 32 a-run" in "".join(heard)
    assert not list(run.path("notebooks").glob(".*"))
    assert (
        silent(
            outcome.notebook_path,
            lambda: render_report(outcome.notebook_path, run),
            FileError,
            count=30,
        )
        == []
    )
    assert render_report(outcome.notebook_path, run).name == "01_batches.html"


def test_error_in_a_cell_is_failed_with_cell_and_last_lines(make_notebook, run):
    outcome = execute_notebook(
        make_notebook("print('so far')", "labels = []\nlabels[3]", "print('never')"), run, {}
    )
    assert outcome.status == "failed" and outcome.exit_code == 1
    assert (
        outcome.error["type"] == "IndexError"
        and outcome.error["message"] == "list index out of range"
    )
    assert outcome.error["cell"] == 3 and any(
        "labels[3]" in line for line in outcome.error["traceback"]
    )
    assert not any("\x1b" in line for line in outcome.error["traceback"])
    assert any("so far" in line for line in outcome.error["log"])
    assert run.record["error"] == outcome.error


def test_dead_kernel_is_killed_although_papermill_calls_it_completed(make_notebook, run):
    outcome = execute_notebook(
        make_notebook("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "print('never')"),
        run,
        {},
    )
    assert outcome.status == run.record["status"] == "killed"
    assert outcome.error["type"] == "DeadKernel" and outcome.error["cell"] == 2
    notebook = json.loads(outcome.notebook_path.read_text())
    assert notebook["metadata"]["papermill"]["exception"] is None


def test_deadline_is_timed_out_and_interrupts_the_cell_first(make_notebook, run):
    notebook = make_notebook(
        "import time, pathlib\ntry:\n    time.sleep(60)\nfinally:\n    pathlib.Path(outputs, run, "
        "'saved').touch()"
    )
    outcome = execute_notebook(notebook, run, {}, timeout_seconds=5)
    assert outcome.status == run.record["status"] == "timed-out"
    assert run.path("saved").exists()
    assert not left_behind()


def test_a_kernel_that_ignores_the_interrupt_is_killed(make_notebook, run, monkeypatch):
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.5)
    outcome = execute_notebook(
        make_notebook(
            "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except "
            "KeyboardInterrupt:\n        pass"
        ),
        run,
        {},
        timeout_seconds=5,
    )
    assert outcome.status == "timed-out"
    assert not left_behind()


def test_sigterm_is_forwarded_and_ends_as_killed(make_notebook, run):
    notebook = make_notebook(
        "import time, pathlib\npathlib.Path(outputs, run, 'up').touch()\ntime.sleep(60)"
    )

    def send() -> None:
        while not run.path("up").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    outcome = execute_notebook(notebook, run, {})
    sender.join()
    assert (outcome.status, outcome.stopped_by, outcome.exit_code) == (
        "killed",
        signal.SIGTERM,
        143,
    )
    assert outcome.error["message"] == "stopped by SIGTERM" and outcome.error["cell"] == 2
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_no_kernel_outlives_a_killed_parent(make_notebook, run):
    notebook = make_notebook(
        "import os, time, pathlib\npathlib.Path(outputs, run, "
        "'pid').write_text(str(os.getpid()))\ntime.sleep(60)"
    )
    code = (
        "import sys; from pathlib import Path; from quadlib.runs import Run; from "
        "quadlib.reports.execute import execute_notebook;execute_notebook(Path(sys.argv[1]), "
        "Run(Path(sys.argv[2])), {})"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(notebook), str(run.folder)])
    pid = _wait_for(run.path("pid"))
    parent.kill()
    parent.wait()
    psutil.wait_procs([psutil.Process(int(pid))] if psutil.pid_exists(int(pid)) else [], timeout=5)
    assert (
        not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
    )
    record = run.record
    assert record["status"] == record["notebooks"]["01_batches"]["status"] == "killed"
    assert "ended without a word" in record["error"]["message"]
    assert execute_notebook(make_notebook("pass"), run, {}).status == "done"


def test_wrong_parameters_are_all_told_before_a_kernel_starts(make_notebook, run):
    with pytest.raises(SettingsError) as caught:
        execute_notebook(
            make_notebook("pass"),
            run,
            {"batch_sise": 64, "batch_size": True, "min_classes": "many"},
        )
    assert "batch_sise: no such setting; did you mean batch_size?" in str(caught.value)
    assert "batch_size: True" in str(caught.value) and "min_classes: 'many'" in str(caught.value)
    assert run.record["status"] == "queued" and not run.path("notebooks").exists()


@pytest.mark.parametrize("seconds", [0.0, -3.0, float("nan"), float("inf")])
def test_a_time_limit_that_is_none_is_refused(make_notebook, run, seconds):
    with pytest.raises(SettingsError, match="seconds above 0 were expected"):
        execute_notebook(make_notebook("pass"), run, {}, timeout_seconds=seconds)


def test_a_busy_run_is_refused_naming_the_holder(make_notebook, run):
    run.path(".notebook.holder").write_text("process 1 on elsewhere")
    with (
        FileLock(run.path(".notebook.lock")),
        pytest.raises(RunError, match="process 1 on elsewhere"),
    ):
        execute_notebook(make_notebook("pass"), run, {})


def test_text_values_are_read_by_the_declared_type(make_notebook):
    settings = check_parameters(
        make_notebook("pass"),
        {
            "temperature": "1e-1",
            "spread_sessions": "true",
            "run": "007",
            "modalities": "video,audio",
        },
    )
    assert (settings.temperature, settings.spread_sessions, settings.run, settings.modalities) == (
        0.1,
        True,
        "007",
        ["video", "audio"],
    )


def test_unknown_notebooks_are_refused_with_those_that_are_there(
    make_notebook, monkeypatch, tmp_path
):
    path = make_notebook("pass")
    (tmp_path / "outputs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert (
        find_notebook("01_batches")
        == find_notebook("01_batches.ipynb")
        == find_notebook("notebooks/01_batches.ipynb")
        == path
    )
    with pytest.raises(RunError, match="known are 01_batches"):
        find_notebook("02_trian")
    with pytest.raises(RunError, match="name a copy after"):
        check_parameters(tmp_path / "mine.ipynb", {})


def _wait_for(path: Path, seconds: float = 20) -> str:
    deadline = time.monotonic() + seconds
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.05)
    return path.read_text()


def test_a_notebook_killed_while_it_is_written_stays_whole(make_notebook, run):
    """papermill's own handler writes in place and tears 3 of 20 notebooks of this size."""
    notebook = make_notebook("import os\nprint('x' * 8_000_000, flush=True)", *["print('.')"] * 40)
    target = run.path("notebooks", "01_batches.ipynb")
    code = (
        "import sys; from pathlib import Path; from quadlib.runs import Run; from "
        "quadlib.reports.execute import execute_notebook;execute_notebook(Path(sys.argv[1]), "
        "Run(Path(sys.argv[2])), {})"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(notebook), str(run.folder)])
    deadline = time.monotonic() + 60
    while not (target.exists() and target.stat().st_size > 8_000_000):
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.01)
    for child in psutil.Process(parent.pid).children():
        child.kill()
    parent.wait()
    assert run.record["status"] == "killed" and run.record["error"]["type"] == "DeadProcess"
    assert len(json.loads(target.read_text())["cells"]) == 43


def test_a_comparison_is_a_run_of_its_own(run):
    settings = check_parameters(
        find_notebook("05_compare"), {"runs": "a-run", "outputs": str(run.folder.parent)}
    )
    assert open_run(find_notebook("05_compare"), settings).name.split("-")[2] == "compare"
