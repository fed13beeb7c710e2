"""Channels that npTDMS wrote, read back over their own clocks, or refused with what is there."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from nptdms import ChannelObject, TdmsFile, TdmsWriter

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import DamageError
from quadlib.data.logs.read import Readings, read_readings

FLOW, FORCE = np.sin(np.arange(300) / 40), np.arange(300) ** 1.5
START = np.datetime64("2023-06-14T10:00:00", "us")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "r.tdms"


def write(file: Path, *channels: tuple[str, str, np.ndarray, dict[str, object]]) -> None:
    with TdmsWriter(str(file)) as out:
        out.write_segment(
            [ChannelObject(*channel[:3], properties=channel[3]) for channel in channels]
        )


def readings(path: Path, **settings: object) -> Readings:
    return read_readings(path, MediaSettings(**settings))


def refusal(path: Path, **settings: object) -> str:
    with pytest.raises(DamageError) as error:
        readings(path, **settings)
    return str(error.value)


def test_one_step_and_start_for_all(file):
    timing = {"wf_increment": 0.02, "wf_start_offset": 1.5, "wf_start_time": START}
    write(
        file,
        ("weld", "flow", FLOW, {**timing, "unit_string": "l/min"}),
        ("weld", "force", FORCE, timing),
    )
    read, theirs = readings(file), TdmsFile.read(file)["weld"]["flow"]
    assert read.channels == ("flow", "force") and read.units == ("l/min", "")
    assert read.clock == "time" and read.notes == ("clock: 50 Hz, as the file says",)
    assert read.seconds == pytest.approx(theirs.time_track() - 1.5)
    assert read.values == pytest.approx(np.stack([FLOW, FORCE], 1))


def test_rates_and_starts_of_their_own_are_brought_to_the_finest(file):
    write(
        file,
        ("fast", "flow", FLOW, {"wf_increment": 0.01, "wf_start_time": START}),
        (
            "slow",
            "temperature",
            np.arange(30) * 0.1 + 0.25,
            {
                "wf_increment": 0.1,
                "wf_start_offset": 0.05,
                "wf_start_time": START + np.timedelta64(200, "ms"),
            },
        ),
    )
    read = readings(file)
    assert read.seconds == pytest.approx(np.arange(300) / 100)
    assert read.values[25:, 1] == pytest.approx(read.seconds[25:])
    assert (
        read.filled == 25 and "temperature (30 readings at 10 Hz from 0.25 s on)" in read.notes[1]
    )


def test_a_channel_called_time_is_the_clock(file):
    clock = np.linspace(0, 2, 300) ** 2
    write(
        file,
        ("weld", "Time", clock, {"wf_increment": 1.0}),
        ("weld", "flow", FLOW, {"wf_increment": 1.0}),
    )
    read = readings(file)
    assert read.channels == ("flow",) and read.seconds == pytest.approx(clock)


def test_channels_of_one_name_keep_their_group(file):
    write(file, ("left", "force", FORCE, {}), ("right", "force", -FORCE, {}))
    read = readings(file)
    assert read.channels == ("left/force", "right/force") and read.clock == ""


def test_lengths_that_fit_no_clock_are_named(file):
    write(file, ("weld", "flow", FLOW, {}), ("weld", "force", FORCE[:90], {}))
    message = refusal(file)
    assert "flow: 300 readings without a clock; force: 90 readings" in message
    assert readings(file, series_channels=["flow"]).channels == ("flow",)
    assert "did you mean flow?" in refusal(file, series_channels=["flew"])


def test_recordings_hours_apart_are_refused(file):
    later = START + np.timedelta64(2, "h")
    write(
        file,
        ("a", "flow", FLOW, {"wf_increment": 0.01, "wf_start_time": START}),
        ("b", "force", FORCE, {"wf_increment": 0.01, "wf_start_time": later}),
    )
    assert "force: 300 readings at 100 Hz from 7200 s on" in refusal(file)
    assert readings(file, series_channels=["force"]).channels == ("force",)


def test_a_step_below_zero_is_refused_with_a_way_out(file):
    write(file, ("weld", "flow", FLOW, {"wf_increment": -0.5}))
    assert "wf_increment=-0.5" in refusal(file)
    assert readings(file, series_clock="rows").clock == ""


def test_a_killed_recorder_is_read_to_its_end_and_a_cut_copy_is_damage(file):
    write(file, ("weld", "flow", FLOW, {"wf_increment": 0.01}))
    whole = file.read_bytes()
    file.write_bytes(whole[:12] + b"\xff" * 8 + whole[20:-800])
    read = readings(file)
    assert read.values[:, 0] == pytest.approx(FLOW[:200]) and "killed" in read.notes[-1]
    file.write_bytes(whole[:-800])
    assert "it is cut short" in refusal(file)


def test_nothing_to_read_and_damage(file):
    write(file, ("weld", "flow", np.zeros(0), {}))
    assert "holds no series of readings; it has flow (holds no value)" in refusal(file)
    file.write_bytes(b"time,flow\n0,1\n1,2\n")
    assert "is not a readable TDMS file" in refusal(file)


def test_without_the_extra_the_way_out_is_named(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "nptdms", None)
    write(file, ("weld", "flow", FLOW, {}))
    assert "pip install 'quadlib[tdms]'" in refusal(file)
