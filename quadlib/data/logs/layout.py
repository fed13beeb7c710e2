"""Where a log's names, units and readings stand: metadata, comments and unit rows are found by
looking, and what was passed over is said.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from quadlib.data.decoding.damage import DamageError
from quadlib.data.logs.cells import looks_numeric
from quadlib.data.logs.edges import readings_alone, without_arrows
from quadlib.data.logs.names import clock_of, is_unit
from quadlib.data.logs.text import (
    BLANKS,
    LOOKED_AT,
    NAMES,
    decode_text,
    field_counts,
    find_separator,
    named_separator,
    split_line,
)

COMMENT = ("#", "%", "//")
HEADER_ROWS = 8
EPOCH = (9.4e8, 4.1e9)  # seconds since 1970: the years 2000 to 2100
LEAST_ZEROS = 4  # bytes; UTF-16 may end in one
MARKS = 2  # lines of one field between names and readings: "DATA", "[Data]"
FEW_READINGS = 3  # so many full rows above a row of words are no metadata
SHARE_OF_NUMBERS = 0.8
EXPORT = "export it again with one header line and rows of the same columns"


@dataclass(frozen=True)
class TextLog:
    """A log's cells as text: names and units of its columns ("" where none), the cells, the line of
    every row, counted from 1, and what was passed over.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    cells: pd.DataFrame
    lines: np.ndarray
    notes: tuple[str, ...]


