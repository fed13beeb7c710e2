"""Recordings as pictures and pages: everything named, everything escaped, posters small."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import soundfile
from PIL import Image

from quadlib.data.decoding.look import Curves, Frames, Photos, Sound, Values
from quadlib.data.recording import Part, Recording
from quadlib.figures import tracks
from quadlib.figures.lanes import axis_of, clock_words, lanes, left_out
from quadlib.figures.poster import MOST_BYTES, poster
from quadlib.figures.viewer import poster_html, recording_html, side_by_side, thumbnail
from quadlib.reports.sanitise import sanitise

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def recording() -> Recording:
    """Noise everywhere, which compresses worst; video starts before the log, sound after it."""
    random = np.random.default_rng(0)
    frames = random.integers(0, 255, (16, 135, 240, 3), dtype=np.uint8)
    photos = tuple(random.integers(0, 255, (2, 160, 320, 3), dtype=np.uint8))
    sound = random.normal(0, 0.2, 16_000).astype(np.float32)
    names = tuple(f"channel {number} {HOSTILE}" for number in range(10))
    curves = Curves(
        np.linspace(0, 2, 5000), random.normal(size=(5000, 10)), names, ("A",) * 10, (0.5, 1.5),
        seconds=2.0, offset_s=0.0,
    )  # fmt: skip
    looks = {
        "video": Frames(frames, seconds=2.0, offset_s=-0.5),
        "image": Photos(photos),
        "audio": Sound(sound, 16_000, random.normal(size=(64, 480)), seconds=1.0, offset_s=0.25),
        "sensor": curves,
        "pose": Values(random.normal(size=7)),
    }
    parts = (*(Part(name, name, look) for name, look in looks.items()), Part("x", "x", None, "no"))
    return Recording(HOSTILE, "good", "s1", "train", parts, ("depth",), (0.5, 1.5))


def test_one_axis_holds_all_clocks(recording: Recording) -> None:
    assert axis_of(recording) == (-0.5, 2.0)
    shown = list(lanes(recording, 500))
    assert [lane.shows for lane in shown] == [
        *("frames", "photos", "wave", "spectrogram"),
        *("curve",) * 8,
        "bars",
    ]
    audio = shown[2]
    assert (audio.start, audio.end) == pytest.approx((0.3, 0.7))
    assert audio.pictures[0].width == 200
    words = clock_words(recording)
    assert words == "video starts 0.50 s before the log; audio starts 0.25 s after the log"
    missing, problem, further = left_out(recording)
    assert missing == "Missing: depth." and problem == "sensor: 2 further channels: " + ", ".join(
        [f"channel 8 {HOSTILE}", f"channel 9 {HOSTILE}."]
    )
    assert further == "x: no."


def test_a_poster_is_small_whatever_it_shows(recording: Recording) -> None:
    data = poster(recording)
    assert len(data) <= MOST_BYTES
    assert Image.open(io.BytesIO(data)).width == 560


def test_the_page_escapes_names_and_words_every_picture(recording: Recording) -> None:
    for page in (recording_html(recording), poster_html(recording), thumbnail(recording)):
        assert HOSTILE not in page and "&lt;img src=x" in page
        assert all("alt=" in tag for tag in re.findall(r"<img[^>]*>", page))
    page = recording_html(recording)
    assert "Missing: depth." in page and page.count('role="img"') == 12


def test_a_report_keeps_all_of_a_recording_and_nothing_else(recording: Recording) -> None:
    page = side_by_side([recording_html(recording)])
    kept = sanitise(page)
    for needed in ("data-start", "data-end", "<audio", "<button", 'type="range"', "left:"):
        assert kept.count(needed) == page.count(needed) > 0
    assert "<script" not in sanitise('<button onclick="alert(1)"><script>1</script></button>')
    assert "onclick" not in sanitise('<button onclick="alert(1)">x</button>')


def test_the_sound_is_what_was_recorded(recording: Recording) -> None:
    (data,) = re.findall(r"data:audio/flac;base64,([^\"]+)", recording_html(recording))
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
    assert rate == 16_000
    look = recording.parts[2].look
    assert isinstance(look, Sound)
    np.testing.assert_allclose(samples, look.samples, atol=1e-4)


def test_a_single_peak_is_seen_in_a_long_curve() -> None:
    values = np.zeros(100_000)
    values[54_321] = 1.0
    picture = np.asarray(tracks.curve(np.arange(100_000.0), values, (200, 30), "#000000"))
    columns = picture[:12, :, 3].max(axis=0)
    assert columns.argmax() == pytest.approx(0.54321 * 200, abs=2) and columns.max() > 60


def test_pictures_of_nothing() -> None:
    flat = np.zeros(50)
    assert tracks.curve(flat, flat, (20, 10), "#000000").size == (20, 10)
    assert tracks.bars(flat, (20, 10), "#000000").size == (20, 10)
    assert tracks.wave(flat.astype(np.float32), (20, 10), "#000000").size == (20, 10)
    assert tracks.spectrogram(np.zeros((4, 4)), (20, 10)).size == (20, 10)
    bare = Recording("a", "b", "c", "", (), ("video",))
    assert "Missing: video." in recording_html(bare) and "a" in thumbnail(bare)
    assert poster(bare)
