"""Many runs in processes of their own: one that dies is started again, and none outlives its
worker.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from distributed import LocalCluster

from quadlib.config import BatchesSettings, SettingsError
from quadlib.config.sweep import LimitSettings
from quadlib.files import locked
from quadlib.reports.point import Ended, Job, execute_job
from quadlib.reports.workers import LOOPBACK, Workers
from quadlib.runs import Run, RunError
from quadlib.runs.status import NOTEBOOK_LOCK

HERE = "import os, pathlib, signal, time\nhere = pathlib.Path(outputs, run)\n"
# The first start notes its process and waits; the next one finds the note and ends well.
ONCE = HERE + (
    "if not (here / 'pid').exists():\n"
    "    (here / 'pid').write_text(f'{os.getpid()} ')\n    time.sleep(60)"
)
DIES = HERE + "os.kill(os.getpid(), signal.SIGKILL)"


def job(notebook: Path, outputs: Path, name: str, **limits: float) -> Job:
    run = Run.create(BatchesSettings(run=name, outputs=str(outputs)))
    return Job(str(run.folder), (str(notebook),), {}, limits=LimitSettings(**limits))


def noted(path: Path, seconds: float = 30) -> int:
    deadline = time.monotonic() + seconds
    while not (path.exists() and path.read_text().endswith(" ")):
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.05)
    return int(path.read_text())


def gone(process: int, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while psutil.pid_exists(process):
        if psutil.Process(process).status() == psutil.STATUS_ZOMBIE:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_each_run_ends_as_it_ends(make_notebook: Callable[..., Path], tmp_path: Path) -> None:
    notebooks = {
        "once": make_notebook(
            HERE + "assert os.environ['OMP_NUM_THREADS'] == '3'\n"
            "if not (here / 'up').exists():\n    (here / 'up').touch()\n"
            "    os.kill(os.getpid(), signal.SIGKILL)",
            name="01_batches_once",
        ),
        "dies": make_notebook(DIES, name="01_batches_dies"),
        "fails": make_notebook("labels = []\nlabels[3]", name="01_batches_fails"),
        "greedy": make_notebook("data = bytes(3 * 2**30)", name="01_batches_greedy"),
    }
    limits = {"greedy": {"memory_gib": 2.0}, "once": {"threads": 3}, "dies": {"retries": 0}}
    jobs = [job(path, tmp_path, name, **limits.get(name, {})) for name, path in notebooks.items()]
    ended = {}
    for item in Workers(2, say=print).each(jobs):
        ended[item.run.name] = item
        ports = psutil.Process().net_connections()
    assert {name: (item.status, item.starts) for name, item in ended.items()} == {
        "once": ("done", 2),
        "dies": ("killed", 1),
        "fails": ("failed", 1),
        "greedy": ("failed", 1),
    }
    assert ended["fails"].cause == "IndexError: list index out of range"
    assert ended["greedy"].cause == "MemoryError: memory_gib = 2 may be too little"
    listening = [port.laddr.ip for port in ports if port.status == psutil.CONN_LISTEN]
    assert listening and set(listening) == {"127.0.0.1"}  # nothing is open to the network


def test_a_signal_stops_what_runs_and_starts_nothing_more(
    make_notebook: Callable[..., Path], tmp_path: Path
) -> None:
    notebook = make_notebook(ONCE)
    jobs = [job(notebook, tmp_path, name) for name in ("first", "second")]

    def send() -> None:
        noted(tmp_path / "first" / "pid")
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=send)
    sender.start()
    workers = Workers(1, say=print)
    (ended,) = workers.each(jobs)
    sender.join()
    assert (ended.run.name, ended.status, ended.exit_code) == ("first", "stopped", 143)
    assert workers.stopped_by == signal.SIGTERM
    assert gone(noted(tmp_path / "first" / "pid"))
    assert Run.open("second", str(tmp_path)).record["status"] == "queued"


def test_a_run_that_another_worker_holds_is_waited_for(
    make_notebook: Callable[..., Path], tmp_path: Path
) -> None:
    """As where a worker is lost from sight and goes on: its task is given to a second one."""
    asked = job(make_notebook("1 / 0"), tmp_path, "a")
    ended: list[Ended] = []
    second = threading.Thread(target=lambda: ended.append(execute_job(asked)))
    with locked(asked.run.path(NOTEBOOK_LOCK)):
        second.start()
        second.join(timeout=0.7)
        assert second.is_alive() and not ended
        asked.run.update(status="done", notebooks={"01_batches": {"status": "done"}})
    second.join()
    assert (ended[0].status, ended[0].starts) == ("done", 0)


@pytest.mark.slow
def test_a_killed_worker_costs_one_retry_and_leaves_no_orphan(
    make_notebook: Callable[..., Path], tmp_path: Path
) -> None:
    jobs = [job(make_notebook(ONCE), tmp_path, "a")]
    killed: list[int] = []

    def kill_the_worker() -> None:
        kernel = psutil.Process(noted(tmp_path / "a" / "pid"))
        worker = kernel.parents()[1]  # over the process of the notebook
        killed.append(kernel.pid)
        worker.kill()

    with LocalCluster(
        n_workers=1, threads_per_worker=1, memory_limit=0, dashboard_address=LOOPBACK
    ) as cluster:
        killer = threading.Thread(target=kill_the_worker)
        killer.start()
        (ended,) = Workers(scheduler=cluster.scheduler_address, say=print).each(jobs)
        killer.join()
    assert (ended.status, ended.starts) == ("done", 2)
    assert gone(killed[0])


def test_a_scheduler_that_does_not_answer_is_named(
    make_notebook: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quadlib.reports.workers.CONNECT_SECONDS", 0.3)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RunError, match=f"{address} does not answer"):
            list(Workers(scheduler=address, say=print).each([job(tmp_path, tmp_path, "a")]))
    with pytest.raises(SettingsError, match="workers: 2 are asked for"):
        Workers(2, address, say=print)
    with pytest.raises(RunError, match="missing.json does not answer .no such file"):
        list(Workers(scheduler="missing.json", say=print).each([job(tmp_path, tmp_path, "a")]))
