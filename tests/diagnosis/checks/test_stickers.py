"""A sticker that names the class: what the doctor reads of a photo is what training reads, so it
sees the sticker until image_mask hides it.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from quadlib import open_dataset
from quadlib.config import TrainSettings
from quadlib.data.dataset import QuadDataset
from quadlib.diagnosis import Subject, diagnose
from quadlib.diagnosis.evidence.examination import Examination

MASK = [0.3, 0.3, 0.7, 0.7]


@pytest.fixture
def stickers(tmp_path: Path) -> Path:
    """120 recordings of noise: photos with a sticker whose shade is the class's, and two sensor
    vectors that share a cause which is not the class.
    """
    random, rows = np.random.default_rng(0), []
    for number in range(120):
        code = number % 3
        photo = random.integers(0, 255, (48, 96), dtype=np.uint8)
        photo[18:30, 36:60] = 60 + 80 * code
        Image.fromarray(photo).save(tmp_path / f"{number}.png")
        cause = random.normal(size=8).astype(np.float32)
        for name in ("a", "b"):
            np.save(tmp_path / f"{name}{number}.npy", cause + 0.1 * random.normal(size=8))
        files = (f"{number}.png", f"a{number}.npy", f"b{number}.npy")
        rows.append((f"r{number}", "xyz"[code], f"s{number // 6}", *files))
    columns = ["sample_id", "label", "group", "photo", "a", "b"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "recordings.csv", index=False)
    return tmp_path


def dataset_of(folder: Path, mask: list[float]) -> QuadDataset:
    table, outputs = str(folder / "recordings.csv"), str(folder / "outputs")
    return open_dataset(
        TrainSettings(source="table", path=table, outputs=outputs, image_mask=mask, image_views=1)
    )


def subject_of(dataset: QuadDataset) -> Subject:
    return Subject(table=dataset.table, loader=SimpleNamespace(dataset=dataset))


def test_a_sticker_is_seen_until_it_is_masked(stickers):
    seen = Examination(subject_of(dataset_of(stickers, []))).signature.labels["photo"]
    hidden = Examination(subject_of(dataset_of(stickers, MASK))).signature.labels["photo"]
    assert seen.p <= 0.01 and seen.strength > 0.1
    assert hidden.p > 0.01 and abs(hidden.strength) < 0.05


def test_masked_recordings_of_noise_are_judged_as_noise(stickers):
    codes = {
        hidden: [
            root.code
            for root in diagnose(
                subject_of(dataset_of(stickers, MASK if hidden else [])), phases=("before",)
            ).roots
        ]
        for hidden in (False, True)
    }
    assert "QL-L01" not in codes[False] and codes[True] == ["QL-L01"]


def test_a_masked_photo_is_no_dead_or_copied_stream(stickers):
    arrays = dataset_of(stickers, MASK).store.arrays["photo"]
    assert not arrays[:, :, :, 18:30, 36:60].any() and arrays.std() > 20
    found = diagnose(subject_of(dataset_of(stickers, MASK)), phases=("before",)).findings
    assert not [finding for finding in found if finding.code.startswith("QL-M")]
