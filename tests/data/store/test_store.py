from __future__ import annotations

import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from quadlib.config import TrainSettings
from quadlib.data.check import check_table
from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.workers import WorkerPool
from quadlib.data.samples import Modality, SampleTable, TableError
from quadlib.data.store.store import MediaStore, decode_table
from quadlib.files import FileError

SMALL = {
    "video_frames": 2,
    "video_height_px": 8,
    "video_width_px": 10,
    "image_views": 2,
    "image_height_px": 8,
    "image_width_px": 12,
    "audio_mel_bins": 10,
    "audio_frames": 12,
    "series_steps": 9,
}
STRICT = TrainSettings(**SMALL)
DROP = TrainSettings(**SMALL, on_damage="drop_modality")


@pytest.fixture(scope="module")
def shared(tmp_path_factory, media_files) -> tuple[SampleTable, Path]:
    """Eight good recordings and a folder that holds their store; copied by the tests that damage
    them.
    """
    root = tmp_path_factory.mktemp("shared")
    table = media_files(root / "media").table(8)
    MediaStore.open(table, STRICT, root / "store")
    return table, root


@pytest.fixture
def copied(shared, tmp_path) -> SampleTable:
    """The good recordings in a folder of their own, to be damaged."""
    table, _ = shared
    shutil.copytree(table.root, tmp_path / "media")
    return SampleTable(table.frame, table.modalities, root=tmp_path / "media", name="welds")


@pytest.fixture
def in_process(monkeypatch):
    """Decodes without starting processes, and counts the jobs."""
    from quadlib.data.decoding.job import decode

    decoded = []

    def decode_all(self, jobs):
        for place, job in enumerate(jobs):
            decoded.append(job)
            try:
                yield place, decode(job)
            except DamageError as damage:
                yield place, damage

    monkeypatch.setattr(WorkerPool, "decode_all", decode_all)
    return decoded


def test_shapes_types_and_the_second_open_decodes_nothing(shared, caplog):
    caplog.set_level("INFO", "quadlib")
    table, root = shared
    store = MediaStore.open(table, STRICT, root / "store")
    assert {name: (array.shape, array.dtype.name) for name, array in store.arrays.items()} == {
        "video": ((8, 2, 2, 8, 10), "uint8"),
        "image": ((8, 2, 3, 8, 12), "uint8"),
        "audio": ((8, 2, 10, 12), "float32"),
        "sensor": ((8, 6, 9), "float32"),
    }
    assert all(isinstance(array, np.memmap) for array in store.arrays.values())
    assert store.present.all() and store.damage == [] and caplog.text == ""
    assert store.table.fingerprint == table.fingerprint


def test_the_arc_of_the_sensor_bounds_video_and_sound(shared):
    from quadlib.data.decoding.job import Job
    from quadlib.data.kinds.audio import decode_audio
    from quadlib.data.kinds.series import WELD_CURRENT, decode

    table, root = shared
    store = MediaStore.open(table, STRICT, root / "store")
    log = tuple(table.paths(3, "sensor"))
    arc = decode(Job("series", None, log, STRICT, crop=WELD_CURRENT)).arc
    assert arc is not None and arc[0] > 0.1
    path = table.paths(3, "audio")[0]
    offset = store.facts["audio"][3]["offset_s"]
    window = (arc[0] - offset, arc[1] - offset)
    assert np.array_equal(store.arrays["audio"][3], decode_audio(path, STRICT, window))
    assert store.arrays["sensor"][3, 3] == pytest.approx(np.full(9, 130.0))


def test_a_new_split_or_order_decodes_nothing_and_a_touched_file_only_itself(
    copied, tmp_path, in_process
):
    MediaStore.open(copied, STRICT, tmp_path / "store")
    assert len(in_process) == 32
    MediaStore.open(copied.with_columns(split=["val"] * 8), STRICT, tmp_path / "store")
    reversed_store = MediaStore.open(copied.take(np.arange(8)[::-1]), STRICT, tmp_path / "store")
    assert len(in_process) == 32
    assert np.array_equal(
        reversed_store.arrays["audio"],
        MediaStore.open(copied, STRICT, tmp_path / "store").arrays["audio"][::-1],
    )
    os.utime(copied.paths(1, "audio")[0], (1, 1))  # touched, and the same
    path = copied.paths(2, "audio")[0]
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples * 0.5, rate)
    MediaStore.open(copied, STRICT, tmp_path / "store")
    assert [job.paths[0].parent.name for job in in_process[32:]] == ["r2"]
    MediaStore.open(copied, STRICT.model_copy(update={"audio_mel_bins": 11}), tmp_path / "store")
    assert {job.kind for job in in_process[33:]} == {"audio"}


