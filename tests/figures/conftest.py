"""Small synthetic results for the figures: a table, a plan, a history and an evaluation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quadlib.config import EvaluateSettings, read_settings
from quadlib.data.samples import Modality, SampleTable
from quadlib.evaluation.embed import EmbeddingSet
from quadlib.evaluation.evaluate import evaluate_embeddings
from quadlib.evaluation.record import Evaluation
from quadlib.sampler.plan import BatchPlan

NAMES = ("good", "spatter", "<b>porosity</b>", "3")
MODALITIES = ("video", "image", "audio", "sensor")


@pytest.fixture(scope="session")
def table() -> SampleTable:
    """64 training, 16 validation and 16 test recordings of four classes; every fifth lacks its
    photos.
    """
    rows = []
    for code, name in enumerate(NAMES):
        for split, count in (("train", 16), ("val", 4), ("test", 4)):
            for number in range(count):
                paths = {modality: f"{code}/{split}{number}.{modality}" for modality in MODALITIES}
                paths["image"] = "" if number % 5 == 0 else paths["image"]
                rows.append(
                    {
                        "sample_id": f"{name}-{split}-{number}",
                        "label": name,
                        "group": f"{split}-{code}-{number % 2}",
                        "split": split,
                        **paths,
                    }
                )
    kinds = {
        "video": Modality("video"),
        "image": Modality("image"),
        "audio": Modality("audio"),
        "sensor": Modality("series", (6,)),
    }
    return SampleTable(
        pd.DataFrame(rows),
        kinds,
        root=Path("nowhere"),
        classes=NAMES,
        name="synthetic",
        normal_class="good",
    )


@pytest.fixture(scope="session")
def plan(table: SampleTable) -> BatchPlan:
    """Four batches of 16, four of each class."""
    codes = table.codes[table.rows("train")]
    batches = [np.flatnonzero(np.arange(64) % 4 == number) for number in range(4)]
    return BatchPlan(batches, codes, table.class_names)


@pytest.fixture(scope="session")
def bad_plan(table: SampleTable) -> BatchPlan:
    """Batch 0 is healthy, batch 1 has a lone anchor, batch 2 holds one class."""
    codes = table.codes[table.rows("train")]
    return BatchPlan(
        [np.array([0, 1, 16, 17]), np.array([2, 3, 18]), np.array([4, 5, 6, 7])],
        codes,
        table.class_names,
    )


def make_history(epochs: int = 4, steps: int = 5, batch: int = 32) -> list[dict[str, Any]]:
    """A run that comes down from the plateau; the best epoch is the last but one."""
    lines: list[dict[str, Any]] = []
    plateau, total = math.log(batch - 1), epochs * steps
    for epoch in range(1, epochs + 1):
        for number in range(1, steps + 1):
            step = (epoch - 1) * steps + number
            fused = plateau - (plateau - 0.6) * 0.9 * step / total
            lines.append(
                {
                    "kind": "step",
                    "epoch": epoch,
                    "step": step,
                    "batch": number,
                    "classes": 12,
                    "positives_min": 1,
                    "collapse": plateau,
                    "floor": 0.6 - 0.01 * number,
                    "learning_rate": 1e-3 * step / total,
                    "loss": 2 * fused,
                    "fused": fused,
                    "progress": (plateau - fused) / (plateau - 0.6),
                    "gradient_norm": 1.0,
                }
            )
        score = 0.5 + 0.1 * epoch if epoch < epochs else 0.6
        lines.append(
            {
                "kind": "epoch",
                "epoch": epoch,
                "step": epoch * steps,
                "loss": 2 * fused,
                "fused": fused,
                "floor": 0.57,
                "collapse": plateau,
                "progress": (plateau - fused) / (plateau - 0.57),
                "val_macro_f1": score,
                "val_map_at_r": score - 0.1,
                "val_accuracy": score,
                "best": epoch < epochs,
                "gradient_norms": {
                    "encoders.video": 0.1,
                    "encoders.sensor": 0.2,
                    "fusion": 0.3,
                    "modality_heads.video": 0.1,
                },
                "update_ratios": {
                    "encoders.video": 1e-3,
                    "encoders.sensor": 1e-3,
                    "fusion": 2e-3,
                    "modality_heads.video": 1e-3,
                },
            }
        )
    return lines


@pytest.fixture
def history() -> list[dict[str, Any]]:
    return make_history()


@pytest.fixture(scope="session")
def evaluation(table: SampleTable) -> Evaluation:
    """Embeddings that mostly tell the classes apart: class 1 is taken for class 2 half of the
    time.
    """
    rng = np.random.default_rng(0)

    def embedded(rows: np.ndarray, confused: bool) -> EmbeddingSet:
        labels = table.codes[rows]
        place = np.where(confused & (labels == 1) & (np.arange(len(rows)) % 2 == 0), 2, labels)
        fused = np.eye(8, dtype=np.float32)[place] + rng.normal(0, 0.05, (len(rows), 8)).astype(
            np.float32
        )
        fused /= np.linalg.norm(fused, axis=1, keepdims=True)
        present = table.present[rows]
        by_modality = np.where(present[:, :, None], fused[:, None, :], 0).astype(np.float32)
        weights = (present / present.sum(axis=1, keepdims=True)).astype(np.float32)
        return EmbeddingSet(fused, by_modality, weights, present, labels, rows)

    return evaluate_embeddings(
        embedded(table.rows("train"), False),
        embedded(table.rows("test"), True),
        table,
        read_settings(EvaluateSettings, {"resamples": 20}),
        run="a-run",
    )
