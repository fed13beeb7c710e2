"""What the doctor costs: before training on a large table, once in full, and while a run trains."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quadlib.config import TrainSettings, read_settings
from quadlib.data.samples import Modality, SampleTable
from quadlib.diagnosis import Subject, diagnose
from quadlib.diagnosis.observe.recorder import Recorder
from quadlib.faults.pipeline import Pipeline
from quadlib.faults.small import small_pipeline
from quadlib.loss import SupConLoss
from quadlib.runs import Run
from quadlib.training.watcher import DoctorWatcher

ROWS, FILE_BYTES = 4040, 10_000
KINDS: dict[str, Any] = {
    "video": ("video", "avi"),
    "image": ("image", "jpg"),
    "audio": ("audio", "flac"),
    "sensor": ("series", "csv"),
}


def costs() -> dict[str, float]:
    """Seconds of the examination before training and of a full one, and the share of training that
    watching took.
    """
    with tempfile.TemporaryDirectory() as folder:
        return {
            "before_training_4040_rows_seconds": before_training(Path(folder)),
            "full_examination_seconds": full_examination(),
            **watching(Path(folder) / "outputs"),
            **observing(),
        }


def before_training(root: Path) -> float:
    """The examination before training of a table of 4,040 recordings in four files each, all of one
    size, so that each must be compared.
    """
    columns: dict[str, list[str]] = {}
    for name, (_, extension) in KINDS.items():
        columns[name] = [f"{name}/r{row:04d}.{extension}" for row in range(ROWS)]
        (root / name).mkdir()
        for path in columns[name]:
            (root / path).write_bytes(os.urandom(FILE_BYTES))
    session = np.arange(ROWS) // 10
    frame = pd.DataFrame(
        {
            "sample_id": [f"r{row:04d}" for row in range(ROWS)],
            "label": [f"class {code:02d}" for code in session % 12],
            "group": [f"s{number}" for number in session],
            "split": np.array(["train", "train", "train", "val", "test"])[session // 12 % 5],
            **columns,
        }
    )
    table = SampleTable(
        frame,
        {
            name: Modality(kind, (6,) if kind == "series" else ())
            for name, (kind, _) in KINDS.items()
        },
        root=root,
    )
    began = time.perf_counter()
    diagnosis = diagnose(Subject(table=table), phases=("before",))
    assert diagnosis.ok, diagnosis.to_text()
    return time.perf_counter() - began


def full_examination() -> float:
    pipeline = small_pipeline("mfeat")
    began = time.perf_counter()
    diagnose(pipeline.subject())
    return time.perf_counter() - began


def watching(outputs: Path) -> dict[str, float]:
    """A run of ten epochs with the watcher: what the start took once, and what the epochs took as a
    share of training.
    """
    settings = read_settings(
        TrainSettings, {"source": "mfeat", "outputs": str(outputs), "epochs": 10, "device": "cpu"}
    )
    doctor = DoctorWatcher(say=lambda text: None)
    pipeline = Pipeline(
        small_pipeline("mfeat").table, settings, run=Run.create(settings), watcher=[doctor]
    )
    seconds = pipeline.trainer.fit().seconds
    return {
        "watching_share_of_training": doctor.seconds_watching / seconds,
        "watched_training_seconds": seconds,
    }


def observing(steps: int = 12, rounds: int = 5) -> dict[str, float]:
    """How many times as long a step of a convolutional network takes while it is traced, while it
    is watched, and after watching; medians against the same steps unwatched, in turn.
    """
    times: dict[str, list[float]] = {"plain": [], "traced": [], "watched": [], "after": []}
    for _ in range(rounds):
        times["plain"] += _step_seconds(steps)
        with Recorder(steps=4, traced_steps=2, stop=False):
            seconds = _step_seconds(steps)
        times["traced"] += seconds[:2]
        times["watched"] += seconds[2:4]
        times["after"] += seconds[4:]
    median = {name: float(np.median(values)) for name, values in times.items()}
    return {
        f"{name}_step_ratio": median[name] / median["plain"]
        for name in ("traced", "watched", "after")
    }


def _step_seconds(steps: int) -> list[float]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 64, 128),
    )  # fmt: skip
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    data = TensorDataset(torch.randn(64 * steps, 3, 32, 32), torch.arange(64 * steps) % 8)
    loss = SupConLoss(0.1)
    seconds = []
    for x, y in DataLoader(data, 64):
        began = time.perf_counter()
        optimiser.zero_grad()
        loss(model(x), y).backward()
        optimiser.step()
        seconds.append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    for name, value in observing().items():
        print(f"{name}: {value:.3f}")
