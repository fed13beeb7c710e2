"""Names among units, kinds of value and milliseconds of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import DamageError
from quadlib.data.logs.names import base_and_unit
from quadlib.data.logs.read import Readings, read_readings


def readings(folder: Path, *lines: str) -> Readings:
    path = folder / "log.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_readings(path, MediaSettings())


def test_names_stand_above_kinds_and_units(tmp_path):
    rows = [f"{1000 * row},{row % 3},{row % 5}" for row in range(30)]
    read = readings(tmp_path, "stamp,a,b", "CAL,CAL,CAL", "ms,m/(s^2),kOhms", *rows)
    assert read.channels == ("a", "b") and read.units == ("m/(s^2)", "kOhms")
    assert read.clock == "stamp" and read.seconds[-1] == 29


def test_units_in_a_row_with_other_words(tmp_path):
    rows = [f"{row},2023/06/14 10:00:{row:02d},{row % 3},{row % 5}" for row in range(30)]
    read = readings(tmp_path, "No.,Date&Time,CH1,CH2", "NO.,Time,V,V", *rows)
    assert read.channels == ("CH1", "CH2") and read.units == ("V", "V")


@pytest.mark.parametrize("unit", ["ms", "msec", "Milliseconds"])
def test_milliseconds_in_a_column_of_their_own_are_the_clock_s(tmp_path, unit):
    moments = np.arange(40) * 0.15
    rows = [
        f"2023/06/14 10:00:{int(t):02d},{round(1000 * (t % 1))},{n % 3}"
        for n, t in enumerate(moments)
    ]
    read = readings(tmp_path, f"Date&Time,{unit},x", *rows)
    assert read.channels == ("x",) and read.seconds == pytest.approx(moments)
    assert read.clock == f"Date&Time and {unit}"


def test_a_channel_called_ms_beside_a_finer_clock_stays_a_channel(tmp_path):
    read = readings(tmp_path, "t,ms", *(f"{row / 10},{row % 3}" for row in range(30)))
    assert read.channels == ("ms",)


@pytest.mark.parametrize("date", ["", "06/14/2023 "])
def test_milliseconds_behind_a_colon(tmp_path, date):
    rows = [f"{date}10:00:0{row // 10}:{row % 10}00,{row % 3}" for row in range(40)]
    read = readings(tmp_path, "Time,x", *rows)
    assert read.seconds - read.seconds[0] == pytest.approx(np.arange(40) / 10)


def test_signs_apart_from_their_numbers(tmp_path):
    rows = [f"{row},{'+-'[row % 2]}   {row}.5" for row in range(20)]
    read = readings(tmp_path, "t,x", *rows)
    assert read.values[:3, 0].tolist() == [0.5, -1.5, 2.5]


def test_a_unit_behind_a_comma():
    assert base_and_unit("Temp, °C") == ("Temp", "°C")
    assert base_and_unit("Ток, А") == ("Ток", "А")
    assert base_and_unit("first, second name") == ("first, second name", "")


def test_two_lines_in_one_above_the_readings_are_damage(tmp_path):
    rows = [f"2023-04-06,10:05:{row:02d}.5,{row * 7 % 31}" for row in range(30)]
    with pytest.raises(DamageError, match="another number of fields.*line 2 has 5"):
        readings(tmp_path, "Date,Time,x", f"{rows[0]},10:05:37.5,11", *rows[1:])
