"""Lines among and below a log's readings that are none: its header again, a footer, a torn end, and
what a serial monitor writes before each line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from quadlib.data.logs.cells import MISSING, looks_numeric
from quadlib.data.logs.text import find_separator, split_line

FOOTER_LINES = 40
ARROW = re.compile(r"(\d\d:\d\d:\d\d[.,]\d+) -> (.*)")  # Arduino's monitor with time stamps
MOSTLY = 0.8


def without_arrows(lines: Sequence[str]) -> list[str]:
    """Lines of a serial monitor with the time stamp as their first field; others as they are."""
    matches = [ARROW.fullmatch(line) for line in lines]
    texts = [match[2] for match in matches if match]
    if not texts or len(texts) < MOSTLY * sum(map(bool, map(str.strip, lines))):
        return list(lines)
    separator = find_separator(texts[len(texts) // 2 :], numeric=True) or ","
    between = " " if separator == "blanks" else separator
    named = not any(looks_numeric(cell) for cell in split_line(texts[0], separator))
    stamped = [
        f"{match[1]}{between}{match[2]}" if match else line
        for match, line in zip(matches, lines, strict=True)
    ]
    if named:
        first = next(place for place, match in enumerate(matches) if match)
        stamped[first] = f"time{between}{texts[0]}"
    return stamped


def readings_alone(
    lines: Sequence[str],
    body: Sequence[int],
    header: Sequence[int],
    separator: str,
    width: int,
    columns: Sequence[int],
) -> tuple[list[int], list[str]]:
    """The lines of `body` that are readings, and notes on those that are none.

    Args:
        lines: of the file.
        body: numbers of the lines from the first reading on.
        header: numbers of the lines above it that name the columns.
        separator: between fields.
        width: fields of a reading.
        columns: places of those that hold numbers or times.
    """
    again = {lines[number].strip() for number in header}
    kept = [number for number in body if lines[number].strip() not in again]
    notes = []
    if len(kept) < len(body):
        count = len(body) - len(kept)
        notes.append(f"the header stands {count} more time{'s' * (count > 1)}, passed over")

    def is_reading(cells: Sequence[str]) -> bool:
        """Of the full width, with no word where the first number or time has to be."""
        return len(cells) == width and (not columns or looks_numeric(cells[columns[0]]))

    end = len(kept)
    while end and len(kept) - end <= FOOTER_LINES:
        cells = _cells(lines[kept[end - 1]], separator)
        if is_reading(cells) and not _is_blank(cells):
            break
        end -= 1
    footer = kept[end:]
    if not end or len(footer) > FOOTER_LINES:
        return kept, notes
    first = [_cells(lines[number], separator) for number in footer[:1]]
    if len(footer) == 1 and len(first[0]) < width and _are_numbers(first[0]):
        notes.append("the last line is cut, and passed over")
    elif any(_are_numbers(_cells(lines[number], separator)) for number in footer):
        return kept, notes  # numbers of another width are readings that something is wrong with
    elif footer:
        notes.append(
            f"{len(footer)} line{'s' * (len(footer) > 1)} below the readings passed over: "
            f"{lines[footer[0]].strip()[:40]!r}"
        )
    return kept[:end], notes


def _is_blank(cells: Sequence[str]) -> bool:
    return all(cell.casefold() in MISSING for cell in cells)


def _are_numbers(cells: Sequence[str]) -> bool:
    return all(map(looks_numeric, cells)) and not _is_blank(cells)


def _cells(line: str, separator: str) -> list[str]:
    return split_line(line, separator) if separator else [line.strip()]
