"""Text tables read as they stand: every cell is text, and no word means a missing value."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from quadlib.data.samples import raise_problems, some


def read_csv(path: Path) -> pd.DataFrame:
    """All cells of a CSV with one header line as text, byte for byte: "NA", "001" and "1e5" stay
    what they are.

    Column names lose surrounding blanks; empty lines are passed over. Raises TableError that lists
    rows of another length than the header, repeated and empty column names, and text that is not
    UTF-8.
    """
    rows, odd, names = [], [], []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            names = [name.strip() for name in next(reader, [])]
            for cells in reader:
                if cells and len(cells) != len(names):
                    odd.append(f"line {reader.line_num} has {len(cells)}")
                elif cells:
                    rows.append(cells)
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise_problems(
            str(path),
            [
                f"it is not a readable CSV ({error}); save it as UTF-8 text with commas and closed "
                "quotes"
            ],
        )
    problems = [
        f"column {name!r} stands {names.count(name)} times; rename or remove one"
        for name in dict.fromkeys(names)
        if names.count(name) > 1 or not name
    ]
    if odd:
        problems.append(
            f"the header has {len(names)} cells, but {some(odd)}; quote cells that hold commas"
        )
    raise_problems(str(path), problems)
    return pd.DataFrame(rows, columns=names, dtype=str)


def twins(column: str, values: Sequence[str], *, fold_case: bool) -> list[str]:
    """Names that a reader would take for one, a line each: they differ only in blanks, Unicode form
    or, where asked, case.
    """
    counts = pd.Series(values, dtype=str).value_counts(sort=False)
    kin: dict[str, list[str]] = {}
    for name in counts.index:
        key = " ".join(unicodedata.normalize("NFC", name).split())
        kin.setdefault(key.casefold() if fold_case else key, []).append(name)
    return [
        f"{column} "
        f"{' and '.join(f'{ascii(name)} ({counts[name]} rows)' for name in sorted(names))} look "
        "alike but differ in blanks, case or Unicode form; write them alike, or name them clearly "
        "apart"
        for names in kin.values()
        if len(names) > 1
    ]