def test_a_flipped_file_is_noticed_though_size_and_time_are_kept(copied, tmp_path, in_process):
    before = MediaStore.open(copied, STRICT, tmp_path / "store")
    path = copied.paths(2, "image")[0]
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = MediaStore.open(copied, DROP, tmp_path / "store")
    assert [job.kind for job in in_process[32:]] == ["image"]
    assert after.fingerprint != before.fingerprint
    changed = [name for name in after.digests if after.digests[name] != before.digests[name]]
    assert changed == [str(path.relative_to(copied.root))]


def test_a_file_that_is_cut_or_replaced_under_its_old_time_is_noticed(copied, tmp_path, in_process):
    before = MediaStore.open(copied, STRICT, tmp_path / "store")
    cut, replaced = copied.paths(2, "audio")[0], copied.paths(5, "audio")[0]
    times = {path: path.stat().st_mtime_ns for path in (cut, replaced)}
    with open(cut, "r+b") as file:
        file.truncate(cut.stat().st_size - 100)
    samples, rate = soundfile.read(replaced)
    soundfile.write(tmp_path / "other.flac", -samples, rate)
    os.replace(tmp_path / "other.flac", replaced)
    for path, time in times.items():
        os.utime(path, ns=(time, time))
    after = MediaStore.open(copied, DROP, tmp_path / "store")
    assert [job.paths[0] for job in in_process[32:]] == [cut, replaced]
    assert {name for name in after.digests if after.digests[name] != before.digests[name]} == {
        str(path.relative_to(copied.root)) for path in (cut, replaced)
    }


def later(monkeypatch) -> None:
    """What is written now is older than any clock's tick when it is read."""
    monkeypatch.setattr("quadlib.data.store.contents.COARSEST_CLOCK_NS", -(10**12))


def test_a_second_opening_reads_no_file(copied, tmp_path, in_process, monkeypatch):
    later(monkeypatch)
    store = MediaStore.open(copied, STRICT, tmp_path / "store")
    read = []
    monkeypatch.setattr("quadlib.data.store.contents.digest_file", read.append)
    assert MediaStore.open(copied, STRICT, tmp_path / "store").fingerprint == store.fingerprint
    assert read == []


def test_a_file_just_written_is_read_again(copied, tmp_path, in_process, monkeypatch):
    MediaStore.open(copied, STRICT, tmp_path / "store")
    assert not (tmp_path / "store" / "files.json").exists()  # all files are of this second


def test_bytes_that_changed_without_a_write_are_found_by_verifying(
    copied, tmp_path, in_process, monkeypatch
):
    later(monkeypatch)
    MediaStore.open(copied, STRICT, tmp_path / "store")
    path, status = copied.paths(2, "audio")[0], os.stat
    stamps = {str(path): status(path) for path in copied.root.rglob("*") if path.is_file()}
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples * 0.5, rate)
    content = path.read_bytes()
    stamp = stamps[str(path)]
    monkeypatch.setattr(
        os, "stat", lambda file, **more: stamps.get(str(file)) or status(file, **more)
    )
    assert not decode_table(copied, STRICT, tmp_path / "store").damage
    for _ in range(2):  # until it is settled
        (damage,) = decode_table(copied, STRICT, tmp_path / "store", verify=True).damage
        assert damage.path == str(path) and "holds other bytes" in damage.what
        assert "bring it back from a copy, or touch it" in damage.remedy
    monkeypatch.setattr(os, "stat", status)
    path.write_bytes(content)
    assert path.stat() != stamp
    assert not decode_table(copied, STRICT, tmp_path / "store", verify=True).damage


