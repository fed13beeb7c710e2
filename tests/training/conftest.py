from __future__ import annotations

import numpy as np
import pytest

from quadlib.config import TrainSettings


@pytest.fixture(scope="session")
def features(tmp_path_factory):
    """Four made-up vector modalities of 4 classes x 30 recordings in 40 sessions."""
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 30)
    centres = random.normal(size=(4, 4, 6))
    arrays = {
        name: (centres[m][y] + random.normal(size=(120, 6))).astype(np.float32)
        for m, name in enumerate("abcd")
    }
    path = tmp_path_factory.mktemp("table") / "features.npz"
    np.savez(path, y=y, group=np.arange(120) // 3, **arrays)
    return path


def settings_of(features, outputs):
    return TrainSettings(
        source="table",
        path=str(features),
        outputs=str(outputs),
        run="r",
        epochs=3,
        batch_size=16,
        width=16,
        embedding_dim=8,
        fusion_heads=2,
        warmup_steps=3,
        device="cpu",
        dropout=0.2,
        modality_dropout=0.3,
    )


@pytest.fixture
def settings(features, tmp_path, monkeypatch):
    monkeypatch.delenv("QUADLIB_BATCH", raising=False)
    return settings_of(features, tmp_path)
