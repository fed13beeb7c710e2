from __future__ import annotations

import json
import os

import pytest

from quadlib.files import (
    FileError,
    atomic_write,
    digest_bytes,
    digest_file,
    outputs_folder,
    project_root,
    read_json,
    write_json,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path):
    path = tmp_path / "record.json"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"half of the new")
        raise RuntimeError("killed in between")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["record.json"]


def test_a_full_disk_is_named_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_text(path, "old")

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(
        FileError,
        match=r"record.json could not be written \(No space left on device\); the old file",
    ):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["record.json"]


def test_json_is_whole_and_has_no_nan(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"class": "Überlapp", "values": [1, 2.5, None]})
    assert read_json(path) == {"class": "Überlapp", "values": [1, 2.5, None]}
    with pytest.raises(ValueError):
        write_json(path, {"loss": float("nan")})
    path.write_text('{"torn": ')
    with pytest.raises(FileError, match="a.json is not valid JSON"):
        read_json(path)


def test_digest_depends_on_boundaries(tmp_path):
    assert digest_bytes(b"ab", b"c") != digest_bytes(b"a", b"bc")
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert digest_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_outputs_are_the_projects_wherever_the_kernel_starts(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "outputs").mkdir()
    monkeypatch.delenv("QUADLIB_OUTPUTS", raising=False)
    monkeypatch.chdir(tmp_path / "notebooks")
    assert project_root() == tmp_path
    assert outputs_folder() == tmp_path / "outputs"
    monkeypatch.setenv("QUADLIB_OUTPUTS", str(tmp_path / "elsewhere"))
    assert outputs_folder() == tmp_path / "elsewhere"
    assert outputs_folder(str(tmp_path / "named")) == tmp_path / "named"


def test_write_json_keeps_key_order(tmp_path):
    write_json(tmp_path / "a.json", {"z": 1, "a": 2})
    assert list(json.loads((tmp_path / "a.json").read_text())) == ["z", "a"]