def test_other_names_of_the_same_contents_are_the_same(copied, tmp_path, in_process):
    before = MediaStore.open(copied, STRICT, tmp_path / "store")
    (copied.root / "s0").rename(copied.root / "first")
    frame = copied.frame.copy()
    for name in copied.modalities:
        frame[name] = frame[name].str.replace("s0/", "first/")
    renamed = SampleTable(frame, copied.modalities, root=copied.root, name="welds")
    after = MediaStore.open(renamed, STRICT, tmp_path / "store")
    assert len(in_process) == 32 and after.fingerprint == before.fingerprint
    swapped = frame.assign(audio=frame["audio"].to_numpy()[[1, 0, *range(2, 8)]])
    other = SampleTable(swapped, copied.modalities, root=copied.root, name="welds")
    assert MediaStore.open(other, STRICT, tmp_path / "store").fingerprint != before.fingerprint


def test_moved_recordings_decode_nothing_and_are_the_same(copied, tmp_path, in_process):
    before = MediaStore.open(copied, STRICT, tmp_path / "store")
    shutil.copytree(copied.root, tmp_path / "moved")
    moved = SampleTable(copied.frame, copied.modalities, root=tmp_path / "moved", name="welds")
    again = MediaStore.open(moved, STRICT, tmp_path / "store")
    assert len(in_process) == 32 and again.fingerprint == before.fingerprint


def test_damage_of_moved_recordings_names_them_where_they_are(copied, tmp_path, in_process):
    copied.paths(1, "audio")[0].write_bytes(b"noise" * 100)
    MediaStore.open(copied, DROP, tmp_path / "store")
    shutil.copytree(copied.root, tmp_path / "moved")
    moved = SampleTable(copied.frame, copied.modalities, root=tmp_path / "moved", name="welds")
    store = MediaStore.open(moved, DROP, tmp_path / "store")
    assert [item.path for item in store.damage] == [str(tmp_path / "moved/s0/r1/r.flac")]


def damage_all_kinds(table: SampleTable) -> dict[str, str]:
    """Every line of bad input that lives in files; returns what the report must say of each."""

    def path(row: int, name: str) -> Path:
        return table.paths(row, name)[0]

    video = path(0, "video").read_bytes()
    path(0, "video").write_bytes(video[: int(0.7 * len(video))])
    path(1, "audio").write_bytes(b"")
    path(2, "sensor").write_text(path(2, "sensor").read_text().replace(",20.5", ",OFF", 3))
    lines = path(3, "sensor").read_text().splitlines()
    lines[5], lines[6] = lines[6], lines[5]
    path(3, "sensor").write_text("\n".join(lines))
    path(4, "video").unlink()
    path(5, "audio").unlink()
    os.mkfifo(path(5, "audio"))
    path(6, "sensor").unlink()
    path(6, "sensor").mkdir()
    photo = table.paths(7, "image")[1]
    photo.write_bytes(photo.read_bytes()[:-200])
    return {
        "r0/r.avi": "cut short",
        "r1/r.flac": "0 bytes",
        "r2/r.csv": "3 value.* not finite",
        "r3/r.csv": "backwards",
        "r4/r.avi": "does not exist",
        "r5/r.flac": "a named pipe",
        "r6/r.csv": "a folder",
        "r7/1.jpg": "photo cannot be decoded",
    }


def test_all_damage_of_the_table_is_reported_at_once(copied, tmp_path, monkeypatch):
    expected = damage_all_kinds(copied)
    with pytest.raises(TableError) as raised:
        MediaStore.open(copied, STRICT, tmp_path / "store")
    text = str(raised.value)
    assert "8 problem(s) in 8 recording(s)" in text and 'on_damage="drop_modality"' in text
    for file, what in expected.items():
        line = next(line for line in text.splitlines() if file in line)
        assert re.search(what, line), f"{what} is not in {line}"
    monkeypatch.setenv("QUADLIB_OUTPUTS", str(tmp_path / "outputs"))
    assert len(check_table(copied, STRICT)) == 8


