"""The table source: CSV, Parquet and .npz; labels byte for byte, and every problem with its row and
remedy.
"""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quadlib.data.samples import TableError
from quadlib.data.sources import tabular

ODD_LABELS = [
    "Nanna",
    "001",
    "1e5",
    "1.0",
    "True",
    " lead",
    "é",
    "x\ny",
    "z\r\nw",
    'q"q',
    "a,b",
    "<script>",
    "a$\\bad$",
    "_x",
    "=cmd()",
    "\u202egnp",
    "😀",
    "l" * 10_000,
    "#c",
]


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    return path


def problems(path: Path | str | None) -> str:
    with pytest.raises(TableError) as error:
        tabular.read(path)
    return str(error.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_csv(
        tmp_path / "mine.csv",
        ["sample_id", "label", "group", "split", "film", "sound", "log", "photos", "note"],
        [
            ["a", "x", "s1", "train", "a/a.avi", "a/a.wav", "a/a.csv", "a/1.jpg|a/2.png", "first"],
            ["b", "y", "s2", "val", "b/b.MP4", "", "b/b.csv", "b/1.jpg", ""],
        ],
    )


def test_a_csv_of_paths(file):
    table = tabular.read(file)
    assert [(name, spec.kind) for name, spec in table.modalities.items()] == [
        ("film", "video"),
        ("sound", "audio"),
        ("log", "series"),
        ("photos", "image"),
    ]
    assert table.present.tolist() == [[True] * 4, [True, False, True, True]]
    assert table.paths(0, "photos") == [file.parent / "a/1.jpg", file.parent / "a/2.png"]
    assert table.frame["note"].tolist() == ["first", ""] and table.notes == [
        "columns kept as information: note"
    ]
    assert table.name == "mine.csv"


def test_group_and_split_may_be_left_out(tmp_path):
    table = tabular.read(
        write_csv(
            tmp_path / "t.csv",
            ["sample_id", "label", "film"],
            [["a", "x", "a.avi"], ["b", "x", "b.avi"]],
        )
    )
    assert table.frame["group"].tolist() == ["a", "b"] and table.frame["split"].tolist() == ["", ""]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_labels_come_out_byte_for_byte(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    ids, films = (
        [f"r{row}" for row in range(len(ODD_LABELS))],
        [f"{row}.avi" for row in range(len(ODD_LABELS))],
    )
    if suffix == ".csv":
        write_csv(
            path,
            ["sample_id", "label", "film"],
            [list(row) for row in zip(ids, ODD_LABELS, films, strict=True)],
        )
    elif suffix == ".parquet":
        pd.DataFrame({"sample_id": ids, "label": ODD_LABELS, "film": films}).to_parquet(path)
    else:
        np.savez(path, y=np.array(ODD_LABELS), film=np.ones((len(ids), 2)))
    table = tabular.read(path)
    assert table.frame["label"].tolist() == ODD_LABELS
    assert [table.class_names[code] for code in table.codes] == ODD_LABELS


@settings(
    deadline=None,
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
            st.sampled_from(["a.avi", "../b.avi", "", "c.flac", "x"]),
        ),
        max_size=6,
    )
)
def test_every_row_is_used_or_refused_with_a_reason(tmp_path, rows):
    path = write_csv(
        tmp_path / "t.csv",
        ["sample_id", "label", "film"],
        [[f"r{row}", *cells] for row, cells in enumerate(rows)],
    )
    try:
        table = tabular.read(path)
    except TableError:
        return
    assert table.frame["label"].tolist() == [label for label, _ in rows]


def test_numbers_as_labels_in_parquet_and_npz(tmp_path):
    frame = pd.DataFrame(
        {"sample_id": [1, 2], "label": [3, 10], "film": ["a.avi", None], "length_s": [1.5, 2.0]}
    )
    frame.to_parquet(tmp_path / "t.parquet")
    table = tabular.read(tmp_path / "t.parquet")
    assert table.class_names == ("10", "3") and table.present.tolist() == [[True], [False]]
    assert table.frame["length_s"].tolist() == [1.5, 2.0]
    np.savez(tmp_path / "t.npz", y=np.array([3, 10], dtype=np.uint8), x=np.ones((2, 4)))
    assert tabular.read(tmp_path / "t.npz").frame["label"].tolist() == ["3", "10"]


