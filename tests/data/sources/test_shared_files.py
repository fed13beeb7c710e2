"""Files that stand twice and links that leave, told without asking for every file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from quadlib.data.sources.files_of_table import shared_files
from quadlib.data.sources.paths import Root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """many/ of twenty files, few/ of one, both under data/."""
    root = tmp_path / "data"
    for name, count in (("many", 20), ("few", 1)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.wav").write_bytes(b"x")
    return root


def problems(root: Path, *paths: str) -> list[str]:
    every = [f"many/{number}.wav" for number in range(15)] + list(paths)
    frame = pd.DataFrame({"sample_id": [f"r{row}" for row in range(len(every))], "audio": every})
    return shared_files(frame.astype(str), {"audio": "audio"}, Root(root, root))


def test_each_file_once_is_no_problem(folder):
    assert problems(folder, "few/0.wav", "", "gone/0.wav") == []


def test_a_file_that_stands_twice_also_through_a_link(folder):
    for place, target in (("few/link.wav", "0.wav"), ("many/link.wav", "16.wav")):
        (folder / place).symlink_to(target)
    (folder / "also").symlink_to(folder / "many")
    (line,) = problems(folder, "few/0.wav", "few/link.wav")
    assert line.startswith("few/0.wav stands 2 times: r15 audio, r16 audio")
    (line,) = problems(folder, "many/16.wav", "many/link.wav")
    assert line.startswith("many/16.wav stands 2 times")
    (line,) = problems(folder, "also/3.wav")
    assert line.startswith("many/3.wav stands 2 times: r3 audio, r15 audio")


@pytest.mark.parametrize("kind", ["file in a folder of many", "file alone", "folder"])
def test_a_link_out_of_the_folder_is_named(folder, kind):
    outside = folder.parent / "elsewhere"
    outside.mkdir()
    (outside / "a.wav").write_bytes(b"x")
    place = {"folder": "way/a.wav", "file alone": "few/a.wav"}.get(kind, "many/a.wav")
    if kind == "folder":
        (folder / "way").symlink_to(outside)
    else:
        (folder / place).symlink_to(outside / "a.wav")
    (line,) = problems(folder, place)
    assert line.startswith("r15: audio") and "is a link that leaves the folder" in line
