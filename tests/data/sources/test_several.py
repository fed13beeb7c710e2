from __future__ import annotations

import pandas as pd
import pytest

from quadlib import open_source
from quadlib.data.samples import TableError


def table(media, cells: list[str]):
    for row in range(4):
        for view in range(3):
            media.jpg(f"s1/r{row}/{view}.jpg", colour=(60 * row, 60 * view, 0))
            media.jpg(f"flat/r{row}_{view}.jpg", colour=(60 * row, 60 * view, 1))
        media.path(f"s1/r{row}/notes.txt").write_text("no photo")
    frame = pd.DataFrame(
        {"sample_id": [f"r{row}" for row in range(4)], "label": list("abab"), "photo": cells}
    )
    path = media.path("recordings.csv")
    frame.to_csv(path, index=False)
    return open_source("table", path)


def test_a_list_a_pattern_and_a_folder_are_the_joined_paths(media):
    read = table(
        media,
        ["s1/r0/", "flat/r1_*.jpg", '["s1/r2/0.jpg", "s1/r2/2.jpg"]', "s1/r3/0.jpg|flat/r3_?.jpg"],
    )
    assert read.modalities["photo"].kind == "image"
    assert read.frame["photo"].tolist() == [
        "s1/r0/0.jpg|s1/r0/1.jpg|s1/r0/2.jpg",
        "flat/r1_0.jpg|flat/r1_1.jpg|flat/r1_2.jpg",
        "s1/r2/0.jpg|s1/r2/2.jpg",
        "s1/r3/0.jpg|flat/r3_0.jpg|flat/r3_1.jpg|flat/r3_2.jpg",
    ]


def test_what_fits_no_file_is_named(media):
    with pytest.raises(TableError, match=r"row 2, photo: 'flat/x_\*.jpg' fits no file") as raised:
        table(media, ["s1/r0/", "flat/x_*.jpg", "", "nowhere/"])
    assert "row 4, photo: 'nowhere/' fits no file" in str(raised.value)
