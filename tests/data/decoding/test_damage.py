from __future__ import annotations

import os
import pickle

import pytest

from quadlib.data.decoding.damage import Damage, DamageError, open_regular, report


def test_only_regular_files_with_content_are_opened(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    cases = {
        "folder": "is a folder",
        "pipe": "is a named pipe",
        "empty": r"is empty \(0 bytes\)",
        "gone": "does not exist",
        "loop": "cannot be opened",
        "nul\0byte": "cannot be opened",
    }
    for name, match in cases.items():
        with (
            pytest.raises(DamageError, match=f"^[^;]*{match}[^;]*;[^;]*$"),
            open_regular(tmp_path / name),
        ):
            pass
    with pytest.raises(DamageError, match="is a device"), open_regular(tmp_path / "/dev/null"):
        pass
    (tmp_path / "good").write_bytes(b"x")
    with open_regular(tmp_path / "good") as file:
        assert file.read() == b"x"
    assert file.closed


def test_an_address_is_only_a_name_that_does_not_exist(tmp_path):
    with (
        pytest.raises(DamageError, match="does not exist"),
        open_regular(tmp_path / "http://127.0.0.1:9/x.avi"),
    ):
        pass


def test_the_error_survives_pickling():
    error = pickle.loads(pickle.dumps(DamageError("a.avi", "is cut", "mend it")))
    assert str(error) == "a.avi: is cut; mend it" and error.path == "a.avi"


def test_the_report_groups_and_keeps_every_file():
    damage = [
        Damage(f"r{number}", "audio", f"r{number}.flac", "is empty", "copy it again")
        for number in range(5)
    ]
    damage.append(Damage("r9", "video", "r9.avi", "is cut", "copy it again"))
    damage.append(Damage("", "", "", "train holds one class", "split again"))
    text = report(damage, most=3)
    assert text.splitlines()[0] == "  audio: 5 recordings: is empty; copy it again"
    assert "    r2 r2.flac" in text and "r3.flac" not in text and "and 2 more" in text
    assert "  video: r9 r9.avi: is cut; copy it again" in text
    assert (
        text.splitlines()[-2] == "  train holds one class; split again"
        and 'on_damage="drop_modality"' in text.splitlines()[-1]
    )
    assert report(damage[-1:]) == "  train holds one class; split again"
    assert all(f"r{number}.flac" in report(damage) for number in range(5))