def read_log(
    path: Path, content: bytes, *, separator: str = "", skip_rows: int = 0, encoding: str = ""
) -> TextLog:
    """The cells of a text log, under the names of its columns.

    Args:
        path: for messages.
        content: bytes of the file.
        separator: between fields; "" finds it.
        skip_rows: lines to pass over at the start.
        encoding: of the bytes; "" finds it.

    Raises:
        DamageError: no rows of one width, or lines of another width among them.
    """
    whole = content.rstrip(b"\0\r\n")  # what a logger leaves that lost its power
    zeros = content.count(0, len(whole))
    if zeros < LEAST_ZEROS:
        whole, zeros = content, 0
    text, encoding = decode_text(path, whole, encoding)
    lines = without_arrows(re.split(r"\r\n|\r|\n", text))
    if not text.strip():
        raise DamageError(path, "holds no line of text", EXPORT)
    numbers = [
        number for number in range(skip_rows, len(lines)) if lines[number].strip(" \t,;")
    ]  # of the lines that hold something
    notes = [] if encoding == "utf-8" else [f"encoding {encoding}"]
    notes += [f"{zeros} zero bytes (NUL) at its end passed over"] if zeros else []
    if numbers and (named := named_separator(lines[numbers[0]])):
        separator, numbers = separator or named, numbers[1:]
    comments = []
    while numbers and lines[numbers[0]].lstrip().startswith(COMMENT):
        comments.append(numbers.pop(0))
    if not numbers and comments:
        numbers, comments = comments, []
    looked = [lines[number] for number in numbers[:LOOKED_AT]]
    looked = looked[len(looked) // 2 :] or looked
    if not looked:
        raise DamageError(path, f"holds no line after the first {skip_rows}", EXPORT)
    found = find_separator(looked, numeric=True)
    if separator and separator != found and not any(separator in line for line in looked):
        raise DamageError(
            path,
            f"has no {NAMES.get(separator, separator)!s} {separator!r} between its fields, which "
            f"series_separator={separator!r} asks for",
            f"leave series_separator empty; {NAMES.get(found, 'no separator')} is what it has",
        )
    separator = separator or found
    rows = [split_line(line, separator) if separator else [line.strip()] for line in looked]
    width = Counter(map(len, rows)).most_common(1)[0][0]
    columns = _number_columns(rows, width)
    start = _first_reading(lines, numbers, separator, width, columns)
    last_filled = any(row[-1] for row in rows if len(row) == width)
    names, units, above = _header(
        path, lines, numbers[:start], comments, separator, width, last_filled
    )
    body, passed_below = readings_alone(
        lines, numbers[start:], numbers[:start][-above:] if above else [], separator, width, columns
    )
    passed = len(numbers[:start]) + len(comments) - above
    if passed:
        notes.append(f"{passed} line{'s' * (passed > 1)} above the header passed over")
    if not names:
        _check_start(path, lines, body, separator)
        notes.append("no header: its channels are numbered")
        names = tuple(f"column {place + 1}" for place in range(width))
    if surplus := [name for name in names[width:] if name]:
        notes.append(f"no field below the name{'s' * (len(surplus) > 1)} {', '.join(surplus)}")
    notes += passed_below
    return TextLog(
        names[:width],
        units[:width],
        _cells(path, lines, body, separator, width),
        np.array(body, dtype=np.int64) + 1,
        tuple(notes),
    )


def _number_columns(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Places of the fields that most of some rows fill with numbers or times."""
    full = [row for row in rows if len(row) == width]
    return [
        place
        for place in range(width)
        if sum(looks_numeric(row[place]) for row in full) >= SHARE_OF_NUMBERS * len(full)
        and any(row[place] for row in full)
    ]


def _first_reading(
    lines: Sequence[str],
    numbers: Sequence[int],
    separator: str,
    width: int,
    columns: Sequence[int],
) -> int:
    """Place among `numbers` of the first line that holds numbers where the later lines do."""
    start, complete = -1, 0
    for place, number in enumerate(numbers[:LOOKED_AT]):
        cells = split_line(lines[number], separator) if separator else [lines[number].strip()]
        if len(cells) != width:
            continue
        if not columns:
            return min(1, len(numbers))
        alike = sum(looks_numeric(cells[column]) and bool(cells[column]) for column in columns)
        if not alike and complete < FEW_READINGS:  # names: numbers above them were metadata
            start = -1
        elif alike * 2 >= len(columns):  # a reading, though a cell of it may be an error word
            start = place if start < 0 else start
            complete += alike == len(columns)
    if start >= 0:
        return start
    return min(1, len(numbers))  # a header alone


def _header(
    path: Path,
    lines: Sequence[str],
    above: Sequence[int],
    comments: Sequence[int],
    separator: str,
    width: int,
    last_filled: bool,
) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """Names, units, and how many lines they take of those above the readings. Raises DamageError
    for names of another number than the readings have fields.
    """
    rows: list[list[str]] = []
    marks = 0
    for number in reversed(above[-HEADER_ROWS:]):
        cells = split_line(lines[number], separator) if separator else [lines[number].strip()]
        if not rows and len(cells) == 1 < width - 1 and marks < MARKS:
            marks += 1
            continue
        cells = _without_tag(cells, width) if marks else cells
        if len(cells) == width - 1 and last_filled and not any(map(looks_numeric, cells)):
            cells = ["", *cells]  # R does not name the column of its row names
        if not rows and len(cells) > width and 2 * sum(map(looks_numeric, cells)) > len(cells):
            raise _of_other_width(path, lines[number], number, len(cells), width, 1)
        if not _fits(cells, width):
            _check_names(path, cells, number, width, rows)
            break
        rows.insert(0, cells)
    if not rows and comments:  # numpy.savetxt writes its header as a comment
        cells = split_line(lines[comments[-1]].lstrip(" #%/"), separator) if separator else []
        if _fits(cells, width) and not all(map(looks_numeric, cells)):
            return _padded(cells, width), ("",) * width, 1
    if not rows:
        return (), ("",) * width, 0
    units = next((row for row in rows[1:] if all(map(is_unit, row)) and any(row)), None)
    named = [row for row in rows if row is not units]
    clocked = [row for row in named if any(clock_of(cell) for cell in row)]
    names = max(clocked, key=_names_all) if clocked else named[-1]
    if _repeats(names):  # units, or RAW and CAL, below the names
        names = max(named, key=_names_all)
    taken = len(rows) - rows.index(names) + marks
    full = list(_padded(names, width))
    for row in named[named.index(names) + 1 :]:  # "Date,Time,1,2" above ",,pressure,flow"
        units = units or [cell if is_unit(cell) else "" for cell in row]
        for place, cell in enumerate(row[: len(full)]):
            if clocked and looks_numeric(full[place]) and not looks_numeric(cell):
                full[place] = cell
    return tuple(full), tuple(_plain(unit) for unit in _padded(units or [], width)), taken


def _check_start(path: Path, lines: Sequence[str], body: Sequence[int], separator: str) -> None:
    """A wearable writes its start since 1970 and its rate above readings without names."""
    first, later = (
        pd.to_numeric(pd.Series(split_line(lines[number], separator or ",")), errors="coerce")
        for number in (body[0], body[-1])
    )
    if len(body) > 2 and first.between(*EPOCH).all() and not later.between(*EPOCH).any():
        raise DamageError(
            path,
            f"begins with {lines[body[0]].strip()[:40]!r} in line {body[0] + 1}, a time since 1970 "
            "that is no reading",
            f"pass over it, and the rate below it: series_skip_rows={body[0] + 2}",
        )


def _names_all(row: Sequence[str]) -> tuple[int, int]:
    """A row of names fills its fields, with words, and with others each; of metadata and units,
    none need be so.
    """
    return len({cell for cell in row if cell}), -sum(looks_numeric(cell) for cell in row if cell)


def _repeats(row: Sequence[str]) -> bool:
    cells = [cell for cell in row if cell]
    return len(set(cells)) < len(cells)


def _without_tag(cells: Sequence[str], width: int) -> list[str]:
    """A row of names without the word that some loggers write before it: SIGNAL, TIME, CH1."""
    cells = list(cells)
    while len(cells) > width and not cells[-1]:
        cells.pop()
    tagged = len(cells) == width + 1 and not clock_of(cells[0]) and clock_of(cells[1])
    return cells[1:] if tagged else cells


def _check_names(
    path: Path, cells: Sequence[str], number: int, width: int, rows: Sequence[Sequence[str]]
) -> None:
    """Names that are fewer than the fields below them leave open which is which."""
    words = [cell for cell in cells if cell and not looks_numeric(cell)]
    if rows or len(words) < 2 or len(words) < len(cells) or not any(map(clock_of, words)):
        return
    raise DamageError(
        path,
        f"names {len(cells)} fields in line {number + 1}, but most lines below have {width} fields",
        "say what stands between the fields: series_separator, series_decimal; or export it again "
        "with one name a column",
    )


def _fits(cells: Sequence[str], width: int) -> bool:
    """Whether these cells can name `width` columns: the last may be nameless, or R's first."""
    return len(cells) >= width - 1 and sum(map(bool, cells)) >= min(width, 2) - 1 and bool(cells)


def _padded(cells: Sequence[str], width: int) -> tuple[str, ...]:
    return (*cells, *[""] * (width - len(cells)))


def _plain(unit: str) -> str:
    return re.sub(r"^[\[(](.*)[\])]$", r"\1", unit.strip())


def _of_other_width(
    path: Path, line: str, number: int, fields: int, width: int, count: int
) -> DamageError:
    return DamageError(
        path,
        f"{count} line(s) have another number of fields than the {width} of the others: "
        f"line {number + 1} has {fields} ({line[:40]!r})",
        "complete or remove these lines, or say what stands between the fields: "
        "series_separator, series_decimal",
    )


def _cells(
    path: Path, lines: Sequence[str], body: Sequence[int], separator: str, width: int
) -> pd.DataFrame:
    """All cells as text; raises DamageError for lines of another width than the others."""
    rows = [lines[number] for number in body]
    counts = np.array(field_counts(rows, separator))
    odd = np.flatnonzero(counts != width)
    if len(odd):
        first = odd[0]
        raise _of_other_width(path, rows[first], body[first], counts[first], width, len(odd))
    try:
        frame: pd.DataFrame = pd.read_csv(
            io.StringIO("\n".join(rows)),
            sep=r"\s+" if separator == BLANKS else (separator or "\x1f"),
            header=None,
            names=list(range(width)),
            index_col=False,
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
        )
    except pd.errors.ParserError as error:
        raise DamageError(
            path,
            f"cannot be divided into fields ({str(error).removeprefix('Error tokenizing data. ')})",
            "close its quotation marks, or take the file again from the original",
        ) from None
    return frame.fillna("")