def test_damage_is_masked_and_counted_on_request(copied, tmp_path, in_process, caplog):
    caplog.set_level("INFO", "quadlib")
    damage_all_kinds(copied)
    store = MediaStore.open(copied, DROP, tmp_path / "store")
    assert "masked as damaged: 2 video, 1 image, 2 audio, 3 sensor" in caplog.text
    assert store.present.sum() == 24 and len(store.damage) == 8
    assert np.flatnonzero(~store.present[:, 0]).tolist() == [0, 4]
    assert store.arrays["video"][0].max() == 0
    assert copied.present.all() and store.table.frame["video"].iloc[0] == ""
    again = MediaStore.open(copied, DROP, tmp_path / "store")
    assert again.damage == store.damage and again.table.fingerprint == store.table.fingerprint
    in_process.clear()
    copied.paths(4, "video")[0].write_bytes(copied.paths(5, "video")[0].read_bytes())
    assert MediaStore.open(copied, DROP, tmp_path / "store").present[4, 0]
    # damaged rows are tried again, and what is now a copy of r5's video is taken from there
    assert [job.paths[0].parent.name for job in in_process] == ["r0"]


def test_a_recording_with_nothing_left_is_an_error(copied, tmp_path, in_process):
    for name in copied.modalities:
        for path in copied.paths(1, name):
            path.write_bytes(b"")
    with pytest.raises(TableError, match="1 recording.* no usable modality: r1"):
        MediaStore.open(copied, DROP, tmp_path / "store")


def test_a_modality_that_the_table_lacks_is_absent_without_damage(copied, tmp_path, in_process):
    frame = copied.frame.assign(image=["", *copied.frame["image"][1:]])
    store = MediaStore.open(
        SampleTable(frame, copied.modalities, root=copied.root), STRICT, tmp_path / "store"
    )
    assert not store.present[0, 1] and store.present.sum() == 31 and store.damage == []


def test_a_half_written_store_is_never_taken(copied, tmp_path, in_process, monkeypatch):
    import quadlib.data.store.fill as fill

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fill, "write_record", fail)
    with pytest.raises(
        FileError, match="could not be written .No space left on device.; it needs .* MiB"
    ):
        MediaStore.open(copied, STRICT, tmp_path / "store")
    assert [path for path in (tmp_path / "store").iterdir() if path.suffix != ".lock"] == []
    monkeypatch.undo()


def test_an_entry_damaged_since_says_what_to_delete(copied, tmp_path, in_process):
    MediaStore.open(copied, STRICT, tmp_path / "store")
    for array in (tmp_path / "store").glob("audio-*/array.npy"):
        array.write_bytes(array.read_bytes()[:300])
    with pytest.raises(FileError, match="audio-.* was damaged since .*delete it"):
        MediaStore.open(copied, STRICT, tmp_path / "store")


def test_a_flipped_bit_of_an_entry_is_noticed(copied, tmp_path, in_process):
    MediaStore.open(copied, STRICT, tmp_path / "store")
    (array,) = (tmp_path / "store").glob("audio-*/array.npy")
    content = bytearray(array.read_bytes())
    content[-50] ^= 1
    array.write_bytes(content)
    with pytest.raises(FileError, match="array.npy is not what was written.*delete it"):
        MediaStore.open(copied, STRICT, tmp_path / "store")
    shutil.rmtree(array.parent)
    MediaStore.open(copied, STRICT, tmp_path / "store")
    assert [job.kind for job in in_process[32:]] == ["audio"] * 8


def test_pickling_hands_over_file_names(shared):
    table, root = shared
    store = MediaStore.open(table, STRICT, root / "store")
    content = pickle.dumps(store)
    assert len(content) < 100_000
    again = pickle.loads(content)
    assert isinstance(again.arrays["video"], np.memmap) and np.array_equal(
        again.arrays["video"], store.arrays["video"]
    )


