"""weldsim: the layout and formats of the measured set, its laws of splits and faults, and the same
bytes every time.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from quadlib.config import SettingsError
from quadlib.data.sources import weldsim
from quadlib.data.sources.weldsim.classes import CLASSES, CUES
from quadlib.data.sources.weldsim.oracles import oracle_scores
from quadlib.data.sources.weldsim.photo import photo_jpegs
from quadlib.data.sources.weldsim.plan import Recording, make_plan
from quadlib.data.sources.weldsim.process import weld
from quadlib.data.sources.weldsim.sensor import HEADER, sensor_csv
from quadlib.data.sources.weldsim.settings import GEOMETRIES, WeldSimSettings, geometry_of
from quadlib.data.sources.weldsim.write import manifest_csv, write_recording
from quadlib.files import FileError, digest_file


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return weldsim.make(tmp_path_factory.mktemp("weldsim") / "tiny", "tiny", seed=0)


def plan(size: str = "tiny", seed: int = 0, **switches: Any) -> list[Recording]:
    settings = WeldSimSettings(**switches)
    return make_plan(geometry_of(size, settings), seed, settings)


def manifest(folder: Path) -> list[dict[str, str]]:
    with open(folder / "manifest.csv", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): digest_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def sensor_columns(content: bytes) -> np.ndarray:
    """The six numeric columns: pressure, flow, feed, current, wire, voltage."""
    return np.array(
        [
            [float(value) for value in line.split(",")[3:9]]
            for line in content.decode().splitlines()[1:]
        ]
    )


def test_every_recording_has_its_files_where_the_manifest_says(tiny: Path) -> None:
    rows = manifest(tiny)
    assert list(rows[0]) == [
        "CATEGORY",
        "WELD_TYPE",
        "THICKNESS_MM",
        "STEEL_TYPE",
        "SAMPLES",
        "CURRENT_A",
        "VOLTAGE_V",
        "GAS_BAR",
        "ROBOT_SPEED_CPM",
        "DIRECTORY",
        "SUBDIRS",
        "SPLIT",
    ]
    photoless = 0
    for row in rows:
        folder = tiny / row["SUBDIRS"]
        part = folder.name
        assert row["SUBDIRS"] == f"{row['DIRECTORY']}/{part}"
        assert weldsim.CLASS_NAMES[int(part[-2:])] == row["CATEGORY"]
        photos = sorted((folder / "images").glob("*.jpg"))
        photoless += not photos
        assert len(photos) in (0, 5)
        assert {path.name for path in folder.iterdir() if path.is_file()} == {
            f"{part}.{ending}" for ending in ("avi", "flac", "csv")
        }
    assert photoless == 1


def test_formats_are_those_of_the_measured_set(tiny: Path) -> None:
    row = manifest(tiny)[0]
    folder = tiny / row["SUBDIRS"]
    with av.open(str(folder / f"{folder.name}.avi")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.codec_tag == "FMP4"
        frames = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])
    assert frames.shape[1:] == (40, 64)
    level = frames.reshape(len(frames), -1).max(1)
    # Dark before the arc, and after it.
    assert level[: len(level) // 12].max() < 60 < level[len(level) // 3 : len(level) // 2].min()
    info = soundfile.info(folder / f"{folder.name}.flac")
    assert (info.samplerate, info.channels, info.subtype, info.format) == (
        16000,
        1,
        "PCM_16",
        "FLAC",
    )
    content = (folder / f"{folder.name}.csv").read_bytes()
    lines = content.decode().splitlines()
    assert lines[0] == HEADER and HEADER.endswith("Remarks ") and len(lines[1].split(",")) == 9
    columns = sensor_columns(content)
    assert 80 < len(columns) < 120
    on = np.flatnonzero(columns[:, 3] > 5) / len(columns)
    assert abs(on.min() - 0.16) < 0.08 and abs(on.max() - 0.86) < 0.08
    assert 40 < columns[:, 5].max() < 83, "open circuit before ignition"
    with Image.open(next((folder / "images").glob("*.jpg"))) as photo:
        assert photo.size == (112, 52)


def test_splits_keep_sessions_together_and_hold_every_class() -> None:
    recordings = plan("demo")
    assert len(recordings) == 1152
    homes: dict[str, set[str]] = {}
    for recording in recordings:
        homes.setdefault(recording.session.folder, set()).add(recording.split)
    assert len(homes) == 96 and all(len(splits) == 1 for splits in homes.values())
    for split, expected in (("TRAIN", 48), ("VAL", 24), ("TEST", 24)):
        counts = np.bincount(
            [recording.booked.code for recording in recordings if recording.split == split],
            minlength=12,
        )
        assert (counts == expected).all()


def test_part_names_repeat_across_sessions_but_folders_never() -> None:
    for seed in range(2):
        recordings = plan("demo", seed)
        assert len({recording.folder for recording in recordings}) == len(recordings)
        assert 2 <= len(recordings) - len({recording.part for recording in recordings}) <= 20


def test_made_twice_gives_the_same_bytes_whatever_the_number_of_processes(
    tiny: Path, tmp_path: Path
) -> None:
    again = weldsim.make(tmp_path / "again", "tiny", seed=0, processes=2)
    assert contents(again) == contents(tiny)
    assert {path.name for path in tmp_path.iterdir()} == {"again", ".again.lock"}


def test_another_seed_makes_other_welds_and_no_two_recordings_share_a_stream() -> None:
    assert manifest_csv(plan(seed=0), GEOMETRIES["tiny"]) != manifest_csv(
        plan(seed=1), GEOMETRIES["tiny"]
    )
    firsts = [recording.rng(stream).random() for recording in plan() for stream in range(1, 7)]
    firsts += [np.random.default_rng([0, index]).random() for index in range(48)]
    assert len(set(firsts)) == len(firsts)


def test_a_complete_folder_is_returned_at_once_and_another_set_is_refused(
    tiny: Path, tmp_path: Path
) -> None:
    before = (tiny / "manifest.csv").stat().st_mtime_ns
    assert weldsim.make(tiny, "tiny", seed=0) == tiny
    assert (tiny / "manifest.csv").stat().st_mtime_ns == before
    with pytest.raises(
        FileError,
        match=r"seed is 0 there, 3 was asked for; label_noise is 0.0 there, 0.25 was asked for",
    ):
        weldsim.make(tiny, "tiny", seed=3, label_noise=0.25)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep")
    with pytest.raises(FileError, match="did not write"):
        weldsim.make(tmp_path / "mine", "tiny")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "keep"


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("quadlib.data.sources.weldsim.write.write_recording", full_disk)
    with pytest.raises(FileError, match="No space left"):
        weldsim.make(tmp_path / "set", "tiny")
    assert not [path for path in tmp_path.iterdir() if path.name != ".set.lock"]


def test_two_processes_may_ask_for_the_same_folder(tmp_path: Path) -> None:
    code = (
        f"from quadlib.data.sources import weldsim; print(weldsim.make({str(tmp_path / 'set')!r}, "
        "'tiny', seed=7, sessions_per_class=3, recordings_per_session=1))"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for process in both:
        output, complaint = process.communicate()
        assert process.returncode == 0, complaint.decode()
        assert output.decode().strip() == str(tmp_path / "set")
    assert len(manifest(tmp_path / "set")) == 36


def test_wrong_switches_are_named_together() -> None:
    with pytest.raises(SettingsError) as caught:
        weldsim.make("nowhere", "tiny", label_noize=0.1, photoless=2, sessions_per_class=2)
    assert all(
        text in str(caught.value)
        for text in ("did you mean label_noise", "photoless", "at least 3")
    )
    with pytest.raises(ValueError, match="'huge' is none of tiny, demo, full"):
        weldsim.make("nowhere", "huge")


def test_marker_and_oracles_are_stored_with_the_set(tiny: Path) -> None:
    marker = json.loads((tiny / "weldsim.json").read_text())
    assert marker["counts"] == {
        "recordings": 96,
        "sessions": 48,
        "TRAIN": 48,
        "VAL": 24,
        "TEST": 24,
        "video": 96,
        "image": 95,
        "audio": 96,
        "sensor": 96,
    }
    oracles = json.loads((tiny / "oracles.json").read_text())
    assert list(oracles) == ["set_points", "duration", "majority"]
    assert all(
        list(scores) == ["accuracy", "macro_f1", "auroc_good_defect"] for scores in oracles.values()
    )
    assert (
        oracles["majority"]["macro_f1"]
        < oracles["duration"]["macro_f1"]
        < oracles["set_points"]["macro_f1"]
        < 0.9
    )


def test_oracles_of_a_set_without_a_good_weld_say_so() -> None:
    recordings = [recording for recording in plan() if recording.booked.code]
    scores = oracle_scores(recordings, seed=0)
    assert (
        scores["set_points"]["auroc_good_defect"] is None
        and scores["set_points"]["accuracy"] is not None
    )


def test_cue_names_in_the_table_of_classes_exist() -> None:
    assert [weld_class.code for weld_class in CLASSES] == list(range(12))
    for weld_class in CLASSES:
        for modality, cues in weld_class.cues.items():
            assert set(cues) <= set(CUES[modality]), weld_class.name


def test_shares_of_faults_are_met() -> None:
    recordings = plan(
        missing_modality=0.25,
        photoless=0.5,
        time_gaps=0.125,
        clock_faults=0.25,
        label_noise=0.25,
        sticker_leak=0.5,
        session_mixing=1.0,
        fixed_length=True,
    )
    count = len(recordings)
    assert sum(bool(recording.missing) for recording in recordings) == count // 4
    assert sum(recording.photoless for recording in recordings) == count // 2
    assert sum(recording.time_gap for recording in recordings) == count // 8
    assert sum(recording.clock_fault for recording in recordings) == count // 4
    assert sum(recording.sticker_leak for recording in recordings) == count // 2
    noisy = [
        recording for recording in recordings if recording.booked != recording.session.weld_class
    ]
    assert len(noisy) == count // 4 and all(
        int(recording.part[-2:]) == recording.booked.code for recording in noisy
    )
    assert {recording.duration_s for recording in recordings} == {36.0}
    mixed = {recording.session.folder for recording in recordings if recording.split == "TRAIN"}
    assert mixed & {
        recording.session.folder for recording in recordings if recording.split == "TEST"
    }
    assert sum(recording.split == "TRAIN" for recording in recordings) == count // 2


def test_missing_files_are_not_written(tmp_path: Path) -> None:
    geometry = GEOMETRIES["tiny"]
    lacking = {recording.missing: recording for recording in plan(missing_modality=1.0)}
    endings = {"video": ".avi", "audio": ".flac", "sensor": ".csv", "image": ".jpg"}
    for modality, recording in lacking.items():
        folder = write_recording(tmp_path, recording, geometry)
        assert {path.suffix for path in folder.rglob("*") if path.is_file()} == set(
            endings.values()
        ) - {endings[modality]}
    assert set(lacking) == set(endings)


def test_gaps_and_clock_faults_are_in_the_time_stamps() -> None:
    def steps(recording: Recording) -> np.ndarray:
        lines = sensor_csv(recording, weld(recording), GEOMETRIES["full"]).decode().splitlines()[1:]
        clock = [line.split(",")[1].split(":") for line in lines]
        return np.diff(
            [3600 * int(hour) + 60 * int(minute) + float(second) for hour, minute, second in clock]
        )

    few: dict[str, Any] = {"sessions_per_class": 3, "recordings_per_session": 1}
    clean, gap, fault = (
        plan("full", **few)[0],
        plan("full", **few, time_gaps=1.0)[0],
        plan("full", **few, clock_faults=1.0)[0],
    )
    assert (
        (steps(clean) > 0).all()
        and 1 / 9.2 < steps(clean).mean() < 1 / 8.4
        and steps(clean).std() > 0.005
    )
    assert steps(gap).max() > 10 and (steps(gap) > 0).all()
    assert (steps(fault) <= 0).any()


def test_measured_medians_follow_the_published_ones() -> None:
    published = {
        "good": (140, 20.8),
        "excessive_penetration": (136, 19.3),
        "overlap": (240, 15.3),
        "lack_of_fusion": (124, 15.7),
        "undercut": (283, 17.5),
        "spatter": (141, 14.7),
    }
    found: dict[str, list[np.ndarray]] = {name: [] for name in published}
    variation: dict[str, list[float]] = {name: [] for name in ("good", "spatter")}
    gasless = []
    for recording in plan("demo", recordings_per_session=2):
        columns = sensor_columns(sensor_csv(recording, weld(recording), GEOMETRIES["demo"]))
        on = columns[:, 3] > 5
        name = recording.session.weld_class.name
        if name in found:
            found[name].append(np.median(columns[on][:, [3, 5]], axis=0))
        if name in variation:
            plateau = columns[on][5:-12, 3]
            variation[name].append(float(plateau.std() / plateau.mean()))
        if name == "porosity":
            gasless.append(columns[:, :2].max())
    for name, (current, voltage) in published.items():
        middle = np.median(found[name], axis=0)
        assert abs(middle[0] / current - 1) < 0.1 and abs(middle[1] / voltage - 1) < 0.1, (
            name,
            middle,
        )
    assert (
        np.median(variation["good"])
        < 0.1
        < 1.7 * np.median(variation["good"])
        < np.median(variation["spatter"])
    )
    assert max(gasless) < 1
    feed = columns[:, 2] * np.maximum(np.floor(np.arange(len(columns)) / 25), 1)
    assert np.corrcoef(feed, columns[:, 4])[0, 1] > 0.99, "feed is wire over whole seconds"


def test_easier_sets_show_their_events_more_and_their_sessions_less() -> None:
    def spread_and_visibility(difficulty: float) -> tuple[float, float]:
        recordings = plan("demo", difficulty=difficulty, recordings_per_session=2)
        gains = [recording.session.microphone_gain_db for recording in recordings]
        return float(np.std(gains)), float(
            np.mean([recording.visibility["image"] for recording in recordings])
        )

    easy, hard = spread_and_visibility(0.25), spread_and_visibility(4.0)
    assert easy[0] < hard[0] / 3 and easy[1] > 2 * hard[1]


def test_a_leaking_sticker_shows_the_class_code_and_lies_in_the_top_quarter() -> None:
    geometry = GEOMETRIES["demo"]
    plain, leaking = plan()[50], plan(sticker_leak=1.0)[50]
    assert plain.part == leaking.part
    differing = np.zeros(geometry.photo_px[::-1], dtype=bool)
    for one, two in zip(photo_jpegs(plain, geometry), photo_jpegs(leaking, geometry), strict=True):
        grey = [
            np.asarray(Image.open(io.BytesIO(jpeg)).convert("L"), dtype=int) for jpeg in (one, two)
        ]
        differing |= abs(grey[0] - grey[1]) > 40
    assert differing.sum() > 100
    assert np.flatnonzero(differing.any(1)).max() < 0.25 * len(differing)


def test_full_size_has_the_real_lengths() -> None:
    recording = plan("full", sessions_per_class=3, recordings_per_session=1)[0]
    geometry = GEOMETRIES["full"]
    assert (
        geometry.video_px == (960, 600)
        and geometry.photo_px == (2000, 900)
        and geometry.frames_per_s == 30
    )
    columns = sensor_columns(sensor_csv(recording, weld(recording), geometry))
    assert 195 < len(columns) < 666
    assert 30 < recording.duration_s < 40 and 22 < recording.arc_off_s - recording.arc_on_s < 30
