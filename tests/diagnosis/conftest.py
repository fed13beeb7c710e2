"""Small tables with two linked modalities, and what the doctor says of them."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from quadlib.data.samples import Modality, SampleTable
from quadlib.diagnosis import Diagnosis, Subject, diagnose


@pytest.fixture(autouse=True, scope="session")
def only_the_living_of_a_test():
    """Observers look through all objects; those of the imported libraries are none of a test's."""
    gc.freeze()
    yield
    gc.unfreeze()


SPLITS = ["train"] * 6 + ["val"] * 2 + ["test"] * 2


def build_table(
    n: int = 400, classes: int = 4, seed: int = 0, edit: Callable | None = None
) -> SampleTable:
    """n recordings whose audio (16 values) and sensor (24 values) both show their class and a
    common cause.

    edit(frame, arrays) changes them before the table is made.
    """
    random = np.random.default_rng(seed)
    y = np.arange(n) % classes
    cause = np.eye(classes)[y] * 4 + random.normal(size=(n, classes))
    arrays = {
        name: (
            cause @ random.normal(size=(classes, width)) + 0.2 * random.normal(size=(n, width))
        ).astype(np.float32)
        for name, width in (("audio", 16), ("sensor", 24))
    }
    groups = np.arange(n) // classes // 2
    frame = pd.DataFrame(
        {
            "sample_id": [f"r{row:04d}" for row in range(n)],
            "label": [f"class {code}" for code in y],
            "group": [f"s{group}" for group in groups],
            "split": [SPLITS[group % 10] for group in groups],
            "audio": np.arange(n),
            "sensor": np.arange(n),
        }
    )
    if edit is not None:
        frame = frame if (changed := edit(frame, arrays)) is None else changed
    return SampleTable(
        frame,
        {name: Modality("vector", array.shape[1:]) for name, array in arrays.items()},
        arrays=arrays,
    )


def upstream(diagnosis: Diagnosis) -> list[str]:
    """Codes of roots of data, labels, split and batch that are alarms."""
    return [
        root.code for root in diagnosis.roots if root.severity != "note" and root.code[3] in "DLSB"
    ]


@pytest.fixture
def make_table() -> Callable[..., SampleTable]:
    return build_table


@pytest.fixture
def roots() -> Callable[..., list[str]]:
    """Alarming roots of the first four stages for a subject given by its parts."""
    return lambda phases=("before", "batch"), deep=False, **parts: upstream(
        diagnose(Subject(**parts), phases=phases, deep=deep)
    )


@pytest.fixture
def examined() -> Callable[..., Diagnosis]:
    return lambda phases=("before", "batch"), deep=False, **parts: diagnose(
        Subject(**parts), phases=phases, deep=deep
    )
