"""Splits: classes on both sides, and nothing of what is tested in train."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quadlib.data.splits import assign_splits


def test_one_class_in_train(examined):
    labels = np.repeat(np.arange(12), 48)
    splits = np.where(labels == 3, "train", "val")
    batches = np.random.default_rng(0).permutation(48).reshape(3, 16)
    result = examined(labels=labels, splits=splits, batch_sampler=batches, history=[2.7081] * 8)
    root = result.roots[0]
    assert [item.code for item in result.roots] == ["QL-S01"]
    assert (
        "2.7081" in root.title
        and "observed 2.7081 in 8 of 8" in root.evidence[1]
        and any("sampler" in item for item in root.ruled_out)
    )


def test_class_absent_from_train(make_table, examined, roots):
    def edit(frame, arrays):
        frame.loc[(frame["label"] == "class 2") & (frame["split"] == "train"), "split"] = ""

    result = examined(table=make_table(edit=edit))
    assert {root.code for root in result.roots} == {"QL-S02"} and "class 2" in result.roots[0].title
    assert roots(table=make_table(edit=edit), settings={"protocol": "one_class"}) == []


def test_copies_of_val_in_train(make_table, examined):
    """A copy brings its session along: one root, not two."""

    def edit(frame, arrays):
        train, val = (np.flatnonzero(frame["split"] == split) for split in ("train", "val"))
        for array in arrays.values():
            array[train[:40]] = array[val[:40]]
        frame.loc[train[:40], "label"] = frame["label"].to_numpy()[val[:40]]
        frame.loc[train[:40], "group"] = frame["group"].to_numpy()[val[:40]]

    result = examined(table=make_table(edit=edit))
    assert [root.code for root in result.roots] == [
        "QL-S03"
    ] and "40 of 80 samples of val are copies" in result.roots[0].title


def test_sessions_in_two_splits(make_table, examined):
    def edit(frame, arrays):
        frame["split"] = np.random.default_rng(0).choice(["train", "val"], len(frame))

    result = examined(table=make_table(edit=edit))
    assert [root.code for root in result.roots] == ["QL-S04"] and "column group" in result.roots[
        0
    ].where


def windows(overlap: bool, by_recording: bool) -> pd.DataFrame:
    start = np.tile(np.arange(10) * (50 if overlap else 100), 12)
    recording = np.repeat(np.arange(12), 10)
    split = (
        np.where(recording < 8, "train", "val")
        if by_recording
        else np.tile(["train"] * 4 + ["val"], 24)
    )
    return pd.DataFrame(
        {
            "recording": recording,
            "start": start,
            "end": start + 100,
            "label": np.arange(120) % 4,
            "split": split,
        }
    )


def test_overlapping_windows(examined, roots):
    result = examined(table=windows(overlap=True, by_recording=False))
    assert [root.code for root in result.roots] == ["QL-S05"] and "[150, 250)" in result.roots[
        0
    ].evidence[0]
    assert roots(table=windows(overlap=True, by_recording=True)) == []
    # windows that only touch share no sample, but their recording is in both splits
    assert roots(table=windows(overlap=False, by_recording=False)) == ["QL-S04"]


def test_recordings_in_two_splits(roots):
    assert roots(labels=[0, 1] * 20, splits={"train": range(30), "val": range(28, 40)}) == [
        "QL-S10"
    ]


def test_class_of_one_recording(roots):
    labels = ["a", "b"] * 20 + ["c"]
    assert roots(labels=labels) == ["QL-S11"]
    assert roots(labels=labels, settings={"rare": "drop"}) == []


@pytest.mark.parametrize(
    "splits",
    [
        {"train": range(40), "val": []},
        {"fit": range(20), "val": range(20, 40)},
        {"train": range(50)},
    ],
)
def test_splits_that_are_not_whole(examined, splits):
    assert "QL-S12" in [root.code for root in examined(labels=[0, 1] * 20, splits=splits).roots]


def test_healthy_splits_are_silent(make_table, roots):
    table = make_table()
    assert roots(table=table) == [] and roots(table=assign_splits(table, seed=4)) == []
    # 10 to 1, two classes, every recording its own session, one session in all
    y = np.array(["rare"] * 20 + ["common"] * 200)
    splits = np.tile(["train", "train", "train", "val", "test"], 44)
    for group in (np.arange(220), np.zeros(220)):
        assert (
            roots(table=pd.DataFrame({"label": y, "split": splits, "group": group.astype(str)}))
            == []
        )
