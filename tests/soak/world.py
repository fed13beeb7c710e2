"""The small run that is disturbed, and what it must be like afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from quadlib.config import EvaluateSettings, TrainSettings
from quadlib.evaluation import KnnValidator
from quadlib.evaluation.evaluate import evaluate
from quadlib.evaluation.record import Evaluation
from quadlib.runs import Run
from quadlib.training.checkpoint import load_checkpoint
from quadlib.training.restore import open_dataset
from quadlib.training.trainer import Trainer
from tests.training.conftest import settings_of

SCORING = EvaluateSettings(resamples=20)


def write_features(folder: Path) -> Path:
    """Four made-up vector modalities of 4 classes x 30 recordings in 40 sessions."""
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 30)
    centres = random.normal(size=(4, 4, 6))
    arrays = {
        name: (centres[m][y] + random.normal(size=(120, 6))).astype(np.float32)
        for m, name in enumerate("abcd")
    }
    path = folder / "features.npz"
    np.savez(path, y=y, group=np.arange(120) // 3, **arrays)
    return path


def settings_in(features: Path, outputs: Path, **changes: object) -> TrainSettings:
    """The settings of the small run, saved after every second step."""
    return settings_of(features, outputs).model_copy(
        update={"checkpoint_every_steps": 2, "epochs": 4, **changes}
    )


def train(settings: TrainSettings) -> Run:
    """Trains the small run, or goes on with it."""
    run = Run.create(settings)
    Trainer(open_dataset(settings), settings, run, validator=KnnValidator(settings)).fit()
    return run


def score(run: Run) -> Evaluation:
    """Evaluates it, quickly."""
    return evaluate(run, SCORING)


def state(run: Run) -> str:
    """Digest of all that a run's training came to: weights, optimiser, history; raises where a file
    cannot be read.
    """
    sha = hashlib.sha256(run.path("history.jsonl").read_bytes())
    for name in ("latest_model.pth", "best_model.pth"):
        content = load_checkpoint(run.checkpoints / name)
        slots = list(content["optimiser"]["state"].values())
        for tensors in (content["model"], *slots):
            for key, tensor in tensors.items():
                sha.update(str(key).encode() + tensor.numpy().tobytes())
    return sha.hexdigest()


def torn(outputs: Path) -> list[str]:
    """Files of a run that cannot be read, which no kill may leave."""
    problems = []
    for run in map(Run, (path.parent for path in outputs.glob("*/run.json"))):
        readers: list[Callable[[], object]] = [lambda run=run: run.record, run.history]
        readers += [
            lambda path=path: load_checkpoint(path) for path in run.checkpoints.glob("*.pth")
        ]
        for read in readers:
            try:
                read()
            except Exception as error:
                problems.append(str(error))
    for page in outputs.rglob("*.html"):
        if not page.read_text(encoding="utf-8").rstrip().endswith("</html>"):
            problems.append(f"{page} is cut")
    return problems


def start(work: Callable[[], object]) -> psutil.Process:
    """Runs work in a forked child, silently, in a process group of its own."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return psutil.Process(child)
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with open(os.devnull, "w") as silence:
            os.dup2(silence.fileno(), 1)
            os.dup2(silence.fileno(), 2)
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def wait(process: psutil.Process) -> int:
    """Waits for a forked child; its exit status, negative for a signal."""
    _, status = os.waitpid(process.pid, 0)
    return os.waitstatus_to_exitcode(status)


def kill_after(process: psutil.Process, seconds: float) -> bool:
    """Kills a child after some time; False where it had ended by itself."""
    time.sleep(seconds)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()
    return wait(process) == -signal.SIGKILL
