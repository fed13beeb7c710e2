"""A recording opened for a human: each modality, its clock, what is missing and what is damaged."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quadlib.config import MediaSettings, TrainSettings
from quadlib.data.decoding.look import Curves, Frames, Photos, Sound, Values
from quadlib.data.kinds.series import WELD_CURRENT
from quadlib.data.recording import decoded_recording, open_recording
from quadlib.data.samples import Modality, SampleTable
from quadlib.data.store.store import decode_table
from quadlib.registry import KINDS

OFFSET = 1.5  # seconds after the log at which video and sound start


def arc(seconds: np.ndarray) -> np.ndarray:
    return (seconds > 1.0) & (seconds < 3.0)  # on the clock of the file; 2.5 to 4.5 on the log's


@pytest.fixture
def table(media) -> SampleTable:
    """One whole recording with clocks of their own, and one that has a broken video alone."""
    shown = arc(np.arange(75) / 15)
    frames = [np.full((48, 64), 200 if on else 10, np.uint8) for on in shown]
    noise = np.random.default_rng(0).normal(0, 0.2, 80_000)
    media.avi("a.avi", frames)
    media.flac("a.flac", np.where(arc(np.arange(80_000) / 16_000), noise, noise / 100))
    media.jpg("a1.jpg", (640, 320))
    media.jpg("a2.jpg", (100, 200))
    seconds = np.arange(0, 6, 0.05)
    current = np.where((seconds > 2.5) & (seconds < 4.5), 150.0, 0.0)
    lines = [f"Time,Pressure [bar],{WELD_CURRENT}"]
    lines += [f"{t:.2f},{3 + t:.2f},{value}" for t, value in zip(seconds, current, strict=True)]
    media.path("a.csv").write_text("\n".join(lines))
    media.path("b.avi").write_bytes(media.path("a.avi").read_bytes()[:2000])
    columns = {"sample_id": ["a", "b"], "label": ["good", "bad"], "group": ["s", "t"]}
    columns |= {"split": "train", "video": ["a.avi", "b.avi"], "image": ["a1.jpg|a2.jpg", ""]}
    columns |= {"audio": ["a.flac", ""], "sensor": ["a.csv", ""]}
    kinds = {name: Modality(name) for name in ("video", "image", "audio")}
    kinds["sensor"] = Modality("series", crop=WELD_CURRENT)
    return SampleTable(pd.DataFrame(columns), kinds, root=media.root)


def test_every_modality_is_seen_on_the_clock_of_the_log(table: SampleTable) -> None:
    recording = open_recording(table, 0, MediaSettings())
    looks = {part.name: part.look for part in recording.parts}
    assert (recording.sample_id, recording.label, recording.missing) == ("a", "good", ())
    assert recording.arc == pytest.approx((2.5, 4.5), abs=0.06)
    video, image, audio, sensor = looks.values()
    assert isinstance(video, Frames) and video.offset_s == pytest.approx(OFFSET, abs=0.1)
    assert len(video.frames) == 16 and video.frames[0].mean() < 40 < video.frames[7].mean()
    assert isinstance(audio, Sound) and audio.offset_s == pytest.approx(OFFSET, abs=0.1)
    assert len(audio.samples) == 80_000 and audio.spectrogram.ndim == 2
    assert isinstance(image, Photos)
    assert [photo.shape[:2] for photo in image.photos] == [(160, 320), (200, 100)]
    assert isinstance(sensor, Curves) and sensor.names == ("Pressure", WELD_CURRENT)
    assert sensor.units[0] == "bar" and sensor.values.shape == (120, 2)


def test_what_is_missing_and_what_is_broken_is_named(table: SampleTable) -> None:
    recording = open_recording(table, 1, MediaSettings())
    assert recording.missing == ("image", "audio", "sensor")
    (video,) = recording.parts
    assert video.look is None and "b.avi" in video.problem


def test_a_file_of_another_clock_is_shown_with_its_problem(table: SampleTable) -> None:
    settings = MediaSettings(clock_offset_s={"audio": 90.0})
    audio = open_recording(table, 0, settings).parts[2]
    assert isinstance(audio.look, Sound) and audio.look.offset_s is None
    assert "clock_offset_s of 90" in audio.problem


def test_a_store_is_seen_as_the_model_is_given_it(table: SampleTable, tmp_path) -> None:
    store = decode_table(table, TrainSettings(), tmp_path)
    looks = [part.look for part in decoded_recording(store, 0).parts]
    assert [type(look) for look in looks] == [Frames, Photos, Sound, Curves]
    assert decoded_recording(store, 1).missing == ("video", "image", "audio", "sensor")


def test_arrays_and_kinds_without_a_look() -> None:
    frame = pd.DataFrame({"sample_id": ["a"], "label": ["x"], "group": ["g"], "split": ""})
    values = np.arange(3, dtype=np.float32)[None]
    table = SampleTable(
        frame.assign(pose=0), {"pose": Modality("vector", (3,))}, arrays={"pose": values}
    )
    (part,) = open_recording(table, 0, MediaSettings()).parts
    assert isinstance(part.look, Values) and part.look.values.tolist() == [0, 1, 2]
    assert all(KINDS[name].look or name == "vector" for name in KINDS)
