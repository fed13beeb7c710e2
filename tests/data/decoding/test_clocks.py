from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quadlib.config import MediaSettings
from quadlib.data.decoding.clocks import find_offset, window_of
from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.job import Job


def job(offset: float | None = None, arc=(5.0, 25.0)) -> Job:
    return Job("audio", None, (Path("a.wav"),), MediaSettings(), arc, offset)


def level(on: float, off: float, length: float, noise: float = 0.1):
    times = np.arange(0, length, 0.01)
    loud = (times >= on) & (times < off)
    return times, loud + np.random.default_rng(0).normal(0, noise, len(times))


@pytest.mark.parametrize(("on", "off"), [(0.1, 20.1), (3, 23), (3, 22.6), (9.9, 29.9)])
def test_the_offset_is_found_within_the_difference_of_the_lengths(on, off):
    offset, agreement = find_offset(*level(on, off, 30), (5.0, 25.0), 30.0)
    assert offset == pytest.approx(5 - on, abs=(20 - (off - on)) / 2 + 0.03) and agreement > 0.9


def test_bursts_outside_do_not_decide():
    times, values = level(3, 23, 30)
    values[2600:2605] = 50
    assert find_offset(times, values, (5.0, 25.0), 30.0)[0] == pytest.approx(2, abs=0.05)


def test_noise_agrees_with_no_place():
    for seed in range(20):
        values = np.random.default_rng(seed).normal(0, 1, 3000)
        assert find_offset(np.arange(3000) / 100, values, (5.0, 25.0), 30.0)[1] < 0.35


def test_the_window_on_the_clock_of_the_file():
    window, facts = window_of(job(), 30, lambda: level(3, 23, 30))
    assert window == pytest.approx((3, 23), abs=0.05)
    assert facts["offset_s"] == pytest.approx(2, abs=0.05)
    assert window_of(job(1.5), 30, lambda: level(3, 23, 30))[0] == (3.5, 23.5)
    assert window_of(job(arc=None), 30, lambda: level(3, 23, 30)) == (None, {})


@pytest.mark.parametrize(
    ("asked", "length", "words"),
    [
        (job(), 15.0, "its 15.00 s cannot hold the 20.00 s"),
        (job(8.0), 30.0, r"clock_offset_s of 8 s .* from -3.00 to 17.00 s of it"),
        (job(-8.0), 30.0, r"from 13.00 to 33.00 s of it; correct the offset"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(asked, length, words):
    with pytest.raises(DamageError, match=words):
        window_of(asked, length, lambda: level(3, 23, length))


def test_a_file_without_the_event_is_refused_with_a_way_out():
    with pytest.raises(DamageError, match="does not follow the log.*by clock_offset_s"):
        window_of(job(), 30, lambda: level(0, 0, 30, noise=1))
