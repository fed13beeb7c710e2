from __future__ import annotations

import numpy as np
import pytest

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.job import Job
from quadlib.data.kinds.series import (
    WELD_CHANNELS,
    WELD_CURRENT,
    crop_window,
    decode,
    name_channels,
    resample,
)
from quadlib.data.logs.read import read_readings

SETTINGS = MediaSettings()


def generic(media, text: str, name: str = "s.csv"):
    path = media.path(name)
    path.write_text(text)
    return path


def arc_window(readings):
    return crop_window(readings, WELD_CURRENT, 5.0)


def test_a_weld_log_of_nine_fields_over_midnight(media):
    readings = read_readings(media.weld_csv("w.csv", rows=80), SETTINGS, WELD_CHANNELS)
    assert readings.channels == WELD_CHANNELS and readings.values.shape == (80, 6)
    assert np.diff(readings.seconds) == pytest.approx(np.full(79, 0.1), abs=1e-6)
    assert readings.repeated_stamps == readings.long_gaps == 0
    assert arc_window(readings) == pytest.approx((0.2 * 7.9, 0.8 * 7.9), abs=0.15)


def test_six_columns_without_a_clock(media):
    rows = "\n".join(
        f"0.1,9,0.05,{150 if 5 <= row < 15 else 0},{row * 0.04},20" for row in range(20)
    )
    readings = read_readings(generic(media, ",".join(WELD_CHANNELS) + "\n" + rows), SETTINGS)
    assert readings.channels == WELD_CHANNELS
    assert arc_window(readings) == pytest.approx((5, 14))


def test_resampling_is_by_time_and_keeps_levels(media):
    path = generic(media, "time_s,a,b\n0,0,5\n1,10,5\n2,20,5\n10,100,5\n")
    readings = read_readings(path, SETTINGS)
    named = name_channels(Job("series", None, (path,), SETTINGS)).facts["channels"]
    assert readings.channels == ("a", "b") == named
    assert readings.long_gaps == 1
    resampled = resample(readings, 11)
    assert resampled.dtype == np.float32 and resampled.shape == (2, 11)
    assert resampled[0] == pytest.approx(np.arange(11) * 10)
    assert resampled[1] == pytest.approx(np.full(11, 5))
    assert resample(readings, 3, (1, 2))[0] == pytest.approx([10, 15, 20])


def test_a_recording_is_cut_only_where_a_channel_is_named_for_it(media):
    path = media.weld_csv("w.csv", rows=80)
    assert decode(Job("series", decode, (path,), SETTINGS)).arc is None
    cut = decode(Job("series", decode, (path,), SETTINGS, crop="Primary Weld Current"))
    assert cut.arc == pytest.approx((0.2 * 7.9, 0.8 * 7.9), abs=0.15)
    assert arc_window(read_readings(generic(media, "a,b\n1,2\n3,4\n"), SETTINGS)) is None
    assert arc_window(read_readings(media.weld_csv("cold.csv", current=0.1), SETTINGS)) is None


def test_readings_of_one_time_stamp_are_averaged_and_counted(media):
    readings = read_readings(generic(media, "time,a\n0,1\n1,2\n1,4\n2,7\n"), SETTINGS)
    assert readings.repeated_stamps == 1 and readings.values[:, 0].tolist() == [1, 3, 7]


def test_texts_beside_the_numbers_are_left_out_by_name(media):
    readings = read_readings(generic(media, "name, a ,note\nx,1,\ny,2.5,\n"), SETTINGS)
    assert readings.channels == ("a",)
    assert readings.left_out == {"name": "text ('x')", "note": "holds no value"}


def test_missing_readings_are_bridged_and_counted(media):
    readings = read_readings(generic(media, "time,a\n0,1\n1,nan\n2,\n3,4\n"), SETTINGS)
    assert readings.filled == 2 and readings.values[:, 0].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("time,a\n0,1\n1,inf\n", "column a: 1 value.*not finite"),
        ("time,a\n0,1\n1,oops\n2,3\n", "'oops'.*line 3"),
        ("time,a\n0,nan\n1,nan\n", "no column of numbers"),
        ("time,a\n0,1\n2,5\n1,3\n", "backwards, 1 time.*line 4"),
        ("time,a\n3,1\n3,3\n", "same time stamp"),
        ("a,b\n1,2\n", "at least 2"),
        ("a,b\n", "at least 2"),
        ("a,a\n1,2\n2,3\n", "column a twice"),
        ("a,b\n1,2\n1,2,3,4\n2,3\n4,5\n", "line 3 has 4"),
        ("name\nx\ny\n", "no column of numbers"),
    ],
)
def test_damage_names_the_file_and_the_place(media, text, match):
    with pytest.raises(DamageError, match=rf"s\.csv: .*{match}"):
        read_readings(generic(media, text), SETTINGS)


def test_a_channel_of_the_others_that_a_log_lacks(media):
    path = generic(media, "Date,Time,Primary Weld Current\n1,2,3\n1,3,4\n")
    with pytest.raises(DamageError, match="no channel Pressure, CO2 Weld Flow, Feed, Wire"):
        read_readings(path, MediaSettings(series_clock="rows"), WELD_CHANNELS)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (",20.5", ",ERR", "Secondary Weld Voltage: 1 value.*not finite.*'ERR'"),
        ("04/06/2023,23:59:56.000", "04/06/2023,23:59:50.000", "backwards"),
        ("23:59:56.000", "noon", "no one form, such as '04/06/2023 noon' at line 12"),
        ("04/06/2023,23:59:56.000", "someday,23:59:56.000", "'someday 23:59:56.000' at line 12"),
    ],
)
def test_damage_of_a_weld_log(media, old, new, match):
    def edit(lines):
        return [line.replace(old, new) if row == 11 else line for row, line in enumerate(lines)]

    with pytest.raises(DamageError, match=match):
        read_readings(media.weld_csv("w.csv", rows=60, edit=edit), SETTINGS)


def test_bytes_that_are_no_text(media):
    for content, match in (
        (b"a,b\n\x01\x02\xff\xfe,1\n", "not text"),
        (b"a,b\n1,2\n" + bytes(9) + b"\n3,4\n", "9 zero bytes"),
    ):
        media.path("b.csv").write_bytes(content)
        with pytest.raises(DamageError, match=match):
            read_readings(media.root / "b.csv", SETTINGS)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("t,x\n0,1\n1,1e300\n2,3\n", "beyond 3.4e38"),
        ('t,x\n0,1\n1,"2\n2,3\n', "cannot be divided into fields"),
    ],
)
def test_what_no_array_can_hold_is_damage(media, text, cause):
    with pytest.raises(DamageError, match=cause):
        decode(Job("series", None, (generic(media, text),), SETTINGS))
