from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quadlib.data.samples import Modality, SampleTable
from quadlib.data.suspects import suspects

CLASSES = np.arange(60) % 3


def notes(values: np.ndarray, codes: np.ndarray = CLASSES, names: tuple[str, ...] = tuple("abc")):
    values = values.astype(np.float32)
    count = len(values)
    frame = pd.DataFrame(
        {
            "sample_id": [f"r{row:02d}" for row in range(count)],
            "label": [names[code] for code in codes],
            "group": [f"g{row}" for row in range(count)],
            "split": np.array(["train", "val", "test"])[np.arange(count) // (count // 3 + 1)],
            "x": np.arange(count),
        }
    )
    modality = {"x": Modality("vector", values.shape[1:])}
    return list(suspects(SampleTable(frame, modality, arrays={"x": values}), {"x": values}))


@pytest.fixture
def measured() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(60, 6)) + CLASSES[:, None]


def test_measured_features_are_no_suspects(measured):
    assert notes(measured) == []
    assert notes(np.round(measured)) == []  # few values, none of one class alone


@pytest.mark.parametrize("label", [CLASSES * 1.5 - 7, np.array([4, 0, 9])[CLASSES]])
def test_a_feature_that_is_the_label(measured, label):
    measured[:, 4] = label
    (note,) = notes(measured)
    assert note.startswith("x: column 4 (the first is 0) has one value in each class")


def test_a_label_in_several_columns(measured):
    measured[:, 1:4] = np.eye(3)[CLASSES]
    assert notes(measured)[0].startswith("x: each of columns 1, 2, 3 (the first is 0) has one")


@pytest.mark.parametrize("order", [np.arange(60), np.random.default_rng(1).permutation(60) + 7])
def test_the_number_of_a_row(measured, order):
    measured[:, 0] = order
    (note,) = notes(measured)
    assert note.startswith("x: column 0 (the first is 0) has another whole number in each")


def test_what_a_classifier_gives(measured):
    given = measured[:, :3] + 12 * np.eye(3)[CLASSES]
    given[0] = given[1]  # one is wrong, and this one is a copy within train
    (note,) = notes(given)
    assert note.startswith("x: its largest number names the class of 98% of the recordings")


def test_a_recording_of_test_that_is_one_of_train(measured):
    measured[45], measured[46] = measured[3], measured[4]
    (note,) = notes(measured)
    assert note.startswith("2 of 18 recordings of test hold the same values as one of train (r45")


def test_a_class_of_those_that_nobody_labelled(measured):
    (note,) = notes(measured, names=("-1", "0", "1"))
    assert note.startswith("label '-1' of 20 recordings is trained on as a class")


def test_what_stands_for_nothing(measured):
    measured[3:5, 2] = -999
    measured[7, 4] = 9999
    assert [note.partition(", far")[0] for note in notes(measured)] == [
        "x: -999 stands 2 times",
        "x: 9999 stands 1 times",
    ]
    measured[3:5, 2] = measured[7, 4] = 0
    measured[[9, 50]] = 0  # in two splits, and no copies
    (note,) = notes(measured)
    assert note.startswith("x: 2 of 60 recordings are zeros alone")


def test_flags_that_are_the_other_columns_of_a_coded_label(measured):
    flags = np.stack([code == CLASSES for code in (1, 2)], axis=1)
    assert any("together say which" in note for note in notes(np.hstack([measured, flags])))
    random = np.random.default_rng(1).random((60, 2)) < 0.3
    assert notes(np.hstack([measured, random])) == []
