"""Folds: every recording is tested once, no session is in two splits, what cannot be is said."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from quadlib.config import SettingsError, TrainSettings, read_settings
from quadlib.data.folds import assign_fold
from quadlib.data.open import open_table
from quadlib.data.samples import Modality, SampleTable, TableError


def table_of(sessions: dict[str, list[int]], mixed: bool = False) -> SampleTable:
    """Recordings of each class by session; a mixed table gives a session all classes."""
    rows = [
        (label, f"s{number}" if mixed else f"{label}-{number}")
        for label, sizes in sessions.items()
        for number, size in enumerate(sizes)
        for _ in range(size)
    ]
    frame = pd.DataFrame(rows, columns=["label", "group"])
    frame["sample_id"] = [f"r{number}" for number in range(len(frame))]
    frame = frame.assign(split="", pose=np.arange(len(frame)))
    values = np.random.default_rng(0).normal(size=(len(frame), 3)).astype(np.float32)
    return SampleTable(frame, {"pose": Modality("vector", (3,))}, arrays={"pose": values})


def splits(table: SampleTable, folds: int, **options) -> list[SampleTable]:
    return [assign_fold(table, number, folds, **options) for number in range(1, folds + 1)]


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_recording_is_tested_once_and_no_session_is_in_two_splits(mixed, seed):
    table = table_of({"good": [9, 3, 5, 7, 6, 4], "pore": [2, 8, 3, 3, 5]}, mixed)
    parts = splits(table, 5, seed=seed)
    tested = sum((part.frame["split"] == "test").astype(int) for part in parts)
    assert (tested == 1).all()
    for part in parts:
        assert part.frame.groupby("group")["split"].nunique().max() == 1
        for name in ("train", "test"):
            assert set(part.frame["label"][part.rows(name)]) == {"good", "pore"}
        assert len(part.rows("val"))


def test_recordings_that_stand_alone_are_dealt_by_class_exactly():
    table = table_of({"a": [1] * 40, "b": [1] * 20})
    for part in splits(table, 5):
        counts = part.frame.groupby("split")["label"].value_counts()
        assert counts["test"].to_dict() == {"a": 8, "b": 4}
        assert counts["val"].to_dict() == {"a": 8, "b": 4}


def test_the_last_session_of_a_class_stays_in_train():
    for part in splits(table_of({"good": [4] * 9, "pore": [3, 3]}), 2):
        assert set(part.frame["label"][part.rows("train")]) == {"good", "pore"}


def test_another_seed_is_another_division_and_the_same_seed_the_same():
    table = table_of({"a": [3] * 12, "b": [2] * 12})
    first, again, other = (assign_fold(table, 1, 4, seed=seed) for seed in (0, 0, 1))
    assert first.frame["split"].equals(again.frame["split"])
    assert not first.frame["split"].equals(other.frame["split"])


def test_fewer_sessions_than_folds_is_refused_and_the_way_out_works():
    table = table_of({"good": [4] * 6, "pore": [4] * 3, "crack": [9, 9]})
    with pytest.raises(
        TableError, match=r"2 class\(es\) have fewer .*: 'crack' \(2\), 'pore' \(3\); take 2 folds"
    ) as error:
        assign_fold(table, 1, 5)
    names = re.search(r"leave_out=\[(.*)\]", str(error.value)).group(1)
    assert names == "'crack', 'pore'"
    assert len(splits(table, 2)) == 2
    assert len(splits(table.take(np.flatnonzero(table.frame["label"] == "good")), 5)) == 5


def test_a_class_of_one_session_is_trained_on_alone_or_left_out():
    table = table_of({"good": [4] * 5, "pore": [4] * 5, "crack": [9]})
    with pytest.raises(TableError, match="'crack' \\(1\\); leave them out"):
        assign_fold(table, 1, 5)
    for part in splits(table, 5, single_session="train"):
        assert set(part.frame["split"][part.frame["label"] == "crack"]) == {"train"}
        assert "crack: one session each" in part.notes[-1]
    assert "crack" not in assign_fold(table, 1, 5, single_session="drop").class_names


def test_a_fold_is_a_setting_of_a_run():
    settings = TrainSettings(source="mfeat", fold="2/5")
    table = open_table(settings)
    assert table.frame["split"].value_counts().to_dict() == {"train": 1200, "val": 400, "test": 400}
    for wrong in ("2", "0/5", "6/5", "1/1", "a/b", "-1/5"):
        with pytest.raises(SettingsError, match="fold: .* such as 2/5"):
            read_settings(TrainSettings, {"fold": wrong})


def test_the_seed_of_made_data_can_stay_while_the_seed_changes(tmp_path):
    values = {"source": "weldsim", "size": "tiny", "outputs": str(tmp_path)}
    one, other = (
        open_table(read_settings(TrainSettings, {**values, "data_seed": 3, "seed": seed}))
        for seed in (3, 4)
    )
    assert one.root == other.root
