from __future__ import annotations

import numpy as np
import pytest

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.job import Job
from quadlib.data.kinds.series import (
    WELD_CHANNELS,
    arc_window,
    channel_names,
    decode,
    read_series,
    resample_series,
)


def generic(media, text: str, name: str = "s.csv"):
    path = media.path(name)
    path.write_text(text)
    return path


def test_a_weld_log_of_nine_fields_over_midnight(media):
    series = read_series(media.weld_csv("w.csv", rows=80))
    assert series.channels == WELD_CHANNELS and series.values.shape == (80, 6)
    assert np.diff(series.seconds) == pytest.approx(np.full(79, 0.1), abs=1e-6)
    assert series.repeated_stamps == series.long_gaps == 0
    assert arc_window(series) == pytest.approx((0.2 * 7.9, 0.8 * 7.9), abs=0.16)


def test_six_columns_without_a_clock(media):
    rows = "\n".join(
        f"0.1,9,0.05,{150 if 5 <= row < 15 else 0},{row * 0.04},20" for row in range(20)
    )
    series = read_series(generic(media, ",".join(WELD_CHANNELS) + "\n" + rows))
    assert series.channels == WELD_CHANNELS and arc_window(series) == pytest.approx((5, 14))


def test_resampling_is_by_time_and_keeps_levels(media):
    path = generic(media, "time_s,a,b\n0,0,5\n1,10,5\n2,20,5\n10,100,5\n")
    series = read_series(path)
    assert series.channels == ("a", "b") == channel_names(path) and series.long_gaps == 1
    resampled = resample_series(series, 11)
    assert resampled.dtype == np.float32 and resampled.shape == (2, 11)
    assert resampled[0] == pytest.approx(np.arange(11) * 10) and resampled[1] == pytest.approx(
        np.full(11, 5)
    )
    assert resample_series(series, 3, (1.0, 2.0))[0] == pytest.approx([10, 15, 20])


def test_other_files_are_cut_to_the_arc_up_to_half_a_reading_around_it(media):
    job = Job("series", None, (media.weld_csv("w.csv", rows=50),), MediaSettings())
    assert decode(job).arc == pytest.approx((0.95, 3.95), abs=0.01)
    rows = "\n".join(f"0.1,9,0.05,{150 * (row > 5)},{row},20" for row in range(20))
    unclocked = generic(media, ",".join(WELD_CHANNELS) + "\n" + rows)
    assert decode(Job("series", None, (unclocked,), MediaSettings())).arc is None


def test_without_a_current_there_is_no_arc(media):
    assert arc_window(read_series(generic(media, "a,b\n1,2\n3,4\n"))) is None
    assert arc_window(read_series(media.weld_csv("cold.csv", current=0.1))) is None


def test_readings_of_one_time_stamp_are_averaged_and_counted(media):
    series = read_series(generic(media, "time,a\n0,1\n1,2\n1,4\n2,7\n"))
    assert series.repeated_stamps == 1 and series.values[:, 0].tolist() == [1, 3, 7]


def test_texts_beside_the_numbers_are_no_channels(media):
    series = read_series(generic(media, "name, a ,note\nx,1,\ny,2,\n"))
    assert series.channels == ("a",)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("time,a\n0,1\n1,nan\n2,3\n", "1 value.* of a are not finite.*'nan' at line 3"),
        ("time,a\n0,1\n1,inf\n", "not finite"),
        ("time,a\n0,1\n1,\n", "not finite"),
        ("time,a\n0,1\n1,oops\n", "'oops' at line 3"),
        ("time,a\n0,nan\n1,nan\n", "2 value"),
        ("time,a\n0,1\n2,2\n1,3\n", "backwards, 1 time.*line 4"),
        ("time,a\n0,1\nnan,3\n", "time are not finite"),
        ("time,a\n3,1\n3,3\n", "same time stamp"),
        ("a,b\n1,2\n", "at least 2"),
        ("a,b\n", "no column of numbers"),
        ("a,a\n1,2\n2,3\n", "column a twice"),
        ("a,b\n1,2\n1,2,3,4\n", "not a readable CSV"),
        ("name\nx\ny\n", "no column of numbers"),
        ("Date,Time,Primary Weld Current\n1,2,3\n", "no column Pressure, CO2"),
    ],
)
def test_damage_names_the_file_and_the_place(media, text, match):
    with pytest.raises(DamageError, match=rf"s\.csv: .*{match}"):
        read_series(generic(media, text))


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (",20.5", ",NaN", "Secondary Weld Voltage are not finite"),
        ("04/06/2023,23:59:56.000", "04/06/2023,23:59:50.000", "backwards"),
        ("23:59:56.000", "noon", "not like 10:05:23"),
        ("04/06/2023,23:59:56.000", "someday,23:59:56.000", "date 'someday'"),
    ],
)
def test_damage_of_a_weld_log(media, old, new, match):
    def edit(lines):
        return [line.replace(old, new) if row == 11 else line for row, line in enumerate(lines)]

    with pytest.raises(DamageError, match=match):
        read_series(media.weld_csv("w.csv", edit=edit))


def test_bytes_that_are_no_text(media):
    for content, match in (
        (b"a,b\n\xff\xfe,1\n", "not a readable CSV"),
        (b"a,b\n1,2\n" + bytes(9) + b"\n3,4\n", "9 zero bytes"),
    ):
        media.path("b.csv").write_bytes(content)
        with pytest.raises(DamageError, match=match):
            read_series(media.root / "b.csv")