def test_decimal_labels_are_refused(tmp_path):
    pd.DataFrame(
        {"sample_id": ["a", "b"], "label": [1.5, 2.0], "film": ["a.avi", "b.avi"]}
    ).to_parquet(tmp_path / "t.parquet")
    assert "column label: it holds decimal numbers" in problems(tmp_path / "t.parquet")
    np.savez(tmp_path / "t.npz", y=np.array([1.5, 2.0]), x=np.ones((2, 4)))
    assert "y: it holds decimal numbers" in problems(tmp_path / "t.npz")


def test_all_problems_of_a_table_at_once(tmp_path):
    (tmp_path / "out").mkdir()
    os.symlink("/etc/hostname", tmp_path / "link.avi")
    said = problems(
        write_csv(
            tmp_path / "t.csv",
            ["sample_id", "label", "group", "split", "film", "sound"],
            [
                ["a", "Good", "s", "train", "/abs/a.avi", "a.flac"],
                ["a", "good ", "s ", "train", "b.avi", "b.flac"],
                ["c", "", "t", "Train", "b.avi", "c.txt"],
                ["d", "caf\u00e9", "t", "", "link.avi", "d1.flac|d2.flac"],
                ["e", "cafe\u0301", "t", "val", "http://host/e.avi", "e.flac"],
            ],
        )
    )
    for text in (
        "t.csv: 12 problems",
        "'Good' (1 rows) and 'good ' (1 rows) look alike",
        "'caf\\xe9' (1 rows)",
        "group 's' (1 rows)",
        "'a' stands in 2 rows",
        "without a label: c",
        "1 of 5 rows have no split",
        "film: a '/abs/a.avi' does not exist on this machine",
        "film: e 'http://host/e.avi' is an address",
        "d: film 'link.avi' is a link that leaves",
        "b.avi stands 2 times: a film, c film",
        "row 3, sound: 'c.txt' is no audio file",
        "sound: d name several files",
    ):
        assert text in said


def test_one_file_for_two_modalities_is_refused(tmp_path):
    path = write_csv(
        tmp_path / "t.csv", ["sample_id", "label", "log", "other"], [["a", "x", "a.csv", "./a.csv"]]
    )
    assert "stands 2 times: a log, a other" in problems(path)


def test_arrays_in_files(tmp_path):
    for row in range(3):
        np.save(tmp_path / f"v{row}.npy", np.arange(4) + row)
        np.save(tmp_path / f"s{row}.npy", np.full((2, 5), float(row)))
    rows = [
        [f"r{row}", "ab"[row % 2], f"v{row}.npy" if row != 1 else "", f"s{row}.npy"]
        for row in range(3)
    ]
    table = tabular.read(
        write_csv(tmp_path / "t.csv", ["sample_id", "label", "flat", "wave"], rows)
    )
    assert table.modalities["flat"].kind == "vector" and table.modalities["flat"].shape == (4,)
    assert table.modalities["wave"].kind == "series" and table.modalities["wave"].shape == (2, 5)
    assert table.frame["flat"].tolist() == [0, -1, 1] and table.present[:, 0].tolist() == [
        True,
        False,
        True,
    ]
    assert table.arrays["flat"].dtype == np.float32 and table.arrays["flat"][1].tolist() == [
        2,
        3,
        4,
        5,
    ]


