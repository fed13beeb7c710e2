"""Printed text of a cell as a terminal would leave it: pieces joined, overwritten lines gone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def merge_streams(outputs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The outputs with neighbouring prints of the same stream joined into one, in time linear in
    their length.

    nbclient's and nbconvert's own joining takes time quadratic in the longest line: a million
    characters without a line break stop them for hours.
    """
    merged: list[dict[str, Any]] = []
    pieces: dict[str, list[str]] = {}
    for output in outputs:
        if output["output_type"] != "stream":
            pieces = {}
        elif output["name"] in pieces:
            pieces[output["name"]].append(_whole(output["text"]))
            continue
        else:
            pieces[output["name"]] = [_whole(output["text"])]
            output = {**output, "text": pieces[output["name"]]}
        merged.append(output)
    return [
        output
        if output["output_type"] != "stream"
        else {**output, "text": overwritten("".join(output["text"]))}
        for output in merged
    ]


def overwritten(text: str) -> str:
    """The text with every line as its last carriage return left it, so that a progress bar is one
    line.
    """
    if "\r" not in text:
        return text
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def _whole(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
