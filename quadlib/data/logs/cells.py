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
        *(
            "-nan",
            "nan(ind)",
            "-nan(ind)",
            "-nan(snan)",
            "1.#ind",
            "-1.#ind",
            "1.#qnan",
            "-1.#qnan",
        ),
        *("#div/0!", "#value!", "#ref!", "#num!", "#name?", "#null!"),
    ]
)  # not OL or inf: a reading beyond the range is no missing one
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
LIKE = re.compile(
    r"(?:[+\-\u2212] *)?(?:0[xX][0-9a-fA-F]+|(?:\d[\d.,'\u00a0\u202f]*|[.,]\d+)(?:[eEdD][+-]?\d+)?)"
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
LOOKED_AT = 2000  # rows from which the decimal sign is told
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
    """The decimal sign of a file, "." or ","; "?" where its commas may be either.

    Some rows tell it; all are looked at where those leave it open.
    """
    if not columns:
        return "."
    if len(columns[0]) <= LOOKED_AT:
        return _decimal(columns)
    places = np.linspace(0, len(columns[0]) - 1, LOOKED_AT).astype(int)
    sign = _decimal([column.iloc[places] for column in columns])
    return sign if sign != "?" else _decimal(columns)


def _decimal(columns: list[pd.Series]) -> str:
    either = grouped = False
    for column in columns:
        has_comma = column.str.contains(",", regex=False)
        if not has_comma.any():
            continue
        commas = column[has_comma].str.strip().str.replace("\u2212", "-")
        # a column of times or texts says nothing about numbers
        numbers = commas.str.fullmatch(rf"{COMMA_DECIMAL}|[+-]?[\d.,]+(?:\s*[^\d\s.,]+)?")
        commas = commas[numbers].str.extract(r"^([+-]?[\d.,]+(?:[eE][+-]?\d+)?)")[0]
        if commas.str.fullmatch(SURE_COMMA_DECIMAL).any():
            return ","
        either = either or bool(commas.str.fullmatch(EITHER).any())
        grouped = grouped or bool(commas.str.fullmatch(SURE_COMMA_THOUSANDS).any())
    if not either or grouped:
        return "."
    point = any(
        column.str.strip().str.replace("\u2212", "-").str.fullmatch(POINT_DECIMAL).any()
        for column in columns
    )
    return "." if point else "?"


def read_numbers(column: pd.Series, decimal: str) -> Numbers:
    """The numbers of a column of text, under the file's decimal sign."""
    simple = column
    if decimal == ",":  # a point would separate thousands
        simple = column.where(~column.str.contains(".", regex=False), "")
        simple = simple.str.replace(",", ".", regex=False)
    values = pd.to_numeric(simple, errors="coerce").to_numpy(dtype=np.float64, copy=True)
    odd = np.flatnonzero(~np.isfinite(values))
    if len(odd):
        return _with_odd_cells(column, decimal, values, odd)
    return Numbers(values)


def _with_odd_cells(
    column: pd.Series, decimal: str, values: np.ndarray, odd: np.ndarray
) -> Numbers:
    """The same, where some cells are more than digits: each is read, missing, or wrong."""
    cells = column.iloc[odd].str.strip().str.replace("\u2212", "-")
    cells = cells.str.replace("[\u00a0\u202f']", "", regex=True)
    cells = cells.str.replace(r"^([+-])\s+(?=\d)", r"\1", regex=True)
    missing = is_missing(cells).to_numpy(dtype=bool)
    values[odd] = np.nan
    rows, words = odd[~missing], cells[~missing]
    if words.empty:
        return Numbers(values)
    filled = len(column) - int(missing.sum())
    folded = words.str.casefold()
    if len(words) == filled and folded.isin(["true", "false"]).all():
        values[rows] = folded == "true"
        return Numbers(values)
    if words.str.fullmatch(r"0[xX][0-9a-fA-F]+").all():
        values[rows] = [float(int(word, 16)) for word in words]
        return Numbers(values)
    either = words.str.fullmatch(rf"{EITHER}(?:\s*[^\d\s.,]+)?").to_numpy(dtype=bool)
    if decimal == "?" and either.any():
        what = f"holds {words[either].iloc[0]!r}, whose comma may be a decimal sign or separate "
        return Numbers(values, problem=f"{what}thousands", row=int(rows[either][0]))
    words = _with_points(words, decimal)
    values[rows] = pd.to_numeric(words, errors="coerce").to_numpy(dtype=np.float64)
    strange = np.isnan(values[rows])
    parts = words[strange].str.extract(f"^{UNIT.pattern}$")
    with_unit = parts[0].notna()
    units = parts[1].str.strip().dropna().unique().tolist()
    unit = ""
    if len(units) == 1 and with_unit.all() and len(parts) == filled:
        unit = units[0]
        values[rows[strange]] = pd.to_numeric(parts[0], errors="coerce").to_numpy(dtype=np.float64)
        strange = np.isnan(values[rows])
    elif len(units) > 1 or with_unit.sum() * 2 > filled:
        several = units if len(units) > 1 else [units[0], "none"]
        what = f"holds several units: {', '.join(map(repr, several[:4]))}"
        return Numbers(values, problem=what, row=int(rows[strange][0]))
    if strange.sum() * 2 > filled:
        return Numbers(values, text=True)
    wrong = strange | np.isinf(values[rows])
    if wrong.any():
        first = int(rows[wrong][0])
        what = f"{int(wrong.sum())} value(s) are not finite numbers; the first is "
        return Numbers(values, problem=f"{what}{column.iloc[first]!r}", row=first)
    return Numbers(values, unit)


def _with_points(words: pd.Series, decimal: str) -> pd.Series:
    """Numbers with a decimal point and nothing between thousands, Fortran's D as E."""
    if decimal == ",":
        grouped = words.str.replace(r"(?<=\d)\.(?=\d{3}(?:\D|$))", "", regex=True)
        words = grouped.str.replace(",", ".", regex=False)
    else:
        words = words.str.replace(r"(?<=\d),(?=\d{3}(?:\D|$))", "", regex=True)
    return words.str.replace(r"(?<=\d)[dD](?=[+-]?\d+$)", "E", regex=True)