def test_bad_array_files(tmp_path):
    np.save(tmp_path / "0.npy", np.ones(4))
    np.save(tmp_path / "1.npy", np.ones(5))
    np.save(tmp_path / "2.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "3.npy").write_bytes(b"")
    np.save(tmp_path / "4.npy", np.array(["text"]))
    said = problems(
        write_csv(
            tmp_path / "t.csv",
            ["sample_id", "label", "flat"],
            [[f"r{row}", "x", f"{row}.npy"] for row in range(6)],
        )
    )
    for text in (
        "flat: r2 (2.npy): holds Python objects (a pickle), which are never read",
        "flat: r3 (3.npy)",
        "is empty (0 bytes)",
        "flat: r4 (4.npy): holds <U4",
        "flat: r5 (5.npy): does not exist",
    ):
        assert text in said


def test_an_archive_of_arrays(tmp_path):
    random = np.random.default_rng(0)
    arrays = {
        "vec": random.normal(size=(6, 3)),
        "wave": random.normal(size=(6, 2, 8)),
        "sound": random.normal(size=(6, 2, 4, 5)),
        "film": random.integers(0, 255, (6, 3, 2, 8, 8), dtype=np.uint8),
        "photo": random.integers(0, 255, (6, 1, 3, 8, 8), dtype=np.uint8),
    }
    arrays["vec"][2, 0] = np.nan
    split = np.array(["train"] * 4 + ["val", "test"])
    np.savez(
        tmp_path / "t.npz",
        y=np.array(list("aabbcc")),
        group=np.arange(6) // 2,
        split=split,
        **arrays,
    )
    table = tabular.read(tmp_path / "t.npz")
    assert {name: spec.kind for name, spec in table.modalities.items()} == {
        "vec": "vector",
        "wave": "series",
        "sound": "audio",
        "film": "video",
        "photo": "image",
    }
    assert table.arrays["film"].dtype == np.uint8 and table.arrays["wave"].dtype == np.float32
    assert table.frame["group"].tolist() == list("001122") and table.rows("test").tolist() == [5]
    assert table.frame["sample_id"].tolist() == [f"t-{row}" for row in range(6)]
    assert table.notes == ["vec: 1 of 6 rows hold values that are not finite numbers: vec[2]"]


def test_all_problems_of_an_archive_at_once(tmp_path):
    np.savez(
        tmp_path / "t.npz",
        y=np.array(list("abc")),
        group=np.array(["s"]),
        a=np.ones((4, 2)),
        b=np.ones(3),
        c=np.array([["x"]] * 3),
        d=np.ones((3, 5, 5, 5)),
    )
    said = problems(tmp_path / "t.npz")
    for text in (
        "group has shape (1,), (3,) was expected",
        "a has 4 rows, y has 3",
        "c holds <U1",
        "d has shape (3, 5, 5, 5)",
    ):
        assert text in said
    np.savez(tmp_path / "o.npz", y=np.array(["a", None], dtype=object), allow_pickle=True)
    assert "Python objects (a pickle), which are never read" in problems(tmp_path / "o.npz")
    np.savez(tmp_path / "n.npz", x=np.ones((2, 2)))
    assert "no array y" in problems(tmp_path / "n.npz")
    np.savez(tmp_path / "e.npz", y=np.array(["a", "b"]))
    assert "no modality beside y" in problems(tmp_path / "e.npz")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sample_id,label,label\na,x,y\n", "'label' stands 2 times"),
        ("sample_id,label,film\na,x\n", "line 2 has 2"),
        ("sample_id,label\na,x\n", "no column holds paths"),
        ("", "it is empty"),
        ("sample_id,label,film\n", "no column holds paths"),
        ('sample_id,label,film\na,"x,a.avi\n', "not a readable CSV"),
    ],
)
def test_files_that_are_no_table(tmp_path, text, said):
    (tmp_path / "t.csv").write_text(text)
    assert said in problems(tmp_path / "t.csv")


def test_files_of_no_known_format(tmp_path):
    (tmp_path / "binary.csv").write_bytes(b"sample_id,label,film\na,\x01\x02,a.avi\n")
    assert "not text" in problems(tmp_path / "binary.csv")
    for name, said in (
        ("t.npz", "not a readable .npz"),
        ("t.parquet", "not a readable parquet"),
        ("t.doc", "no known format"),
    ):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        assert said in problems(tmp_path / name)
    for path in ("http://host/t.csv", tmp_path / "gone.csv"):
        assert "not a file of this machine" in problems(path)
    assert "is a folder" in problems(tmp_path)
    assert "no path was given" in problems("") and "no path was given" in problems(None)


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_workbook_is_refused_and_its_sheet_as_csv_is_read(tmp_path, separator):
    (tmp_path / "mine.xlsx").write_bytes(b"PK\x03\x04")
    said = problems(tmp_path / "mine.xlsx")
    assert "is a workbook" in said and 'save the one of the recordings as "CSV UTF-8"' in said
    path = Path(re.search(r'path="(.+)"', said)[1])
    lines = ["sample_id,label,sound", "1,Naht gut,a.wav", '2,"Riß, schwer",b.wav']
    if separator == ";":  # as Excel writes it where a comma is the decimal sign
        lines = ["sample_id;label;sound", "1;Naht gut;a.wav", "2;Riß, schwer;b.wav"]
    path.write_bytes(("\ufeff" + "\r\n".join(lines) + "\r\n").encode())
    assert tabular.read(path).frame["label"].tolist() == ["Naht gut", "Riß, schwer"]


def test_windows_lines_and_byte_order_mark(tmp_path):
    (tmp_path / "t.csv").write_bytes(
        b"\xef\xbb\xbfsample_id, label ,film\r\na,x,a.avi\r\n\r\nb,y,b.avi\r\n"
    )
    assert tabular.read(tmp_path / "t.csv").frame["label"].tolist() == ["x", "y"]
