"""SampleTable: its laws, told all at once, and its views."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quadlib.data.open import with_classes, with_roles
from quadlib.data.samples import Modality, SampleTable, TableError

MODALITIES = {"video": Modality("video"), "shape": Modality("vector", (2,))}


def make_table(root: Path | None = Path("/data"), classes=(), **columns) -> SampleTable:
    frame = {
        "sample_id": ["a", "b", "c"],
        "label": ["x", "y", "x"],
        "group": ["s", "s", "t"],
        "split": ["train", "val", ""],
        "video": ["1.avi", "", "3.avi"],
        "shape": [0, -1, 1],
        **columns,
    }
    return SampleTable(
        pd.DataFrame(frame),
        MODALITIES,
        root=root,
        arrays={"shape": np.ones((2, 2), dtype=np.float32)},
        classes=classes,
        name="welds",
    )


def test_views_of_a_good_table():
    table = make_table()
    assert table.class_names == ("x", "y")
    assert table.codes.tolist() == [0, 1, 0]
    assert table.present.tolist() == [[True, True], [False, False], [True, True]]
    assert table.rows("train").tolist() == [0] and table.rows("test").tolist() == []
    assert table.paths(0, "video") == [Path("/data/1.avi")] and table.paths(1, "video") == []
    taken = table.take(np.array([2, 0]))
    assert taken.frame["sample_id"].tolist() == ["c", "a"] and taken.class_names == ("x", "y")
    assert list(table.with_modalities(["shape"]).modalities) == ["shape"]
    with pytest.raises(TableError, match="in arrays"):
        table.with_modalities(["shape"]).take(np.array([0])).with_columns().__class__(
            table.frame.drop(columns="video"),
            {"shape": Modality("vector", (2,))},
            arrays=table.arrays,
        ).paths(0, "shape")


def test_every_broken_law_is_told_at_once():
    with pytest.raises(TableError) as error:
        make_table(
            sample_id=["a", "a", ""],
            label=["x", "", "z"],
            group=["s", None, "t"],
            split=["train", "valid", ""],
            classes=("x", "y"),
            video=["/etc/1.avi", None, "3.avi"],
            shape=[0, -2, 9],
        )
    for text in (
        "'a' stands in 2 rows",
        "without a sample_id: number 3 of",
        "without a label: a",
        "without a group: a",
        "'z'",
        "'valid'",
        "'/etc/1.avi' is not a path inside",
        "are not text",
        "a,  point outside",
    ):
        assert text in str(error.value)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "~/x.avi",
        "../x.avi",
        "a/../../x.avi",
        "a/..",
        "http://host/x.avi",
        "file:x.avi",
        "concat:a|b",
        "C:\\x.avi",
        "\\\\host\\x.avi",
        "a\x00.avi",
        "ok.jpg|/x.jpg",
        "ok.jpg|../x.jpg",
        "a\\..\\x",
    ],
)
def test_paths_that_may_leave_the_root_are_refused(path):
    with pytest.raises(TableError, match="not a path inside the table's folder"):
        make_table(video=[path, "", ""])


@pytest.mark.parametrize(
    "path", ["a b/ü.avi", "a..b/c.avi", "x..avi", "-rf.avi", "a/12:30.avi", "a.jpg|b.jpg", "..."]
)
def test_odd_paths_inside_the_root_are_taken(path):
    assert make_table(video=[path, "", ""]).frame["video"].iloc[0] == path


def test_modalities_are_chosen_by_exact_names():
    with pytest.raises(TableError) as error:
        make_table().with_modalities(["vidio", "shape", "shape"])
    assert "did you mean 'video'" in str(error.value) and "named 2 times" in str(error.value)


def test_a_column_that_is_missing_is_named():
    with pytest.raises(TableError, match="no column group"):
        SampleTable(pd.DataFrame({"sample_id": ["a"], "label": ["x"], "split": [""]}), {})


def test_an_empty_table_is_refused():
    with pytest.raises(TableError, match="no recordings"):
        make_table().take(np.array([], dtype=np.int64))


def test_a_path_modality_needs_a_root_and_an_array_its_shape():
    with pytest.raises(TableError, match="neither a root"):
        make_table(root=None)
    frame = make_table().frame.drop(columns="video")
    with pytest.raises(TableError, match="its shape says"):
        SampleTable(frame, {"shape": Modality("vector", (3,))}, arrays={"shape": np.ones((2, 2))})


def test_the_fingerprint_sees_every_part():
    tables = [
        make_table(),
        make_table(label=["x", "x", "y"]),
        make_table(split=["val", "val", ""]),
        make_table(video=["2.avi", "", "3.avi"]),
        make_table(classes=("y", "x")),
        make_table(group=["s", "t", "t"]),
    ]
    assert len({table.fingerprint for table in tables}) == len(tables)
    assert (
        make_table().fingerprint
        == make_table().fingerprint
        == make_table(note=["1", "2", "3"]).fingerprint
    )


def test_the_normal_class_and_the_confounds_are_what_the_table_has() -> None:
    frame = pd.DataFrame(
        {
            "sample_id": ["a", "b"],
            "label": ["ok", "torn"],
            "group": ["s", "t"],
            "split": "",
            "pose": [0, 1],
            "operator": ["x", "y"],
        }
    )
    modalities = {"pose": Modality("vector", (3,))}
    arrays = {"pose": np.zeros((2, 3), dtype=np.float32)}
    table = SampleTable(frame, modalities, arrays=arrays)
    assert table.normal_code is None
    named = with_roles(table, "torn", ["operator"])
    assert named.normal_code == 1 and named.confounds == {"confounds": ["operator"]}
    assert with_roles(named, "", []).normal_class == "torn"
    assert named.fingerprint == table.fingerprint  # they say nothing of what is trained on
    assert with_classes(named, [], ["torn"]).normal_code is None
    with pytest.raises(TableError) as wrong:
        with_roles(table, "OK", ["operater", "pose"])
    text = str(wrong.value)
    assert "no class 'OK'; the classes are ok, torn" in text
    assert "did you mean 'operator'?" in text and "'pose' is an input" in text
