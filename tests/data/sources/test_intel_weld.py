"""intel_weld: the dataset's layout with and without manifest, in part, deeper, and with everything
that can be wrong.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from quadlib.data.samples import TableError
from quadlib.data.sources import intel_weld

HEADER = (
    "CATEGORY,WELD_TYPE,THICKNESS_MM,STEEL_TYPE,SAMPLES,CURRENT_A,VOLTAGE_V,GAS_BAR,"
    "ROBOT_SPEED_CPM,DIRECTORY,SUBDIRS,SPLIT"
)
GOOD, SPATTER, MIXED = "good_weld_16_11-18-22_plane_plate", "7_spatter", "good_settings_porosity_1"


class Tree:
    """A small tree of the layout; media files hold one byte, since none is opened."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows: list[str] = []

    def add(
        self,
        session: str,
        part: str,
        category: str | None = None,
        split: str = "TRAIN",
        *,
        inside: str = "",
        photos: int = 2,
        folder: bool = True,
        subdirs: str | None = None,
        current: str = "150",
    ) -> Path:
        place = self.root / inside / session / part
        if folder:
            (place / "images").mkdir(parents=True)
            for suffix in (".avi", ".flac", ".csv"):
                (place / f"{part}{suffix}").write_bytes(b"x")
            for number in range(photos):
                (place / "images" / f"{number}.jpg").write_bytes(b"x")
        if category is not None:
            path = subdirs if subdirs is not None else f"{session}/{part}"
            self.rows.append(
                f"{category},butt,7,mild,2,{current},20,3.5,30,{session},{path},{split}"
            )
        return place

    def manifest(self, text: str | None = None) -> None:
        (self.root / "manifest.csv").write_text(
            text if text is not None else "\n".join([HEADER, *self.rows]) + "\n"
        )

    def read(self):
        return intel_weld.read(self.root)

    def problems(self) -> str:
        with pytest.raises(TableError) as error:
            self.read()
        return str(error.value)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "welds")


@pytest.fixture
def full(tree: Tree) -> Tree:
    tree.add(GOOD, "11-18-22-0001-00", "Good weld")
    tree.add(GOOD, "11-18-22-0002-00", "good", "VAL", photos=0)
    tree.add(SPATTER, "11-18-22-0001-09", "spatter", "TEST")
    tree.add(MIXED, "11-18-22-0001-03", "Porosity", "TEST")
    return tree


def test_with_manifest(full):
    full.manifest()
    table = full.read()
    assert table.class_names == ("good", "porosity", "spatter")
    rows = table.frame.set_index("sample_id")
    assert rows["label"].to_dict() == {
        f"{GOOD}/11-18-22-0001-00": "good",
        f"{GOOD}/11-18-22-0002-00": "good",
        f"{SPATTER}/11-18-22-0001-09": "spatter",
        f"{MIXED}/11-18-22-0001-03": "porosity",
    }
    assert rows["split"].tolist() == ["test", "test", "train", "val"]
    assert rows.loc[f"{GOOD}/11-18-22-0001-00", "group"] == GOOD
    assert table.present.sum(axis=0).tolist() == [4, 3, 4, 4]
    assert [path.name for path in table.paths(2, "image")] == ["0.jpg", "1.jpg"] and all(
        path.is_file() for path in table.paths(2, "image")
    )
    assert (
        rows[list(intel_weld.SET_POINTS)].dtypes.eq(np.float64).all()
        and rows["current_a"].tolist() == [150.0] * 4
    )
    assert list(table.modalities) == ["video", "image", "audio", "sensor"]
    assert table.notes == ["1 of 4 recordings have no image"]


def test_without_manifest_the_code_is_the_label(full):
    table = full.read()
    assert table.frame["label"].tolist() == ["spatter", "porosity", "good", "good"]
    assert set(table.frame["split"]) == {""}
    assert "current_a" not in table.frame


def test_names_of_sessions_never_label(tree):
    for number, (session, code, label) in enumerate(
        [
            ("porosity_w_ep_1_11-18-22", "04", "porosity_w_excessive_penetration"),
            ("burn_through", "02", "burnthrough"),
            ("good_after_spatter_test", "09", "spatter"),
            ("crater", "11", "crater_cracks"),
        ]
    ):
        tree.add(session, f"11-18-22-{number:04d}-{code}")
        assert tree.read().frame.set_index("group").loc[session, "label"] == label


@pytest.mark.parametrize(
    "category", ["good", "Good weld", "GOOD_WELD", " good-weld ", "Good  Weld"]
)
def test_spellings_of_a_category(tree, category):
    tree.add(GOOD, "11-18-22-0001-00", category)
    tree.manifest()
    assert tree.read().class_names == ("good",)


