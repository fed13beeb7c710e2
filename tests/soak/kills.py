"""Kills at random times, of a run and of its parts, after which it must be the run that nobody
disturbed.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import numpy as np
import psutil

from quadlib.config import TrainSettings
from quadlib.data.open import open_table
from quadlib.data.store.store import MediaStore
from quadlib.files import digest_file
from quadlib.reports.child import save_notebook
from quadlib.reports.gallery import write_gallery
from quadlib.reports.render import render_all, render_report
from quadlib.runs import Run
from tests.soak.damage import notebook_of
from tests.soak.world import (
    kill_after,
    score,
    settings_in,
    start,
    state,
    torn,
    train,
    wait,
    write_features,
)


@dataclass
class Tally:
    """What came of the kills."""

    same: int = 0
    done: int = 0
    torn: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    most_lost_seconds: float = 0.0

    def add(self, what: str, same: bool, torn_files: list[str]) -> None:
        self.done += 1
        self.same += same
        self.torn += torn_files
        self.wrong += [] if same else [what]

    def take(self, other: Tally) -> None:
        """Adds what came of other kills."""
        self.same, self.done = self.same + other.same, self.done + other.done
        self.torn, self.wrong = self.torn + other.torn, self.wrong + other.wrong
        self.most_lost_seconds = max(self.most_lost_seconds, other.most_lost_seconds)


class Kills:
    """The undisturbed run, and the kinds of kills that are tried against it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.features = write_features(folder)
        whole = settings_in(self.features, folder / "whole")
        began = time.monotonic()
        self.run = train(whole)
        self.seconds = time.monotonic() - began
        self.expected = state(self.run)
        score(self.run)
        self.scored = self.files_of(self.run)
        self.kinds: dict[str, Callable[[Path], bool]] = {
            "training": self.training,
            "loading process": self.loading_process,
            "evaluation": self.evaluation,
            "gallery": self.gallery,
            "page": self.page,
            "notebook save": self.notebook_save,
        }

    def trial(self, number: int, kind: str) -> Tally:
        """One kill, or several, and what came of it; when it comes follows from the number."""
        self.random, self.lost = np.random.default_rng([self.seed, number]), 0.0
        tally, outputs = Tally(), self.folder / f"{number}"
        try:
            same = self.kinds[kind](outputs)
        except Exception as error:
            same, kind = False, f"{kind}: {type(error).__name__}: {error}"
        tally.most_lost_seconds = max(tally.most_lost_seconds, self.lost)
        tally.add(f"{number} {kind}", same, torn(outputs))
        shutil.rmtree(outputs, ignore_errors=True)
        return tally

    def training(self, outputs: Path) -> bool:
        """Training, once or twice in the same run."""
        settings = settings_in(self.features, outputs)
        for _ in range(int(self.random.integers(1, 3))):
            began = time.time()
            process = start(lambda: train(settings))
            killed = kill_after(process, self.random.uniform(0, 1.2 * self.seconds))
            saved = outputs / "r/checkpoints/latest_model.pth"
            last = max(began, saved.stat().st_mtime) if saved.exists() else began
            self.lost = time.time() - last if killed else 0.0
            if torn(outputs):
                return False
            if killed and (outputs / "r/run.json").exists():
                assert Run(outputs / "r").record["status"] in ("queued", "killed", "done")
        return self._goes_on(outputs)

    def loading_process(self, outputs: Path) -> bool:
        """One of training's loading processes alone: training ends with an error, and goes on."""
        settings = settings_in(self.features, outputs, num_workers=1)
        process = start(lambda: train(settings))
        loaders: list[psutil.Process] = []
        end = time.monotonic() + 30
        while not loaders and process.is_running() and time.monotonic() < end:
            with contextlib.suppress(psutil.Error):
                if process.status() == psutil.STATUS_ZOMBIE:
                    break
                loaders = process.children()
        time.sleep(self.random.uniform(0, 0.1))
        for loader in loaders:
            with contextlib.suppress(psutil.Error):
                loader.kill()
        wait(process)
        return self._goes_on(outputs)

    def evaluation(self, outputs: Path) -> bool:
        """Evaluation: what it leaves is whole, and the next one writes the same."""
        shutil.copytree(self.run.folder, outputs / "r")
        run = Run(outputs / "r")
        for name in ("evaluation.json", "embeddings.npz"):
            run.path(name).unlink()
        kill_after(start(lambda: score(run)), self.random.uniform(0, self.seconds))
        score(run)
        return self.files_of(run) == self.scored

    def gallery(self, outputs: Path) -> bool:
        """The gallery of several runs, over the one that is there."""
        for name in "abc":
            shutil.copytree(self.run.folder, outputs / name)
        page = write_gallery(outputs)
        before = page.read_bytes()
        kill_after(start(lambda: write_gallery(outputs)), self.random.uniform(0, 0.5))
        return page.read_bytes() == before and write_gallery(outputs).read_bytes() == before

    def page(self, outputs: Path) -> bool:
        """A page that is rendered again, over the one that is there."""
        shutil.copytree(self.run.folder, outputs / "r")
        run = Run(outputs / "r")
        notebook = notebook_of(run)
        page = render_report(notebook, run)
        before = page.read_bytes()
        kill_after(start(lambda: render_report(notebook, run)), self.random.uniform(0, 0.5))
        return page.read_bytes() == before and render_report(notebook, run).read_bytes() == before

    def notebook_save(self, outputs: Path) -> bool:
        """A notebook of 4 MB that is saved after each cell: it is one of those that were saved."""
        outputs.mkdir()
        path, whole = outputs / "02_train.ipynb", []
        cells = [nbformat.v4.new_code_cell(f"{number}" * 2**20) for number in range(4)]
        texts = [nbformat.writes(nbformat.v4.new_notebook(cells=cells[: n + 1])) for n in range(4)]
        for text in texts:
            save_notebook(text, path)
            whole.append(path.read_bytes())

        def save() -> None:
            for number in range(200):
                save_notebook(texts[number % 4], path)

        kill_after(start(save), self.random.uniform(0, 0.5))
        return path.read_bytes() in whole

    def _goes_on(self, outputs: Path) -> bool:
        process = start(lambda: train(settings_in(self.features, outputs)))
        if wait(process) != 0:
            return False
        left = list(outputs.rglob("*.tmp"))
        return state(Run(outputs / "r")) == self.expected and not left

    def files_of(self, run: Run) -> tuple[str, ...]:
        return tuple(digest_file(run.path(name)) for name in ("evaluation.json", "embeddings.npz"))


