"""What the doctor costs: before training on a large table, once in full, and while a run trains."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quadlib.config import TrainSettings, read_settings
from quadlib.data.samples import Modality, SampleTable
from quadlib.diagnosis import Subject, diagnose
from quadlib.faults.pipeline import Pipeline
from quadlib.faults.small import small_pipeline
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
