"""The process that runs one notebook: papermill with atomic writes, and a commit record of how it
really ended.

Started by `execute_notebook`, which writes the job as JSON to its standard input. papermill's own
notebook metadata calls a notebook whose kernel died "completed"; the commit record and the exit
code do not.
"""

from __future__ import annotations

import json
import logging
import re
import resource
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

from quadlib.files import write_json, write_text
from quadlib.processes import ENDS, die_with_parent
from quadlib.reports.streams import merge_streams

DEAD_KERNEL = 138
TRACEBACK_LINES = 40
# The kernel dies with this process, so that no orphan goes on writing into a run that somebody else
# has taken over.
KERNEL_ARGUMENTS = [
    "--IPKernelApp.exec_lines=__import__('quadlib.processes', fromlist=['']).die_with_parent()",
    "--log-level=ERROR",
]


def main() -> int:
    """Runs the job; 0 is success, 1 an error in a cell, 138 a dead kernel."""
    job = json.load(sys.stdin)
    die_with_parent(job["parent"])
    if job["memory_bytes"]:  # of this process and, inherited, of the kernel and its loaders
        resource.setrlimit(resource.RLIMIT_DATA, (job["memory_bytes"], job["memory_bytes"]))
    for number in ENDS:  # a scheduler tells every process of a job; here the parent decides
        signal.signal(number, _leave_to_the_parent)
    commit: dict[str, Any] = {"status": "done", "error": None}
    code = 0
    try:
        # nbclient ends the kernel on a signal, unless it runs in a thread, where it hears of none
        with ThreadPoolExecutor(1) as thread:
            thread.submit(_execute, job).result()
    except Exception as error:  # whatever ends the notebook is the record's content
        commit, code = _explain(error, Path(job["output"]))
    write_json(job["commit"], commit)
    return code


def _leave_to_the_parent(number: int, frame: FrameType | None) -> None:
    """Not SIG_IGN, which the kernel would inherit."""


def save_notebook(text: str, path: str | Path) -> None:
    """Replaces a notebook whole, without widget state (5 MB for each FigureWidget), a cell's prints
    joined.
    """
    notebook = json.loads(text)
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        if "outputs" in cell:
            cell["outputs"] = merge_streams(cell["outputs"])
    write_text(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def _execute(job: dict[str, Any]) -> None:
    import papermill
    from papermill.iorw import LocalHandler, papermill_io

    class AtomicHandler(LocalHandler):
        def write(self, buf: str, path: str) -> None:
            save_notebook(buf, path)

    # it knows the parameters of one cell, and warns of those in the collapsed one; ours are checked
    logging.getLogger("papermill").setLevel(logging.ERROR)
    output = Path(job["output"])
    output.parent.mkdir(parents=True, exist_ok=True)
    papermill_io.register(str(output.parent), AtomicHandler())
    papermill.execute_notebook(
        job["notebook"],
        str(output),
        parameters=job["parameters"],
        progress_bar=False,
        stdout_file=sys.stdout,
        stderr_file=sys.stderr,
        execution_timeout=job["timeout_seconds"],
        extra_arguments=KERNEL_ARGUMENTS,
    )


def _explain(error: Exception, output: Path) -> tuple[dict[str, Any], int]:
    """The commit record and exit code for what papermill raised."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    if isinstance(error, PapermillExecutionError):
        lines = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback)).splitlines()
        shown = [line for line in lines if line.strip("- ")][-TRACEBACK_LINES:]
        return _failure("failed", error.ename, error.evalue, error.cell_index, shown), 1
    if isinstance(error, DeadKernelError):
        message = (
            "the kernel died without a Python error; usually the machine ran out of memory, or "
            "native code crashed"
        )
        return _failure("killed", "DeadKernel", message, _last_started_cell(output)), DEAD_KERNEL
    if isinstance(error, CellTimeoutError):
        return _failure(
            "timed-out",
            "Timeout",
            "a cell ran longer than the time allowed",
            _last_started_cell(output),
        ), 1
    return _failure("failed", type(error).__name__, str(error), None), 1


def _failure(
    status: str, kind: str, message: str, cell: int | None, traceback: list[str] | None = None
) -> dict[str, Any]:
    return {
        "status": status,
        "error": {"type": kind, "message": message, "cell": cell, "traceback": traceback or []},
    }


def _last_started_cell(output: Path) -> int | None:
    """Index of the cell that was running: papermill marks later cells completed too, but never
    gives them a start.
    """
    cells = json.loads(output.read_text(encoding="utf-8"))["cells"]
    started = [
        index
        for index, cell in enumerate(cells)
        if cell["metadata"].get("papermill", {}).get("start_time")
    ]
    return started[-1] if started else None


if __name__ == "__main__":
    sys.exit(main())
