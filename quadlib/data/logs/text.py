"""Bytes of a text file to lines and fields: encoding and separator are found by looking."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from quadlib.data.decoding.damage import DamageError
from quadlib.data.logs.cells import looks_numeric
from quadlib.data.logs.encodings import foreign_word

BLANKS = "blanks"  # one or more blanks or tabs between two fields
SEPARATORS = (";", "\t", ",", "|")
NAMES = {";": "semicolon", "\t": "tab", ",": "comma", "|": "bar", BLANKS: "blanks"}
CONTROL = re.compile("[\x00-\x08\x0e-\x19\x1b-\x1f]")
WORD = re.compile(r'"([^"]*)"|(\S+)')
SEPARATOR_LINE = re.compile(r"\"?sep=(.)\"?\s*", re.IGNORECASE)
LOOKED_AT = 200  # lines from which the separator is told


def decode_text(path: Path, content: bytes, asked: str = "") -> tuple[str, str]:
    """The text of a file and its encoding: the one that is asked for, or UTF-8, UTF-16, else
    Windows-1252. Raises DamageError for bytes that are none of them.
    """
    if asked:
        encoding = asked
    elif content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif (even := content[:400:2].count(0)) + (odd := content[1:400:2].count(0)) > len(
        content[:400]
    ) // 5 and 0 in (even, odd):
        encoding = "utf-16-be" if even else "utf-16-le"
    elif b"\0" in content and not CONTROL.search(
        content.replace(b"\0", b"").decode("latin-1")
    ):  # a page lost by the disk, or a logger that lost its power
        raise DamageError(path, f"holds {content.count(0)} zero bytes (NUL)")
    else:
        encoding = "utf-8-sig"
    try:
        text = content.decode(encoding)
    except (UnicodeError, LookupError):
        if asked:
            raise DamageError(
                path, f"is not text in {asked}", "set another series_encoding"
            ) from None
        encoding = "cp1252"
        text = content.decode(encoding, errors="replace")
    if CONTROL.search(text):
        raise DamageError(
            path,
            "is not text but another kind of file",
            "give the file its true ending, or export it again as text",
        )
    foreign = "\ufffd" if text.count("\ufffd") > len(text) // 1000 else foreign_word(text)
    if encoding == "cp1252" and not asked and foreign:
        raise DamageError(
            path,
            f"is neither UTF-8 nor Western text: as Windows-1252 it would hold {foreign!r}",
            'save it as UTF-8, or say what a log is: series_encoding="cp932" and the like',
        )
    return text, "utf-8" if encoding == "utf-8-sig" else encoding


def split_line(line: str, separator: str) -> list[str]:
    """The fields of one line, without blanks around them; quotes hold fields together."""
    if separator == BLANKS:
        return [quoted or word for quoted, word in WORD.findall(line)]
    if '"' not in line:
        return [cell.strip() for cell in line.split(separator)]
    return [
        cell.strip()
        for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True))
    ]


def named_separator(line: str) -> str:
    """The separator that a spreadsheet's first line, sep=;, names; else ""."""
    match = SEPARATOR_LINE.fullmatch(line)
    return match[1] if match else ""


def find_separator(lines: Sequence[str], *, numeric: bool) -> str:
    """What stands between the fields of these lines, "" where they have one field each.

    The separator by which most lines have the same number of fields, of several the one that
    leaves more numbers (`numeric`, a log) or more fields (a table).
    """
    best, best_score = "", (0.0, 0.0)
    for separator in (*SEPARATORS, BLANKS) if numeric else SEPARATORS:
        rows = [split_line(line, separator) for line in lines]
        width, count = Counter(map(len, rows)).most_common(1)[0]
        if width < 2:
            continue
        agreed = count / len(rows)
        if numeric:
            cells = [cell for row in rows if len(row) == width for cell in row]
            worth = sum(map(looks_numeric, cells)) / len(cells)
        else:
            worth = float(width)
        score = (float(agreed > 0.8) if numeric else agreed, worth)
        if score > best_score:
            best, best_score = separator, score
    return best


def field_counts(lines: Sequence[str], separator: str) -> list[int]:
    """How many fields each line has."""
    if separator in ("", BLANKS) or any('"' in line for line in lines):
        return [len(split_line(line, separator)) if separator else 1 for line in lines]
    return [line.count(separator) + 1 for line in lines]
