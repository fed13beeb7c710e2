"""Text tables read as they stand: every cell is text, and no word means a missing value."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv

from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.packed import unpack
from quadlib.data.logs.text import NAMES, decode_text, find_separator, named_separator
from quadlib.data.samples import raise_problems, some

LINE = re.compile(r"([^\r\n]*)(?:\r\n|\r|\n|$)")
FORMULA = r'="([^"]*)"'  # by which a spreadsheet keeps a number as text
DECIMAL = r"[+-]?\d*[.,]?\d+(?:[eE][+-]?\d+)?"
PIECE = 1_000_000  # characters that are looked at together
LOOKED_AT = 50  # lines from which the separator is told
# Letters of other alphabets that are printed as a Latin one: Cyrillic, then Greek.
TWIN_LETTERS = str.maketrans(
    "асеһіјкорѕтухмАВСЕНІЈКМОРЅТУХοΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "acehijkopstyxmABCEHIJKMOPSTYXoABEZHIKMNOPTYX",
)


def read_csv(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """All cells of a text table with one header line as text, byte for byte: "NA", "001" and "1e5"
    stay what they are; and notes on what was found and passed over.

    Separator and encoding are found. Column names lose surrounding blanks; empty lines, comments
    above and columns without a name or a value are passed over. Raises TableError that lists rows
    of another length than the header, repeated and empty column names, and bytes that are no text.
    """
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content = unpack(path, content)
        text, encoding = decode_text(path, content)
    except (DamageError, OSError, EOFError) as error:
        what = error.what if isinstance(error, DamageError) else error
        raise_problems(str(path), [f"it is not a readable CSV ({what}); save it as UTF-8 text"])
        raise
    above, separator = 0, ""
    while (line := LINE.match(text)) and line[0]:
        if line[1].strip() and not line[1].startswith("#") and not named_separator(line[1]):
            break
        separator = separator or named_separator(line[1])
        text, above = text[line.end() :], above + 1
    if not text:
        raise_problems(str(path), ["it is empty; write one header line and a row a recording"])
    separator = separator or _looked_for(text) or ","
    notes = [] if separator == "," else [f"separator: {NAMES.get(separator, separator)}"]
    notes += [] if encoding == "utf-8" else [f"encoding: {encoding}"]
    names, frame, odd = _plain(text, separator) or _parse(path, text, separator, above)
    if _are_values(names):
        raise_problems(
            str(path),
            [
                f"its first line looks like values and not like names ({some(names)}); write a "
                "line with the names of the columns above it"
            ],
        )
    if parts := _separated_by_blanks(names, frame):
        raise_problems(
            str(path),
            [
                f"every line is {parts} words or numbers with blanks between them, and no other "
                f"separator ({some(names)}); save it with commas, under a line with the names of "
                "the columns"
            ],
        )
    problems = [
        f"column {name!r} stands {names.count(name)} times (twice or more); rename or remove one"
        for name in dict.fromkeys(names)
        if name and names.count(name) > 1
    ]
    if odd:
        problems.append(
            f"the header has {len(names)} cells, but {some(odd)}; quote cells that hold the "
            f"separator ({NAMES.get(separator, separator)})"
        )
    raise_problems(str(path), problems)
    if '="' in text:
        written, frame = frame, frame.replace(f"^{FORMULA}$", r"\1", regex=True)
        if not frame.equals(written):
            notes.append('cells of the form ="0001" are read as the text in their quotes')
    nameless = [place for place, name in enumerate(names) if not name]
    for place in nameless:
        if (frame[place] != "").any():
            notes.append("a column without a name is passed over")
    frame = frame.drop(columns=nameless)
    frame.columns = pd.Index([name for name in names if name])
    return frame, notes


def _are_values(names: list[str]) -> bool:
    """Whether the first line holds readings: mostly numbers, and not each of them a whole one of
    its own, as where columns are numbered.
    """
    numbers = [name for name in names if re.fullmatch(DECIMAL, name)]
    whole = {name for name in numbers if name.isdecimal()}
    return len(numbers) > len(names) / 2 and len(whole) < len(numbers)


def _separated_by_blanks(names: list[str], frame: pd.DataFrame) -> int:
    """How many words each line of a table of one column has, 0 where they differ or are one."""
    parts = {len(cell.split()) for cell in (*names, *(frame[0] if len(names) == 1 else ()))}
    return parts.pop() if len(names) == 1 and len(parts) == 1 and parts != {1} else 0


def _looked_for(text: str) -> str:
    """The separator of the first lines; an empty one counts for nothing."""
    lines = [line for line in re.split(r"\r\n|\r|\n", text[:100_000])[:LOOKED_AT] if line.strip()]
    return find_separator(lines, numeric=False)


Parsed = tuple[list[str], pd.DataFrame, list[str]]


def _plain(text: str, separator: str) -> Parsed | None:
    """What `_parse` gives, many times faster, of a table whose lines all have as many cells as its
    header, and whose quotation marks stand around whole cells of one line; None of any other.
    """
    head, line_end, _ = text.partition("\n")
    quoted = '"' in text
    if text.count("\r") != text.count("\r\n") or (quoted and not _well_quoted(text, separator)):
        return None
    names = [name.strip() for name in next(csv.reader([head.strip("\r")], delimiter=separator), [])]
    width = len(names)
    if not line_end or width < 2:
        return None
    places = list(map(str, range(width)))
    try:
        table = pa_csv.read_csv(
            io.BytesIO(text.encode()),
            pa_csv.ReadOptions(column_names=places, skip_rows=1, use_threads=False),
            pa_csv.ParseOptions(delimiter=separator, quote_char=quoted and '"'),
            pa_csv.ConvertOptions(
                column_types=dict.fromkeys(places, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        return None
    frame = pd.DataFrame({place: table[name].to_pandas() for place, name in enumerate(places)})
    frame = frame.astype(str)
    filled = (frame[frame.columns[0]] != "") | (frame[frame.columns[1:]] != "").any(axis=1)
    return names, frame[filled].reset_index(drop=True), []


def _well_quoted(text: str, separator: str) -> bool:
    """Whether every quotation mark opens a cell, closes it, or is doubled within it, and none hides
    the end of a line.
    """
    place = 0
    while place < len(text):
        end = text.find("\n", place + PIECE) + 1 or len(text)
        parts = text[place:end].split('"')
        between = set(parts[2:-1:2]) - {""}
        after, before = between | {parts[-1]}, between | {parts[0]}
        if len(parts) > 1 and (
            len(parts) % 2 == 0
            or any("\n" in cell or "\r" in cell for cell in islice(parts, 1, None, 2))
            or any(cell[:1] not in (separator, "\r", "\n", "") for cell in after)
            or any(cell[-1:] not in (separator, "\n", "") for cell in before)
        ):
            return False
        place = end
    return True


def _parse(path: Path, text: str, separator: str, above: int) -> Parsed:
    """Names, cells, and the lines whose number of cells is another."""
    rows: list[list[str]] = []
    odd: list[str] = []
    names: list[str] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        for cells in reader:
            if len(cells) == len(names):
                if any(cells):
                    rows.append(cells)
            elif any(cells):
                odd.append(f"line {reader.line_num + above} has {len(cells)}")
    except csv.Error as error:
        raise_problems(
            str(path), [f"it is not a readable CSV ({error}); save it with closed quotes"]
        )
    return names, pd.DataFrame(rows, columns=range(len(names)), dtype=str), odd


def twins(column: str, values: Iterable[str], *, fold_case: bool) -> list[str]:
    """Names that a reader would take for one, a line each: they differ only in blanks, Unicode
    form, letters of another alphabet or, where asked, case.
    """
    counts = pd.Series(values, dtype=str).value_counts(sort=False)
    kin: dict[str, list[str]] = {}
    for name in counts.index:
        key = " ".join(unicodedata.normalize("NFC", name).translate(TWIN_LETTERS).split())
        kin.setdefault(key.casefold() if fold_case else key, []).append(name)
    return [
        f"{column} "
        f"{' and '.join(f'{ascii(name)} ({counts[name]} rows)' for name in sorted(names))} look "
        "alike but differ in blanks, case, alphabet or Unicode form; write them alike, or name "
        "them clearly apart"
        for names in kin.values()
        if len(names) > 1
    ]