def store_fill(
    settings: TrainSettings,
    folder: Path,
    random: np.random.Generator,
    tally: Tally,
    count: int,
) -> None:
    """Fills of the store, killed: no decoder outlives its fill, and the next one is whole."""
    table = open_table(settings)

    def fill(store: Path) -> MediaStore:
        return MediaStore.open(table, settings, store)

    began = time.monotonic()
    expected = {name: array.tobytes() for name, array in fill(folder / "first").arrays.items()}
    seconds = time.monotonic() - began
    for number in range(count):
        store = folder / f"store-{number}"
        process = start(lambda store=store: fill(store))
        time.sleep(random.uniform(0, seconds))
        family = []
        with contextlib.suppress(psutil.Error):
            family = process.children(recursive=True)
        kill_after(process, 0)
        _, alive = psutil.wait_procs(family, timeout=5)
        again = {name: array.tobytes() for name, array in fill(store).arrays.items()}
        same = not alive and again == expected
        tally.add(f"store fill {number}", same, [])
        shutil.rmtree(store, ignore_errors=True)


BATCH = ("-p", "source=mfeat", "-p", "epochs=3", "-p", "checkpoint_every_steps=5")


def batch(folder: Path, random: np.random.Generator, tally: Tally, count: int) -> None:
    """`quadlib run`, whose parent or kernel is killed alone: nothing of it lives on, its status is
    true, and it goes on.
    """

    def command(outputs: Path) -> list[str]:
        return [
            *(sys.executable, "-m", "quadlib", "run", "02_train", *BATCH),
            *("--run", "r", "-p", f"outputs={outputs}"),
        ]

    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    began = time.monotonic()
    subprocess.run(command(folder / "batch"), check=True, **silent)
    seconds = time.monotonic() - began
    expected = state(Run(folder / "batch/r"))
    for number in range(count):
        outputs = folder / f"batch-{number}"
        with subprocess.Popen(command(outputs), **silent) as process:
            time.sleep(random.uniform(0.2, 0.9) * seconds)
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(True)]
            kernels = [item for item in family if "ipykernel" in " ".join(item.cmdline())]
            victim = kernels[0] if number % 2 and kernels else family[0]
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        _, alive = psutil.wait_procs(family[1:], timeout=10)
        run = Run(outputs / "r")
        status = run.record["status"] if run.path("run.json").exists() else "none"
        problems = torn(outputs)
        done = subprocess.run(command(outputs), **silent).returncode
        same = done == 0 and not alive and state(run) == expected and bool(list(render_all(run)))
        same = same and status in ("none", "queued", "killed", "done")
        tally.add(f"batch {number}, status {status}", same, problems)
        shutil.rmtree(outputs, ignore_errors=True)