def test_a_series_of_unknown_channels_learns_them_from_its_files(copied, tmp_path, in_process):
    unknown = SampleTable(
        copied.frame, {**copied.modalities, "sensor": Modality("series")}, root=copied.root
    )
    copied.paths(0, "sensor")[0].write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(TableError, match="sensor: r0 .*has no channel Pressure, CO2 Weld Flow"):
        MediaStore.open(unknown, STRICT, tmp_path / "store")
    copied.paths(0, "sensor")[0].write_text(copied.paths(1, "sensor")[0].read_text())
    learned = MediaStore.open(unknown, STRICT, tmp_path / "store").table.modalities["sensor"]
    assert learned.shape == (6,)
    in_process.clear()
    again = MediaStore.open(unknown, STRICT, tmp_path / "store").table.modalities["sensor"]
    assert again == learned and not in_process  # remembered
    (tmp_path / "store" / "channels.json").write_text("{}")
    assert MediaStore.open(unknown, STRICT, tmp_path / "store").table.modalities["sensor"] == again
    assert in_process


def arrays_table(values: np.ndarray, rows: list[int]) -> SampleTable:
    frame = pd.DataFrame(
        {
            "sample_id": [f"r{row}" for row in range(len(rows))],
            "label": "a",
            "group": "g",
            "split": "train",
            "x": rows,
            "y": range(len(rows)),
        }
    )
    arrays = {"x": values, "y": np.ones((len(rows), 3))}
    return SampleTable(
        frame, {"x": Modality("vector", (2,)), "y": Modality("vector", (3,))}, arrays=arrays
    )


def test_arrays_are_taken_as_they_are(tmp_path):
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    store = MediaStore.open(arrays_table(values, [0, 1, 2]), STRICT, tmp_path / "store")
    assert (
        store.arrays["x"] is values
        and store.arrays["y"].dtype == np.float32
        and not (tmp_path / "store").exists()
    )
    store = MediaStore.open(arrays_table(values, [2, -1, 0, 2]), STRICT, tmp_path)
    assert store.arrays["x"].tolist() == [[4, 5], [0, 0], [0, 1], [4, 5]]
    assert store.present[:, 0].tolist() == [True, False, True, True]


def test_arrays_with_numbers_that_are_not_finite(tmp_path, caplog):
    caplog.set_level("INFO", "quadlib")
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    values[1, 0] = np.nan
    with pytest.raises(TableError, match="x: r1: 1 of 2 values are not finite"):
        MediaStore.open(arrays_table(values, [0, 1, 2]), STRICT, tmp_path)
    store = MediaStore.open(arrays_table(values, [0, 1, 2]), DROP, tmp_path)
    assert (
        store.present[:, 0].tolist() == [True, False, True]
        and "masked as damaged: 1 x" in caplog.text
    )


def logs(folder: Path, heads: list[str]) -> SampleTable:
    """A table of logs of two channels, each under its own header."""
    for row, head in enumerate(heads):
        lines = "\n".join(
            f"{step / 10},{step * row / 2 + 0.25},{step % 3 + row / 2}" for step in range(20)
        )
        (folder / f"{row}.csv").write_text(f"t,{head}\n{lines}\n")
    frame = pd.DataFrame(
        {
            "sample_id": [f"s{row}" for row in range(len(heads))],
            "label": "a",
            "group": "g",
            "split": "",
            "log": [f"{row}.csv" for row in range(len(heads))],
        }
    )
    return SampleTable(frame, {"log": Modality("series")}, root=folder, name="logs")


def test_channels_whose_names_differ_in_a_number_are_one(tmp_path, in_process):
    table = logs(tmp_path, [f"X{row}_DE,X{row}_FE" for row in range(4)])
    store = MediaStore.open(table, STRICT, tmp_path / "store")
    assert store.table.modalities["log"].channels == ("X_DE", "X_FE")
    assert store.arrays["log"].shape == (4, 2, 9)
    assert store.arrays["log"][:, 0, -1].tolist() == [0.25, 9.75, 19.25, 28.75]
    assert "channels go by their names without the number in them" in store.facts["log"][0]["notes"]


def test_channels_without_a_common_name_are_refused(tmp_path, in_process):
    table = logs(tmp_path, ["a,b", "c,d", "e,f"])
    with pytest.raises(TableError, match="3 recordings: has several channels, and none by a name"):
        MediaStore.open(table, STRICT, tmp_path / "store")
