"""Series that h5py wrote, read back by name and clock, or refused with what is there."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import DamageError
from quadlib.data.logs.read import Readings, read_readings

CLOCK = np.linspace(0, 3, 200) ** 2
FLOW, FORCE = np.sin(CLOCK), 5 + np.cos(CLOCK)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "r.h5"


def readings(path: Path, **settings: object) -> Readings:
    return read_readings(path, MediaSettings(**settings))


def refusal(path: Path, **settings: object) -> str:
    with pytest.raises(DamageError) as error:
        readings(path, **settings)
    return str(error.value)


def test_datasets_of_a_group_over_a_time_dataset_with_units(file):
    with h5py.File(file, "w") as out:
        group = out.create_group("run 7/weld")
        group["time"] = 1000 * CLOCK
        group["time"].attrs["units"] = "ms"
        group["flow"] = FLOW.astype(np.float32)
        group["flow"].attrs["unit"] = "l/min"
        group["force"] = FORCE
        out["operator"] = "A. Smith"
        out["photo"] = np.zeros((4, 5, 3), dtype=np.uint8)
    read = readings(file)
    assert read.channels == ("flow", "force") and read.units == ("l/min", "")
    assert read.clock == "time" and read.seconds == pytest.approx(CLOCK)
    assert read.values == pytest.approx(np.stack([FLOW, FORCE], 1), abs=1e-6)
    assert read.left_out["/photo"] == "of uint8 and shape (4, 5, 3)"
    assert read.left_out["/operator"] == "a single value (A. Smith)"


def test_a_compound_dataset(file):
    rows = np.zeros(200, dtype=[("Time", "f8"), ("flow", "f4"), ("force", "i4"), ("xyz", "f4", 3)])
    rows["Time"], rows["flow"], rows["force"] = CLOCK, FLOW, np.arange(200) ** 2
    with h5py.File(file, "w") as out:
        out["log"] = rows
    read = readings(file)
    assert read.channels == ("flow", "force") and read.seconds == pytest.approx(CLOCK)
    assert read.values[:, 1] == pytest.approx(np.arange(200) ** 2)
    assert read.left_out["/log/xyz"] == "of shape (3,) a reading"


@pytest.mark.parametrize(
    ("name", "value"),
    [("sample_rate", 50.0), ("Sampling Rate [Hz]", 50), ("fs", np.array([50.0])), ("dt", 0.02)],
)
@pytest.mark.parametrize("where", ["file", "group", "dataset", "value"])
def test_a_sample_rate_is_the_clock(file, name, value, where):
    with h5py.File(file, "w") as out:
        out["a/flow"], out["a/force"] = FLOW, FORCE
        out["a/gains"] = [1.0, 2.0, 3.0]
        if where == "value":
            out["a"][name] = value
        for item in {"file": [out], "group": [out["a"]], "value": []}.get(
            where, [out["a/flow"], out["a/force"]]
        ):
            item.attrs[name] = value
    read = readings(file)
    assert read.channels == ("flow", "force") and read.clock == "time"
    assert read.seconds == pytest.approx(np.arange(200) / 50)
    assert read.notes == ("clock: 50 Hz, as the file says",)
    assert read.left_out["gains"] == "of length 3, where the others have 200"


def test_rates_of_their_own_are_brought_to_the_finest(file):
    with h5py.File(file, "w") as out:
        for name, rate in (("flow", 100.0), ("temperature", 10.0)):
            out[name] = np.arange(int(4 * rate)) / rate
            out[name].attrs["sample_rate"] = rate
    read = readings(file)
    assert len(read.seconds) == 400 and read.seconds == pytest.approx(np.arange(400) / 100)
    assert read.values[:391, 1] == pytest.approx(read.seconds[:391])
    assert read.filled == 9 and "temperature (40 readings at 10 Hz) is brought" in read.notes[1]


def test_two_axes_with_names_or_without(file):
    both = np.stack([FLOW, FORCE])
    for values, names, channels in (
        (both, ["flow", "force"], ("flow", "force")),
        (both.T, "flow, force", ("flow", "force")),
        (both.T, None, ("signal 1", "signal 2")),
    ):
        with h5py.File(file, "w") as out:
            out["signal"] = values
            out["signal"].attrs["sample_rate"] = 50
            if names is not None:
                out["signal"].attrs["channel_names"] = names
        read = readings(file)
        assert read.channels == channels
        assert read.values == pytest.approx(both.T)


def test_axes_that_may_be_either_are_asked_for(file):
    with h5py.File(file, "w") as out:
        out["signal"] = np.random.default_rng(0).random((6, 8))
    assert 'set series_axes="channels_steps"' in refusal(file)
    assert len(readings(file, series_axes="channels_steps").channels) == 6
    assert len(readings(file, series_axes="steps_channels").channels) == 8


def test_series_of_several_lengths_are_named(file):
    with h5py.File(file, "w") as out:
        out["flow"], out["force"] = FLOW, FORCE[:77]
    message = refusal(file)
    assert "flow (200), force (77)" in message and 'series_channels=["flow"]' in message
    assert readings(file, series_channels=["flow"]).channels == ("flow",)


def test_two_clocks_that_differ_are_asked_for(file):
    with h5py.File(file, "w") as out:
        out["a/time"], out["a/flow"] = CLOCK, FLOW
        out["b/time"], out["b/force"] = CLOCK + 1, FORCE
    message = refusal(file)
    assert "a/time, b/time" in message and 'series_clock="a/time"' in message
    chosen = readings(file, series_clock="a/time", series_channels=["flow"])
    assert chosen.seconds == pytest.approx(CLOCK) and chosen.channels == ("flow",)
    with h5py.File(file, "a") as out:
        out["b/time"][:] = CLOCK
    read = readings(file)
    assert read.channels == ("flow", "force") and read.left_out["b/time"] == "equals a/time"
    assert read.seconds == pytest.approx(CLOCK)


def test_text_times_and_a_name_that_no_series_has(file):
    stamps = pd.Timestamp("2023-06-14") + pd.to_timedelta(CLOCK.round(5), unit="s")
    with h5py.File(file, "w") as out:
        out["timestamp"] = [str(stamp) for stamp in stamps]
        out["flow"] = FLOW
    assert readings(file).seconds == pytest.approx(CLOCK.round(5))
    assert "did you mean flow?" in refusal(file, series_channels=["flew"])


@pytest.mark.parametrize("rate", [0, -4.0, np.nan, "fast"])
def test_a_rate_that_is_none_is_refused_with_a_way_out(file, rate):
    with h5py.File(file, "w") as out:
        out["flow"] = FLOW
        out.attrs["sample_rate"] = rate
    assert 'series_clock="rows"' in refusal(file)
    assert readings(file, series_clock="rows").clock == ""


def test_what_lies_in_other_files_is_never_opened(file, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["flow"] = FLOW
    (tmp_path / "raw.bin").write_bytes(FLOW.tobytes())
    with h5py.File(file, "w") as out:
        out["force"] = FORCE
        out["link"] = h5py.ExternalLink("other.h5", "flow")
        out.create_dataset("raw", (200,), "f8", external=str(tmp_path / "raw.bin"))
    read = readings(file)
    assert read.channels == ("force",) and read.left_out == {"/raw": "stored in another file"}


def test_what_pandas_wrote_is_refused_with_a_format_that_keeps_names(file):
    with h5py.File(file, "w") as out:
        out["frame/block0_values"] = np.zeros((200, 2))
        out["frame"].attrs["pandas_type"] = "frame"
    assert "DataFrame.to_parquet" in refusal(file)


def test_nothing_to_read_and_damage(file):
    with h5py.File(file, "w") as out:
        out["fs"] = 50.0
    assert "holds no series of readings; it has /fs" in refusal(file)
    with h5py.File(file, "w") as out:
        out["flow"] = FLOW
    file.write_bytes(file.read_bytes()[:-700])
    assert "is not a readable HDF5 file" in refusal(file)


def test_without_the_extra_the_way_out_is_named(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    file.write_bytes(b"\x89HDF")
    assert "pip install 'quadlib[hdf5]'" in refusal(file)
