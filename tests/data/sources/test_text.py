"""A text table read fast is the table that is read slowly."""

from __future__ import annotations

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


@pytest.mark.parametrize("text", ["a,b", "a\nb\n", 'a,b\n"1",2\n', "a,b\n1\n", "a,b\r1,2\r3,4\n"])
def test_what_is_not_plain_is_left_to_the_slow_way(text):
    assert _plain(text, ",") is None
