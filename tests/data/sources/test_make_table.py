from __future__ import annotations

from pathlib import Path

import pytest

from quadlib.data.samples import TableError
from quadlib.data.sources.make_table import draft_table


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_a_folder_a_recording_in_sessions_and_classes(tmp_path):
    parts = ("a.mp4", "a.wav", "a.csv", "images/1.jpg", "images/2.jpg")
    root = tree(
        tmp_path,
        *(f"good/day1/r1/{part}" for part in parts),
        *(f"bad/day2/r2/{part}" for part in parts),
        "good/day1/r1/notes.docx",
    )
    draft = draft_table(root)
    assert draft.frame["sample_id"].tolist() == ["bad/day2/r2", "good/day1/r1"]
    assert draft.frame["label"].tolist() == ["bad", "good"]
    assert draft.frame["group"].tolist() == ["day2", "day1"]
    assert draft.frame["image"][1] == "good/day1/r1/images/1.jpg|good/day1/r1/images/2.jpg"
    assert draft.notes == ["files of no known kind are left out: good/day1/r1/notes.docx"]


def test_class_folders_in_splits_hold_a_recording_a_file(tmp_path):
    root = tree(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg", "validation/cat/3.jpg")
    frame = draft_table(root).frame
    assert frame["split"].tolist() == ["train", "train", "val"]
    assert frame["label"].tolist() == ["cat", "dog", "cat"]
    assert frame["image"].tolist() == ["train/cat/1.jpg", "train/dog/2.jpg", "validation/cat/3.jpg"]


def test_files_of_one_name_are_one_recording_and_numbered_photos_belong_to_it(tmp_path):
    root = tree(
        tmp_path,
        *("ok/r1.csv", "ok/r1.wav", "ok/r1_1.jpg", "ok/r1_2.jpg", "ok/r2.csv", "ok/r2.wav"),
        *("nok/r3.csv", "nok/r3.wav"),
    )
    draft = draft_table(root)
    rows = draft.frame.set_index("sample_id")
    assert list(rows.index) == ["nok/r3", "ok/r1", "ok/r2"]
    assert rows.loc["ok/r1", "image"] == "ok/r1_1.jpg|ok/r1_2.jpg"
    assert rows["group"].tolist() == list(rows.index)
    assert "no session could be told" in draft.notes[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", "file_name,label,camera\na.jpg,x,1\nb.jpg,y,2\n"),
        ("metadata.jsonl", '{"file_name": "a.jpg", "label": "x", "camera": 1}\n'),
    ],
)
def test_a_hugging_face_folder_is_read_by_its_metadata(tmp_path, name, text):
    root = tree(tmp_path, "a.jpg", "b.jpg")
    (root / name).write_text(text)
    frame = draft_table(root).frame
    assert list(frame.columns) == ["sample_id", "label", "image", "camera"]
    assert frame.iloc[0].tolist() == ["a", "x", "a.jpg", "1"]


def test_a_folder_without_recordings_and_metadata_without_names(tmp_path):
    with pytest.raises(TableError, match="no file of a known kind"):
        draft_table(tree(tmp_path, "a.docx"))
    (tmp_path / "metadata.csv").write_text("name,text\na,b\n")
    with pytest.raises(TableError, match="file_name and label were expected"):
        draft_table(tmp_path)


def test_where_folders_cross_the_numbered_ones_are_the_sessions(tmp_path):
    names = [f"id_0{k}/{kind}/{n}.wav" for k in (0, 2) for kind in ("normal", "bad") for n in "12"]
    draft = draft_table(tree(tmp_path, *names))
    assert sorted(draft.frame["label"].unique()) == ["bad", "normal"]
    assert sorted(draft.frame["group"].unique()) == ["id_00", "id_02"]
    assert "change the names of the columns label and group" in draft.notes[-1]


def test_words_that_cross_are_left_in_their_order_with_a_note(tmp_path):
    names = [f"{kind}/day{k}/{n}.wav" for k in (0, 2) for kind in ("normal", "bad") for n in "12"]
    draft = draft_table(tree(tmp_path, *names))
    assert sorted(draft.frame["label"].unique()) == ["bad", "normal"]
    assert "every one of bad, normal is there with every one of day0, day2" in draft.notes[-1]


def test_a_folder_of_photos_beside_one_of_sounds_holds_the_same_recordings(tmp_path):
    names = [
        f"{place}_{n}.{ending}" for place in ("good", "pore") for n in (1, 2) for ending in "x"
    ]
    stems = [name.removesuffix(".x") for name in names]
    root = tree(tmp_path, *(f"photos/{s}.jpg" for s in stems), *(f"sound/{s}.wav" for s in stems))
    draft = draft_table(root)
    assert draft.frame["sample_id"].tolist() == stems
    assert draft.frame["audio"].tolist() == [f"sound/{stem}.wav" for stem in stems]
    assert (draft.frame["label"] == "").all()
    assert "begin with good, pore, which may be the classes" in draft.notes[-1]


def test_files_called_by_what_they_hold_are_columns_of_one_recording(tmp_path):
    root = tree(
        tmp_path, *(f"{c}/s{n}/{kind}.csv" for c in "ab" for n in (1, 2) for kind in ("ACC", "EDA"))
    )
    frame = draft_table(root).frame
    assert frame["sample_id"].tolist() == ["a/s1", "a/s2", "b/s1", "b/s2"]
    assert frame["acc"].tolist() == [f"{name}/ACC.csv" for name in frame["sample_id"]]
    numbered = tree(tmp_path / "n", *(f"{c}/{n}.wav" for c in "ab" for n in (1, 2)))
    assert len(draft_table(numbered).frame) == 4  # numbers name recordings


def test_a_table_about_the_files_a_text_that_is_no_video_and_a_folder_of_all(tmp_path):
    root = tree(tmp_path, *(f"audio/1-{n}-A.wav" for n in range(6)))
    (root / "meta.csv").write_text("filename\n" + "".join(f"1-{n}-A.wav\n" for n in range(6)))
    (root / "train.ts").write_text("@problemName x\n1,2,3:a\n")
    draft = draft_table(root)
    assert len(draft.frame) == 6 and (draft.frame["label"] == "").all()
    assert "files of no known kind are left out: train.ts" in draft.notes
    assert any(note.startswith("meta.csv is left out: it names the other") for note in draft.notes)
    assert "the folder audio holds every recording, so that it tells no class" in draft.notes
