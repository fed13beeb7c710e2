"""Prints are joined as a terminal would show them, and long lines cost no more than short ones."""

from __future__ import annotations

import pytest

from quadlib.reports.streams import merge_streams, overwritten


def stream(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def test_neighbouring_prints_become_one_until_something_else_is_shown():
    picture = {"output_type": "display_data", "data": {}}
    outputs = [
        stream("a\n"),
        stream(["b\n", "c"]),
        stream("oh\n", "stderr"),
        stream("d\n"),
        picture,
        stream("e\n"),
    ]
    assert merge_streams(outputs) == [
        stream("a\nb\ncd\n"),
        stream("oh\n", "stderr"),
        picture,
        stream("e\n"),
    ]
    assert outputs[0] == stream("a\n")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a\rb\rc\nd", "c\nd"),
        ("windows\r\nlines\r\n", "windows\nlines\n"),
        ("10 %\r100 %\r", "100 %"),
        ("", ""),
        ("plain", "plain"),
    ],
)
def test_overwritten_lines_are_gone(text, left):
    assert overwritten(text) == left


def test_a_line_of_ten_million_characters_is_no_trouble():
    text = "x" * 10_000_000
    assert merge_streams([stream(text), stream(text + "\r."), stream("\n")]) == [stream(".\n")]