@pytest.mark.parametrize(
    ("category", "code"),
    [
        ("excessive penetration", 1),
        ("burn through", 2),
        ("Porosity w excessive penetration", 4),
        ("porosity_with_excessive_penetration", 4),
        ("lack of fusion", 7),
        ("Excessive_Convexity", 8),
        ("crater cracks", 11),
    ],
)
def test_every_class_has_its_code(tree, category, code):
    tree.add("s", f"11-18-22-0001-{code:02d}", category)
    tree.manifest()
    assert tree.read().class_names == (intel_weld.CLASSES[code],)


@pytest.mark.parametrize("category", ["Goodish", "not good", "porosity and more", "", "weld"])
def test_an_unknown_category_is_an_error_that_names_it(tree, category):
    tree.add(GOOD, "11-18-22-0001-00", category)
    tree.manifest()
    assert f"category {category!r} at line 2 is no class" in tree.problems()


def test_an_unknown_code_is_an_error(tree):
    tree.add("s", "11-18-22-0001-12")
    assert "code 12 is no class" in tree.problems() and "no recordings" not in tree.problems()


def test_category_and_code_must_agree(full):
    full.add(GOOD, "11-18-22-0003-09", "good")
    full.manifest()
    assert (
        f"says good, the code in the folder's name says spatter: {GOOD}/11-18-22-0003-09"
        in full.problems()
    )


def test_a_partial_tree_leaves_out_and_counts_the_other_rows(full):
    full.add("elsewhere", "11-18-22-0001-05", "undercut", folder=False)
    full.manifest()
    table = full.read()
    assert (
        len(table) == 4
        and "1 of 5 rows of manifest.csv have no folder here and were left out" in table.notes
    )


def test_a_folder_that_the_manifest_does_not_list_is_an_error(full):
    full.add(SPATTER, "11-18-22-0009-09")
    full.manifest()
    assert (
        f"does not list 1 folder(s) that are there: {SPATTER}/11-18-22-0009-09" in full.problems()
    )


@pytest.mark.parametrize("prefix", ["", "raid/data/", "/raid/data/", "./", "raid\\data\\"])
def test_sessions_may_lie_deeper_than_the_manifest_says(tree, prefix):
    for number, split in enumerate(["TRAIN", "VAL"]):
        part = f"11-18-22-{number:04d}-00"
        tree.add(GOOD, part, "good", split, inside="raid/data", subdirs=f"{prefix}{GOOD}/{part}")
    tree.manifest()
    table = tree.read()
    assert table.frame["split"].tolist() == ["train", "val"] and set(table.frame["group"]) == {
        f"raid/data/{GOOD}"
    }


def test_part_names_repeat_across_sessions(tree):
    tree.add("a", "11-18-22-0001-00", "good", "TRAIN")
    tree.add("b", "11-18-22-0001-00", "good", "TEST")
    tree.manifest()
    assert tree.read().frame["split"].tolist() == ["train", "test"]


def test_equal_sessions_in_two_places_are_told_apart_by_the_longer_path(tree):
    part = "11-18-22-0001-00"
    tree.add("s", part, "good", "TRAIN", inside="x", subdirs=f"x/s/{part}")
    tree.add("s", part, "good", "TEST", inside="y", subdirs=f"y/s/{part}")
    tree.manifest()
    assert tree.read().frame["split"].tolist() == ["train", "test"]
    tree.rows = [row.replace("x/s", "s").replace("y/s", "s") for row in tree.rows]
    tree.manifest()
    assert "fits 2 folders equally well" in tree.problems()


def test_one_session_folder_alone_can_be_read(full):
    table = intel_weld.read(full.root / GOOD)
    assert table.frame["sample_id"].tolist() == [
        f"{GOOD}/11-18-22-0001-00",
        f"{GOOD}/11-18-22-0002-00",
    ]
    assert set(table.frame["group"]) == {GOOD} and table.paths(0, "video")[0].is_file()


@pytest.mark.parametrize(
    "path",
    [
        "../other/11-18-22-0001-00",
        "/etc/s/11-18-22-0001-00",
        "~/s/11-18-22-0001-00",
        "s",
        "",
        "http://h/s/11-18-22-0001-00",
        "file:s/11-18-22-0001-00",
        "\\\\host\\s\\11-18-22-0001-00",
        "a/../s/11-18-22-0001-00",
        "s/not-a-part",
    ],
)
def test_manifest_paths_that_leave_or_name_no_recording_are_refused(full, path):
    full.add("s", "11-18-22-0001-00", "good", folder=False, subdirs=path)
    full.manifest()
    assert "line 6: " in full.problems()


