from __future__ import annotations

import numpy as np
import pytest

from quadlib.data.logs.wraps import between_stamps, past_midnight, past_overflow


def test_a_time_of_day_goes_on_over_midnight():
    seconds, notes = past_midnight(np.array([86390.0, np.nan, 86399.0, 5.0, 15.0]))
    np.testing.assert_array_equal(seconds, [86390, np.nan, 86399, 86405, 86415])
    assert notes == ("its clock passes midnight once",)


@pytest.mark.parametrize(
    "seconds",
    [[10.0, 20.0, 30.0], [7200.0, 3600.0, 3700.0], [90000.0, 10.0, 20.0], [np.nan, np.nan]],
    ids=["rising", "an hour back", "no time of day", "empty"],
)
def test_other_times_stay(seconds: list[float]):
    same, notes = past_midnight(np.array(seconds))
    np.testing.assert_array_equal(same, seconds)
    assert not notes


@pytest.mark.parametrize("bits", [16, 32])
def test_a_counter_goes_on_over_its_end(bits: int):
    true = 2.0**bits - 500 + 100 * np.arange(12)
    values, notes = past_overflow(true % 2**bits)
    np.testing.assert_array_equal(values, true)
    assert str(2**bits) in notes[0] and "once" in notes[0]


@pytest.mark.parametrize(
    "values",
    [
        [100.0, 200.0, 0.0, 100.0],
        [65000.0, 65100.0, 20000.0, 20100.0],
        [4.0, 3.0, 2.0],
        [0.5, 1.5, 0.1],
    ],
    ids=["begins again early", "goes on elsewhere", "backwards", "no whole numbers"],
)
def test_what_is_no_overflow_stays(values: list[float]):
    same, notes = past_overflow(np.array(values))
    np.testing.assert_array_equal(same, values)
    assert not notes


def test_readings_of_a_coarse_clock_are_spread():
    true = np.arange(100) / 10 + 0.35
    seconds, notes = between_stamps(np.floor(true))
    assert np.abs(seconds - true).max() < 0.1 and "10 readings" in notes[0]
    assert (np.diff(seconds) > 0).all()


@pytest.mark.parametrize(
    "seconds",
    [np.arange(9.0), np.repeat(np.arange(9.0), 2), [0, 0, 0, 1, 2, 3, 3, 3], [0, 0, 0, 1, 1, 1]],
    ids=["single", "twice", "some thrice", "two stamps"],
)
def test_stamps_that_stand_twice_stay(seconds: list[float]):
    same, notes = between_stamps(np.array(seconds, dtype=float))
    np.testing.assert_array_equal(same, seconds)
    assert not notes
