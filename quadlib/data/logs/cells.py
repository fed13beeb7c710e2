"""Cells that look like numbers, read where the reading is certain and refused where it is not."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

MISSING = frozenset(
    [
        "",
        "nan",
        "na",
        "n/a",
        "<na>",
        "#n/a",
        "#na",
        "null",
        "none",
        "nil",
        "nat",
        "-",
        "--",
        "---",
        "#nv",
        "n.a.",
        "k.a.",
        "?",
        "missing",
    ]
)
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
LIKE = re.compile(
    r"[+\-\u2212]?(?:0[xX][0-9a-fA-F]+|(?:\d[\d.,'\u00a0\u202f]*|[.,]\d+)(?:[eEdD][+-]?\d+)?)"
    r"(?:\s*[^\d\s,;.][^\d,;]{0,9})?"
    r"|[+-]?inf(?:inity)?"
    r"|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[T ]+\d{1,2}:\d\d(?::\d\d)?.{0,16})?"
    r"|\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d+)?(?: ?[AP]M)?",
    re.IGNORECASE,
)
COMMA_DECIMAL = r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?"
SURE_COMMA_DECIMAL = (
    r"[+-]?(?:0,\d+|\d{4,},\d+|\d*,(?:\d{1,2}|\d{4,})|\d+,\d+[eE][+-]?\d+|\d{1,3}(?:\.\d{3})+,\d+)"
)
SURE_COMMA_THOUSANDS = r"[+-]?\d{1,3}(?:(?:,\d{3})+\.\d+|(?:,\d{3}){2,})"
POINT_DECIMAL = r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?"
EITHER = r"[+-]?[1-9]\d{0,2},\d{3}"
UNIT = re.compile(rf"({NUMBER})\s*([^\d\s.,+\-][^\d]*)")


@dataclass(frozen=True)
class Numbers:
    """A column as numbers: float64 values, NaN where missing; the unit that every cell names; and
    where it is no column of numbers, `text`, or what is wrong with it and in which row.
    """

    values: np.ndarray
    unit: str = ""
    text: bool = False
    problem: str = ""
    row: int = -1


def looks_numeric(cell: str) -> bool:
    """Whether a cell may be a number, a time, or stand for a missing one."""
    return cell.casefold() in MISSING or LIKE.fullmatch(cell) is not None


def is_missing(column: pd.Series) -> pd.Series:
    """Which cells hold a word for a missing value."""
    return column.str.strip().str.casefold().isin(MISSING)


def find_decimal(columns: list[pd.Series]) -> str:
    """The decimal sign of a file, "." or ","; "?" where its commas may be either."""
    either = False
    point = False
    for column in columns:
        cells = column.str.strip().str.replace("\u2212", "-")
        commas = cells[cells.str.contains(",", regex=False)]
        # a column of times or texts says nothing about numbers
        numbers = commas.str.fullmatch(rf"{COMMA_DECIMAL}|[+-]?[\d.,]+(?:\s*[^\d\s.,]+)?")
        commas = commas[numbers].str.extract(r"^([+-]?[\d.,]+(?:[eE][+-]?\d+)?)")[0]
        if commas.str.fullmatch(SURE_COMMA_DECIMAL).any():
            return ","
        if commas.str.fullmatch(SURE_COMMA_THOUSANDS).any():
            point = True
        either = either or bool(commas.str.fullmatch(EITHER).any())
        point = point or bool(cells.str.fullmatch(POINT_DECIMAL).any())
    return "?" if either and not point else "."


def read_numbers(column: pd.Series, decimal: str) -> Numbers:
    """The numbers of a column of text, under the file's decimal sign."""
    plain = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    if decimal == "." and np.isfinite(plain).all():
        return Numbers(plain)
    cells = (
        column.str.strip().str.replace("\u2212", "-").str.replace("[\u00a0\u202f']", "", regex=True)
    )
    missing = is_missing(cells).to_numpy(dtype=bool)
    if missing.all():
        return Numbers(np.full(len(cells), np.nan))
    words = cells[~missing]
    folded = words.str.casefold()
    if folded.isin(["true", "false"]).all():
        return Numbers(_spread((folded == "true").to_numpy(dtype=np.float64), missing))
    if words.str.fullmatch(r"0[xX][0-9a-fA-F]+").all():
        return Numbers(_spread(np.array([float(int(word, 16)) for word in words]), missing))
    if decimal == "?" and words.str.fullmatch(EITHER).any():
        return Numbers(
            np.full(len(cells), np.nan),
            problem=f"holds {words[words.str.fullmatch(EITHER)].iloc[0]!r}, whose comma may be a "
            "decimal sign or separate thousands",
            row=int(np.flatnonzero(~missing)[0]),
        )
    words = _with_points(words, decimal)
    values = pd.to_numeric(words, errors="coerce").to_numpy(dtype=np.float64)
    odd = np.isnan(values)
    unit = ""
    if odd.any():
        parts = words[odd].str.extract(f"^{UNIT.pattern}$")
        if parts[0].notna().any():
            units = parts[1].str.strip().dropna().unique().tolist()
            if len(units) > 1 or not odd.all():
                several = units if len(units) > 1 else [units[0], "none"]
                if parts[0].notna().sum() * 2 > len(words) or len(units) > 1:
                    return Numbers(
                        _spread(values, missing),
                        problem=f"holds several units: {', '.join(map(repr, several[:4]))}",
                        row=int(np.flatnonzero(~missing)[np.flatnonzero(odd)[0]]),
                    )
            else:
                unit = units[0]
                values = pd.to_numeric(parts[0], errors="coerce").to_numpy(dtype=np.float64)
                odd = np.isnan(values)
    rows = np.flatnonzero(~missing)
    if odd.sum() * 2 > len(words):
        return Numbers(np.full(len(cells), np.nan), text=True)
    wrong = odd | np.isinf(values)
    if wrong.any():
        first = int(rows[np.flatnonzero(wrong)[0]])
        return Numbers(
            _spread(values, missing),
            problem=f"{int(wrong.sum())} value(s) are not finite numbers; the first is "
            f"{column.iloc[first]!r}",
            row=first,
        )
    return Numbers(_spread(values, missing), unit)


def _with_points(words: pd.Series, decimal: str) -> pd.Series:
    """Numbers with a decimal point and nothing between thousands, Fortran's D as E."""
    if decimal == ",":
        grouped = words.str.replace(r"(?<=\d)\.(?=\d{3}(?:\D|$))", "", regex=True)
        words = grouped.str.replace(",", ".", regex=False)
    else:
        words = words.str.replace(r"(?<=\d),(?=\d{3}(?:\D|$))", "", regex=True)
    return words.str.replace(r"(?<=\d)[dD](?=[+-]?\d+$)", "E", regex=True)


def _spread(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Values at the places that are not missing, NaN at the others."""
    spread = np.full(len(missing), np.nan)
    spread[~missing] = values
    return spread
