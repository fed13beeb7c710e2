"""Recordings whose instruments start apart and whose sound has a fixed length: the arc is found in
each, and no class is told by silence.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quadlib.config import MediaSettings
from quadlib.data.decoding.clocks import window_of
from quadlib.data.decoding.frames import Frames
from quadlib.data.decoding.job import Job
from quadlib.data.kinds.audio import loudness
from quadlib.data.kinds.series import WELD_CURRENT
from quadlib.data.kinds.series import decode as decode_series
from quadlib.data.sources.weldsim.plan import make_plan
from quadlib.data.sources.weldsim.settings import WeldSimSettings, geometry_of
from quadlib.data.sources.weldsim.write import write_recording


@pytest.fixture(scope="module")
def welds(tmp_path_factory):
    """One recording of each class, at full length and rate with small frames; its windows."""
    small = replace(
        geometry_of("full", WeldSimSettings()), video_px=(64, 40), video_render_px=(64, 40)
    )
    root, welds = tmp_path_factory.mktemp("welds"), []
    plan = make_plan(replace(small, photo_px=(112, 52)), 0, WeldSimSettings())
    for recording in plan[:: len(plan) // 12]:
        recording = replace(recording, photoless=True)
        folder = write_recording(root, recording, small)
        stem = folder / recording.part
        settings = MediaSettings()
        log = Job("series", None, (stem.with_suffix(".csv"),), settings, crop=WELD_CURRENT)
        arc = decode_series(log).arc
        windows = {}
        for name, suffix in (("audio", ".flac"), ("video", ".avi")):
            path = stem.with_suffix(suffix)
            times, levels = loudness(path) if name == "audio" else Frames(path).brightness()
            length = float(times[-1] + times[1] - times[0])
            asked = Job(name, None, (path,), settings, arc)
            windows[name] = window_of(asked, length, lambda given=(times, levels): given)[0]
        welds.append((recording, stem, windows))
    return welds


@pytest.mark.parametrize("name", ["audio", "video"])
def test_the_arc_is_found_on_every_clock(welds, name):
    for recording, _, windows in welds:
        own = recording.session.clock_offset_s[name]
        arc = recording.arc_on_s + own, recording.arc_off_s + own
        middle = np.mean(windows[name])
        assert middle == pytest.approx(np.mean(arc), abs=0.15), recording.session.weld_class.name


def test_the_sound_lasts_as_long_as_its_recorder_runs(welds):
    for recording, stem, _ in welds:
        times, _ = loudness(stem.with_suffix(".flac"))
        short = recording.session.weld_class.name == "overlap"
        assert len(times) == (2500 if short else 3800)


def test_no_class_is_told_by_the_silence_in_its_window(welds):
    for recording, _, windows in welds:
        own = recording.session.clock_offset_s["audio"]
        on, off = windows["audio"]
        silent = max(0.0, recording.arc_on_s + own - on) + max(0.0, off - recording.arc_off_s - own)
        assert silent / (off - on) < 0.03, recording.session.weld_class.name
