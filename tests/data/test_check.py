from __future__ import annotations

import shutil

import numpy as np
import pandas as pd

from quadlib.config import TrainSettings
from quadlib.data.check import check_table, examine_table
from quadlib.data.decoding.damage import report
from quadlib.data.samples import Modality, SampleTable
from quadlib.data.splits import assign_splits
from quadlib.data.trainable import check_trainable

SETTINGS = TrainSettings()


def table_of(labels: str, splits: list[str]) -> SampleTable:
    frame = pd.DataFrame(
        {
            "sample_id": [f"r{row}" for row in range(len(labels))],
            "label": list(labels),
            "group": [f"g{row}" for row in range(len(labels))],
            "split": splits,
            "x": range(len(labels)),
        }
    )
    return SampleTable(
        frame,
        {"x": Modality("vector", (2,))},
        arrays={"x": np.arange(2 * len(labels), dtype=float).reshape(-1, 2)},
    )


def test_a_good_table_has_no_trouble():
    assert (
        check_table(table_of("abababab", ["train"] * 4 + ["val"] * 2 + ["test"] * 2), SETTINGS)
        == []
    )


def test_a_label_with_one_recording_is_named_with_what_would_do():
    text = report(
        check_table(
            table_of("aabbbc", ["train", "train", "train", "train", "val", "test"]), SETTINGS
        )
    )
    assert "r5 is the only recording of class 'c'" in text and 'leave_out="c"' in text


def test_a_session_in_two_splits_is_refused_until_it_is_allowed():
    table = table_of("abababab", ["train"] * 4 + ["val"] * 2 + ["test"] * 2)
    table = table.with_columns(group=["g", "h"] * 4)
    (trouble,) = check_table(table, SETTINGS)
    assert "2 session(s) are in two splits" in trouble.what and "g in train and val" in trouble.what
    assert check_table(table, SETTINGS.model_copy(update={"allow": ["QL-S04"]})) == []


def test_one_class_in_the_whole_table_is_one_trouble():
    (trouble,) = check_table(table_of("aaaa", ["train"] * 2 + ["val"] * 2), SETTINGS)
    assert "all 4 recordings have the label 'a'" in trouble.what


def test_contents_that_stand_twice(media, tmp_path, monkeypatch):
    monkeypatch.setenv("QUADLIB_OUTPUTS", str(tmp_path / "outputs"))
    table = media.table(4)
    shutil.copy(table.paths(0, "audio")[0], table.paths(3, "audio")[0])
    frame = table.frame.assign(
        video=[
            *table.frame["video"][:2],
            table.frame["image"][2].split("|")[0],
            table.frame["video"][0],
        ]
    )
    table = SampleTable(frame, table.modalities, root=media.root)
    found = [item for item in check_table(table, SETTINGS) if "same content" in item.what]
    assert [(item.sample_id, item.modality) for item in found] == [
        ("r3", "video"),
        ("r2", "image"),
        ("r3", "audio"),
    ]
    assert "image of" not in found[0].what and "video of recording r0" in found[0].what
    assert "video of the same recording" in found[1].what


def test_two_modalities_with_the_same_array():
    table = table_of("aabbab", ["train"] * 4 + ["val"] * 2)
    twins = SampleTable(
        table.frame.assign(y=range(6)),
        {**table.modalities, "y": Modality("vector", (2,))},
        arrays={"x": table.arrays["x"], "y": table.arrays["x"].copy()},
    )
    (trouble,) = check_table(twins, SETTINGS)
    assert trouble.modality == "y" and "same values as x" in trouble.what


def official() -> SampleTable:
    """As the measured set divides its welds: one class in train, every session in two splits, and
    here one class of one session.
    """
    rows = np.arange(24)
    label = np.array(list("aabbcc"))[rows % 6]
    one = label == "a"
    group = np.where(label == "c", "s-c", [f"s-{name}{row // 8}" for row, name in enumerate(label)])
    split = np.where(one & (rows % 2 == 0), "train", np.where(rows % 4 < 2, "val", "test"))
    return table_of("".join(label), split.tolist()).with_columns(group=group)


def test_an_official_split_of_one_class_is_refused_once_with_settings_that_work():
    table, settings = official(), SETTINGS
    problems = check_trainable(table, settings)
    assert len(problems) == 2 and "single class" in problems[0] and "two splits" in problems[1]
    way = 'take split="grouped", or set allow="QL-S01,QL-S04" to train on it all the same'
    assert all(problem.endswith(way) for problem in problems)
    allowed = settings.model_copy(update={"allow": ["QL-S01", "QL-S04"]})
    assert examine_table(table, allowed).ok
    anew = assign_splits(table, single_session="train")
    assert examine_table(anew, settings).ok
    assert set(anew.frame["split"][anew.frame["label"] == "c"]) == {"train"}
    assert "c: one session each, so they are in train alone" in anew.notes[0]


def test_what_is_allowed_already_is_proposed_with_the_rest():
    settings = TrainSettings(allow=["QL-S01"])
    (problem,) = check_trainable(official(), settings)
    assert 'allow="QL-S01,QL-S04"' in problem
