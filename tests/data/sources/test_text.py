"""A text table read fast is the table that is read slowly."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from quadlib.data.sources.text import _parse, _plain

CELLS = ["", " ", "a", "0", "001", "NA", "null", "1e5", "True", "-", "ä b", "x/y.jpg", "2023-01-01"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_random_tables_are_the_same_both_ways(separator, line_end):
    random = np.random.default_rng(0)
    for width in (2, 3, 7):
        lines = [separator.join(f" name {place}" for place in range(width))]
        lines += [separator.join(random.choice(CELLS, width)) for _ in range(60)]
        lines += ["", separator * (width - 1), separator.join("z" * width)]
        text = line_end.join(lines) + (line_end if width > 2 else "")
        names, frame, odd = _plain(text, separator)
        slow_names, slow_frame, slow_odd = _parse(Path("t.csv"), text, separator, 0)
        assert (names, odd) == (slow_names, slow_odd)
        assert frame.equals(slow_frame) and (frame.dtypes == slow_frame.dtypes).all()


QUOTED = ["", "a", ' b"', "x,y", "x;y", '"', '""', "5", 'say "hi", then', "=", "ä"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("style", [csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC])
def test_random_quoted_tables_are_the_same_both_ways(separator, line_end, style, monkeypatch):
    monkeypatch.setattr("quadlib.data.sources.text.PIECE", 100)
    random = np.random.default_rng(1)
    rows = [["id", 'na"me', "x"], *random.choice(QUOTED, (60, 3)).tolist()]
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=separator, lineterminator=line_end, quoting=style).writerows(rows)
    names, frame, odd = _plain(file.getvalue(), separator)
    slow_names, slow_frame, slow_odd = _parse(Path("t.csv"), file.getvalue(), separator, 0)
    assert (names, odd) == (slow_names, slow_odd) and frame.equals(slow_frame)


def test_what_is_read_fast_is_what_is_read_slowly_whatever_the_marks():
    random, fast = np.random.default_rng(2), 0
    for _ in range(4000):
        cells = random.choice(['"', '""', "a", ",", "\n", " ", "b"], random.integers(3, 12))
        text = "h,i\n" + "".join(cells) + "\n"
        quick = _plain(text, ",")
        if quick is not None:
            fast += 1
            names, frame, odd = _parse(Path("t.csv"), text, ",", 0)
            assert quick[0] == names and quick[2] == odd and quick[1].equals(frame), text
    assert fast > 50


@pytest.mark.parametrize(
    "text",
    [
        *("a,b", "a\nb\n", "a,b\n1\n", "a,b\r1,2\r3,4\n", 'a,b\n"1\n2",3\n', 'a,b\n"1"x,2\n'),
        *('a,b\n"1,2\n', 'a,b\n1"x,2\n', 'a,b\n="1",2\n', 'a,b\n "1",2\n'),
    ],
)
def test_what_is_not_plain_is_left_to_the_slow_way(text):
    assert _plain(text, ",") is None