def test_two_rows_for_one_folder_and_two_manifests(full):
    full.rows.append(full.rows[0])
    full.manifest()
    assert "lines 2 and 6 both name" in full.problems()
    (full.root / GOOD / "manifest.csv").write_text(HEADER)
    assert "2 manifests" in full.problems()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A,B\n1,2\n", "needs the columns CATEGORY and SUBDIRS"),
        ("", "it is empty"),
        (HEADER + "\ngood,1\n", "line 2 has 2"),
        ('CATEGORY,SUBDIRS\n"good', "not a readable CSV"),
    ],
)
def test_a_manifest_that_is_none(full, text, said):
    full.manifest(text)
    assert said in full.problems()


def test_a_manifest_of_two_columns_is_enough_and_odd_set_points_are_noted(full):
    full.manifest(
        "category,subdirs\n"
        + "\n".join(f"{row.split(',')[0]},{row.split(',')[10]}" for row in full.rows)
    )
    assert set(full.read().frame["split"]) == {""} and full.read().frame["current_a"].isna().all()
    full.rows[0] = full.rows[0].replace(",150,", ",about 150,")
    full.manifest()
    assert (
        "1 values of CURRENT_A in manifest.csv are not numbers and count as unknown"
        in full.read().notes
    )


def test_splits_are_all_there_or_none_and_of_known_names(full):
    full.rows[0] = full.rows[0].removesuffix("TRAIN")
    full.rows[1] = full.rows[1].replace("VAL", "VALIDATION")
    full.manifest()
    assert "has no SPLIT for" in full.problems() and "'validation'" in full.problems()


def test_files_that_are_not_named_after_their_recording(full):
    place = full.root / SPATTER / "11-18-22-0001-09"
    (place / "11-18-22-0001-08.avi").write_bytes(b"x")
    (place / "loose.jpg").write_bytes(b"x")
    (place / "11-18-22-0001-09.FLAC").write_bytes(b"x")
    (place / "notes.txt").write_bytes(b"x")
    (place / ".hidden.avi").write_bytes(b"x")
    problems = full.problems()
    assert (
        "11-18-22-0001-08.avi is not where or what it should be: one video named 11-18-22-0001-09"
        in problems
        and "loose.jpg" in problems
    )
    assert "3 problems" in problems


def test_junk_folders_are_no_recordings(full):
    (full.root / GOOD / ".ipynb_checkpoints" / "11-18-22-0009-00").mkdir(parents=True)
    (full.root / "thumbnails").mkdir()
    assert len(full.read()) == 4


def test_links_stay_inside(full, tmp_path):
    outside = tmp_path / "outside.avi"
    outside.write_bytes(b"x")
    place = full.root / SPATTER / "11-18-22-0001-09"
    (place / "11-18-22-0001-09.avi").unlink()
    (place / "11-18-22-0001-09.avi").symlink_to(outside)
    (place / "images" / "gone.jpg").symlink_to(tmp_path / "gone.jpg")
    (full.root / "loop").symlink_to(full.root)
    (full.root / "again").symlink_to(full.root / GOOD)
    os.mkfifo(place / "images" / "pipe.jpg")
    problems = full.problems()
    for text in (
        "11-18-22-0001-09.avi is a link that leaves",
        "gone.jpg is a link that leads nowhere",
        "loop is a link to a folder that holds it",
        "one folder under two names",
        "pipe.jpg is neither a file nor a folder",
    ):
        assert text in problems


def test_a_link_inside_the_root_is_followed(full):
    (full.root / SPATTER).rename(full.root / "kept")
    os.rename(full.root / "kept", full.root / ".kept")
    (full.root / SPATTER).symlink_to(full.root / ".kept")
    assert f"{SPATTER}/11-18-22-0001-09" in set(full.read().frame["sample_id"])


def test_places_that_hold_no_recordings(tmp_path):
    for path, text in (
        (tmp_path / "gone", "does not exist"),
        ("http://host/data", "not a folder of this machine"),
        ("", "no path"),
        (None, "no path"),
        (tmp_path, "no recordings"),
    ):
        with pytest.raises(TableError, match=text):
            intel_weld.read(path)


def test_other_containers_of_a_kind_are_that_kind(full):
    for place in sorted(full.root.glob("*/*/*.avi"))[:2]:
        place.rename(place.with_suffix(".mp4"))
    for place in sorted(full.root.glob("*/*/*.flac"))[:2]:
        place.rename(place.with_suffix(".wav"))
    for place in sorted(full.root.glob("*/*/images/*.jpg"))[:2]:
        place.rename(place.with_suffix(".png"))
    table = full.read()
    assert table.present.sum() == 15  # one weld has no photo
    assert table.frame["video"].str.endswith(".mp4").sum() == 2
    assert table.frame["audio"].str.endswith(".wav").sum() == 2
    assert table.frame["image"].str.contains(".png").sum() >= 1
