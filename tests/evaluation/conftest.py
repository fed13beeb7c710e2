from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
import torch

from quadlib.config import TrainSettings, read_settings
from quadlib.data.dataset import Batch
from quadlib.data.samples import Modality, SampleTable
from quadlib.model.quad import QuadModel

NAMES = ("good", "spatter", "overlap")
SIZES = {"fou": 6, "kar": 5, "mor": 4}


class ArrayDataset:
    """What evaluation asks of a dataset, over arrays in memory."""

    def __init__(self, table: SampleTable) -> None:
        self.table = table
        self.modalities = tuple(table.modalities)
        self.asked: list[int] = []

    def batches(self, rows: np.ndarray, batch_size: int) -> Iterator[Batch]:
        for start in range(0, len(rows), batch_size):
            chosen = np.asarray(rows)[start : start + batch_size]
            self.asked.append(len(chosen))
            present = self.table.present[chosen]
            inputs = {
                name: torch.from_numpy(self.table.arrays[name][chosen] * present[:, [m]])
                for m, name in enumerate(self.modalities)
            }
            yield Batch(
                inputs,
                torch.from_numpy(present),
                torch.from_numpy(self.table.codes[chosen]),
                torch.from_numpy(chosen),
            )


def build_table(
    sessions_per_class: int = 6,
    per_session: int = 5,
    missing: float = 0.1,
    noise: float = 1.0,
    seed: int = 0,
    weld_type: bool = False,
) -> SampleTable:
    """Three classes, each session in one split, three vector modalities of different strength, some
    missing, set-points per class.
    """
    random = np.random.default_rng(seed)
    rows = [
        (code, session)
        for code in range(len(NAMES))
        for session in range(sessions_per_class)
        for _ in range(per_session)
    ]
    codes = np.array([code for code, _ in rows])
    sessions = [f"{NAMES[code]}-{session}" for code, session in rows]
    splits = [
        ("train", "train", "test", "val", "train", "test")[session % 6] for _, session in rows
    ]
    arrays, columns = {}, {}
    for strength, (name, size) in zip((3.0, 2.0, 0.5), SIZES.items(), strict=True):
        centres = random.normal(size=(len(NAMES), size)) * strength
        arrays[name] = (centres[codes] + noise * random.normal(size=(len(codes), size))).astype(
            np.float32
        )
        columns[name] = np.where(random.random(len(codes)) < missing, -1, np.arange(len(codes)))
    columns["fou"] = np.where(
        (columns["kar"] < 0) & (columns["mor"] < 0), np.arange(len(codes)), columns["fou"]
    )
    frame = pd.DataFrame(
        {
            "sample_id": [f"r{n:03d}" for n in range(len(codes))],
            "label": [NAMES[code] for code in codes],
            "group": sessions,
            "split": splits,
            **columns,
            "current_a": [str(150 + 40 * code) for code in codes],
            "duration_seconds": 30 + random.normal(size=len(codes)),
        }
    )
    if weld_type:
        frame["weld_type"] = np.where(codes == 0, "fillet", "plane")
    return SampleTable(
        frame,
        {name: Modality("vector", (size,)) for name, size in SIZES.items()},
        arrays=arrays,
        classes=NAMES,
        normal_class="good",
        confounds={"set-points": ("current_a", "weld_type") if weld_type else ("current_a",)},
    )


@pytest.fixture
def make_table() -> Callable[..., SampleTable]:
    return build_table


@pytest.fixture
def as_dataset() -> type[ArrayDataset]:
    return ArrayDataset


@pytest.fixture
def table() -> SampleTable:
    return build_table()


@pytest.fixture
def dataset(table: SampleTable) -> ArrayDataset:
    return ArrayDataset(table)


@pytest.fixture
def train_settings() -> TrainSettings:
    return read_settings(TrainSettings, {"width": 16, "embedding_dim": 8, "fusion_heads": 2})


@pytest.fixture
def model(table: SampleTable, train_settings: TrainSettings) -> QuadModel:
    return QuadModel.from_table(table, train_settings)
