"""Bits that turn in the files of a run, and disks that are full in the middle of each file."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import nbformat

from quadlib.config import TrainSettings
from quadlib.data.open import open_table
from quadlib.data.store.store import MediaStore
from quadlib.evaluation.record import Evaluation
from quadlib.files import FileError, digest_file, write_text
from quadlib.reports.render import render_report
from quadlib.runs import Run, lines_text
from quadlib.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from tests.helpers.flips import silent
from tests.soak.world import start, wait

SHARES = (0.0, 0.1, 0.5, 0.9)  # of a file that fit before the disk is full


def notebook_of(run: Run) -> Path:
    """An executed notebook of the run, as its record knows it."""
    path = run.path("notebooks", "04_evaluate.ipynb")
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), path)
    entry = {"status": "done", "error": None, "seconds": 1.0, "sha256": digest_file(path)}
    run.update(notebooks={"04_evaluate": entry})
    return path


def readers(run: Run, settings: TrainSettings) -> dict[Path, Callable[[], object]]:
    """Every kind of file that is believed later, with what reads it."""
    notebook = notebook_of(run)
    latest = run.checkpoints / "latest_model.pth"

    def open_store() -> MediaStore:
        return MediaStore.open(table, settings)

    table, store = open_table(settings), Path(settings.outputs, "store")
    open_store()
    entry = next(path for path in sorted(store.iterdir()) if (path / "index.json").is_file())
    return {
        run.path("run.json"): lambda: run.record,
        run.path("history.jsonl"): run.history,
        run.path("evaluation.json"): lambda: Evaluation.read(run),
        run.path("embeddings.npz"): lambda: Evaluation.read(run),
        latest: lambda: load_checkpoint(latest),
        notebook: lambda: render_report(notebook, run),
        entry / "array.npy": open_store,
        entry / "index.json": open_store,
    }


def flips(run: Run, settings: TrainSettings, count: int, rare: int) -> tuple[int, list[str]]:
    """How many bits were turned in the files of a run, `count` in each, and of a store and a
    notebook, `rare` in each; and those that nobody noticed.
    """
    missed: list[str] = []
    turned = 0
    for path, read in readers(run, settings).items():
        number = count if run.folder in path.parents and path.suffix != ".ipynb" else rare
        missed += silent(path, read, (FileError, CheckpointError), number)
        turned += number
    return turned, missed


def full_disks(run: Run) -> tuple[int, list[str]]:
    """How many writes a full disk cut short, and those that harmed the file before or left rests.

    The limit on a file's size stands for the disk: it too ends a write in the middle.
    """
    content = load_checkpoint(run.checkpoints / "latest_model.pth")
    evaluation, history = Evaluation.read(run), lines_text(run.history())
    notebook = notebook_of(run)
    page = render_report(notebook, run)
    writers: dict[Path, Callable[[], object]] = {
        run.checkpoints / "latest_model.pth": lambda: save_checkpoint(
            content, run.checkpoints / "latest_model.pth"
        ),
        run.path("history.jsonl"): lambda: write_text(run.path("history.jsonl"), history),
        run.path("run.json"): lambda: run.update(seed=1),
        run.path("embeddings.npz"): lambda: evaluation.write(run.folder),
        run.path("evaluation.json"): lambda: evaluation.write(run.folder),
        page: lambda: render_report(notebook, run),
    }
    harmed = []
    for path, write in writers.items():
        size, before = path.stat().st_size, path.read_bytes()
        for share in SHARES:
            status = wait(start(lambda write=write, most=int(share * size): _in(most, write)))
            rests = list(path.parent.glob("*.tmp")) + list(path.parent.glob(".*.tmp"))
            if status != 0 or rests or path.read_bytes() != before:
                harmed.append(f"{path.name} at {share:.0%}: exit {status}, {len(rests)} rests")
    return len(writers) * len(SHARES), harmed


def _in(most_bytes: int, write: Callable[[], object]) -> None:
    """Ends well where the write was refused by an error that names the file."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    try:
        write()
    except FileError:
        return
    os._exit(2)
