from __future__ import annotations

import json
import multiprocessing
import os

import pytest

from quadlib.files import (
    FileError,
    atomic_write,
    digest_bytes,
    digest_file,
    outputs_folder,
    patient_environment,
    project_root,
    read_json,
    read_record,
    usable_cores,
    write_json,
    write_record,
    write_text,
)
from tests.helpers.flips import silent


def test_threads_of_a_child_sleep_while_they_wait_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert patient_environment() == {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert patient_environment()["OMP_WAIT_POLICY"] == "ACTIVE"


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


def _write_often(path, letter, times):
    for _ in range(times):
        write_text(path, letter * 20_000)


def test_several_processes_write_one_file_and_it_is_whole(tmp_path):
    path = tmp_path / "index.html"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_often, args=(path, letter, 50)) for letter in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert path.read_text() in {letter * 20_000 for letter in "abc"}
    assert os.listdir(tmp_path) == ["index.html"]


def test_a_written_file_is_readable_as_any_other(tmp_path):
    write_text(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_cores_are_counted_with_and_without_an_affinity(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 7}, raising=False)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert usable_cores() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


def test_a_record_carries_its_format_and_no_other_is_read(tmp_path):
    path = tmp_path / "run.json"
    write_record(path, "run", {"b": 1, "a": 2})
    assert path.read_text().startswith('{\n "format": "quadlib.run/2"')
    assert list(read_record(path, "run")) == ["b", "a"]
    with pytest.raises(FileError, match="run.json has the format 'quadlib.run/2'.*diagnosis/2"):
        read_record(path, "diagnosis")
    write_json(path, {"b": 1})
    with pytest.raises(FileError, match="run.json has no format, quadlib.run/2 was expected"):
        read_record(path, "run")
    write_json(path, [1])
    with pytest.raises(FileError, match="run.json holds a list where an object was expected"):
        read_record(path, "run")
    path.write_text("[" * 100_000)
    with pytest.raises(FileError, match="run.json is not valid JSON"):
        read_json(path)


def test_a_record_with_any_bit_turned_is_refused(tmp_path):
    path = tmp_path / "run.json"
    write_record(path, "run", {"name": "größer", "numbers": [1.5, 2], "zeros": "0" * 64})
    assert silent(path, lambda: read_record(path, "run"), FileError) == []
    assert read_record(path, "run")["zeros"] == "0" * 64


def test_a_record_of_the_version_without_digests_is_read(tmp_path):
    path = tmp_path / "run.json"
    write_json(path, {"format": "quadlib.run/1", "name": "a"})
    assert read_record(path, "run") == {"name": "a"}
    write_json(path, {"format": "quadlib.run/2", "name": "a"})
    with pytest.raises(FileError, match="run.json was changed since quadlib wrote it"):
        read_record(path, "run")
