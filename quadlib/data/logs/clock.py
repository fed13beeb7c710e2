"""Which column is a log's clock, and its times in seconds."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from quadlib.data.decoding.damage import DamageError
from quadlib.data.logs.cells import is_missing, read_numbers
from quadlib.data.logs.names import DATE, SECONDS, TIME, clock_of, clock_unit, plain
from quadlib.data.logs.wraps import past_midnight, past_overflow

ROWS = "rows"  # the setting that counts rows as evenly spaced
EPOCHS = ((1e8, 1.0), (1e11, 1e-3), (1e14, 1e-6), (1e17, 1e-9))  # since 1970: smallest value, unit
TIMES = ("%H:%M:%S.%f", "%H:%M:%S", "%H:%M", "%I:%M:%S.%f %p", "%I:%M:%S %p", "%I:%M %p")
CERTAIN_DATES = ("%Y/%m/%d", "%Y-%m-%d", "%d.%m.%Y", "%d.%m.%y", "%Y.%m.%d", "%Y%m%d", "%d-%b-%Y")
EITHER_DATES = (("%d/%m/%Y", "%m/%d/%Y"), ("%d-%m-%Y", "%m-%d-%Y"), ("%d/%m/%y", "%m/%d/%y"))
LOOKED_AT = 20  # cells on which a form is tried before all are read
ISO = r"\d{4}-\d\d-\d\d[ T]\d"  # a fraction of a second may be left out where it is 0
# hours:minutes, hours:minutes:seconds, minutes:seconds.fraction; pandas writes days before it
TIME_OF_DAY = re.compile(
    r"(?:\d+ days? )?\d{1,3}:\d\d(?::\d\d(?:[.,]\d+|:\d{3})?)?|\d{1,4}:\d\d[.,]\d+"
)
COLON_BEFORE_MS = r"(\d:\d\d:\d\d):(\d{3})$"
A_DATE = r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"
A_MOMENT = rf"{A_DATE}[T ]+\d{{1,2}}:\d\d.{{0,24}}"
BASIC_ISO = r"^(\d{4})(\d\d)(\d\d)[T ]?(\d\d)(\d\d)(\d\d(?:[.,]\d+)?)"
SPREADSHEET_DAYS = (20_000, 80_000)  # since 1899: the years 1954 to 2119
REMEDY = "correct or leave out these rows, or take the file again from the original"
WAYS_OUT = (
    'write times in seconds or as 2023-04-06 10:05:23.120, or set series_clock="rows" to count the '
    "rows as evenly spaced"
)


@dataclass(frozen=True)
class Clock:
    """Names of the columns that tell the time, seconds of every row (NaN where missing), notes."""

    names: tuple[str, ...]
    seconds: np.ndarray
    notes: tuple[str, ...] = ()


def find_clock(
    path: Path,
    names: Sequence[str],
    units: Sequence[str],
    columns: Sequence[pd.Series],
    decimal: str,
    asked: str,
) -> list[int]:
    """Places of the columns that tell the time: one, a date and a time, or none.

    A column is a clock by its name; where none is, by its cells: times as text, or numbers that
    rise in every row and have a unit of time.

    Args:
        path: for messages.
        names: of the columns.
        units: of the columns.
        columns: their cells.
        decimal: sign of the file.
        asked: the setting series_clock: "" looks, "rows" takes none, else one name or two with a
            comma between them.

    Raises:
        DamageError: no column has the name that was asked for.
    """
    if asked == ROWS:
        return []
    if asked:
        wanted = [plain(part) for part in asked.split(",")]
        known = [plain(name) for name in names]
        absent = [part for part in wanted if part not in known]
        if absent:
            near = difflib.get_close_matches(absent[0], known, n=1)
            proposed = names[known.index(near[0])] if near else ROWS
            raise DamageError(
                path,
                f"has no column {absent[0]!r}, which series_clock={asked!r} asks for; it has "
                f"{', '.join(names)}",
                f'set series_clock="{proposed}"',
            )
        return [known.index(part) for part in wanted]
    dates = [place for place, name in enumerate(names) if plain(name) in DATE]
    times = [place for place, name in enumerate(names) if plain(name) in TIME]
    if dates and times:
        return [dates[0], times[0]]
    clocks = [place for place, name in enumerate(names) if clock_of(name)]
    return (clocks or dates)[:1] or _by_cells(units, columns, decimal)


def _by_cells(units: Sequence[str], columns: Sequence[pd.Series], decimal: str) -> list[int]:
    """The first column whose cells are times, with a date before it that is none alone."""

    def written_as(column: pd.Series, form: str) -> bool:
        if len(column) < 2 or not pd.api.types.is_string_dtype(column):
            return False
        places = np.unique(np.linspace(0, len(column) - 1, LOOKED_AT).astype(int))
        looked = column.iloc[places].str.strip()
        return bool(looked.str.fullmatch(form).all()) and looked.iloc[0] != looked.iloc[-1]

    for place, column in enumerate(columns):
        if written_as(column, rf"{A_MOMENT}|{A_DATE}"):
            return [place]
        if written_as(column, TIME_OF_DAY.pattern):
            return [place]
        if units[place].casefold() in SECONDS and rises(column, decimal):
            return [place]
    return []


def rises(column: pd.Series, decimal: str) -> bool:
    """Whether a column holds numbers that grow from every row to the next."""
    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(dtype=np.float64)
    elif pd.api.types.is_string_dtype(column):
        values = read_numbers(column, decimal if decimal != "?" else ".").values
    else:
        return False
    return len(values) > 1 and bool((np.diff(values) > 0).all())


def read_clock(
    path: Path,
    names: Sequence[str],
    units: Sequence[str],
    columns: Sequence[pd.Series],
    lines: np.ndarray,
    decimal: str,
    month_first: bool | None,
) -> Clock:
    """The times of a clock of one or two columns, in seconds from any start.

    Args:
        path: for messages.
        names: of its columns.
        units: that the file gives them beside their names.
        columns: their cells, as text, numbers or moments.
        lines: of the file, where every row stands.
        decimal: sign of the file.
        month_first: how 04/06/2023 is read; None refuses it where the two readings differ.

    Raises:
        DamageError: cells that are no times of one form, or dates that may be read in two ways.
    """
    if len(columns) == 2:
        day, time = columns[0].astype(str).str.strip(), _pointed(columns[1])
        if day.nunique() == 1 and time.str.fullmatch(TIME_OF_DAY).all():
            return Clock(tuple(names), _of_day(time))  # within one day its date does not count
        return Clock(
            tuple(names),
            _moments(path, " and ".join(names), day + " " + time, lines, month_first),
        )
    name, column = names[0], columns[0]
    if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        return Clock((name,), _nanoseconds(column))
    if not pd.api.types.is_numeric_dtype(column):
        text = _pointed(column)
        numbers = read_numbers(text, decimal if decimal != "?" else ".")
        if numbers.text or numbers.problem or np.isnan(numbers.values).all():
            problem = numbers.problem and f"{numbers.problem} at line {lines[numbers.row]}"
            seconds, notes = _text_times(path, name, text, lines, month_first, problem)
            return Clock((name,), seconds, notes)
        values = numbers.values
    else:
        values = column.to_numpy(dtype=np.float64)
        numbers = None
    unit = clock_unit(name, units[0] or (numbers.unit if numbers else ""))
    if unit is None:
        first = np.nanmin(np.abs(values)) if np.isfinite(values).any() else 0.0
        unit = next((step for least, step in reversed(EPOCHS) if first >= least), 1.0)
        if plain(name).startswith(DATE) and SPREADSHEET_DAYS[0] < first < SPREADSHEET_DAYS[1]:
            unit = SECONDS["d"]
    values, notes = past_overflow(values)
    start = values[np.isfinite(values)][:1]
    return Clock((name,), (values - (start[0] if len(start) else 0.0)) * unit, notes)


def _pointed(column: pd.Series) -> pd.Series:
    """Times as text, 10:05:23:120 with a point before its milliseconds."""
    text = column.astype(str).str.strip()
    return text.str.replace(COLON_BEFORE_MS, r"\1.\2", regex=True)


def is_absolute(values: np.ndarray) -> bool:
    """Whether rising numbers are times since 1970: of the years 2000 to 2100 in any unit."""
    whole = values[np.isfinite(values)]
    return bool(
        len(whole) > 1
        and (np.diff(whole) >= 0).all()
        and any(whole[0] * unit >= 9.4e8 and whole[-1] * unit <= 4.1e9 for _, unit in EPOCHS)
    )


def _text_times(
    path: Path,
    name: str,
    text: pd.Series,
    lines: np.ndarray,
    month_first: bool | None,
    problem: str,
) -> tuple[np.ndarray, tuple[str, ...]]:
    missing = is_missing(text).to_numpy(dtype=bool)
    seconds = np.full(len(text), np.nan)
    notes: tuple[str, ...] = ()
    words = text[~missing]
    if words.empty:
        raise DamageError(path, f"its clock {name} holds no time", WAYS_OUT)
    likeness = words.str.fullmatch(TIME_OF_DAY)
    if likeness.all():
        seconds[~missing] = _of_day(words)
        seconds, notes = past_midnight(seconds)
    elif problem and not words.str.contains(r"\d[-/.]\d+[-/.]\d", regex=True).any():
        raise DamageError(path, f"its clock {name}: {problem}", REMEDY)
    else:
        seconds[~missing] = _moments(path, name, words, lines[~missing], month_first)
    return seconds, notes


def _of_day(times: pd.Series) -> np.ndarray:
    """Seconds of 10:05:23.120, 10:05, 5:23.120 or 0 days 10:05:23."""
    long = times.str.replace(",", ".", regex=False)
    short = long.str.count(":") == 1
    if short.any():
        minutes = short & long.str.contains(".", regex=False)
        long = long.where(~short, long + ":00").where(~minutes, "0:" + long)
    days = np.zeros(len(long))
    if long.str.contains(
        "day", regex=False
    ).any():  # each pass over a short log costs as a long one
        days = long.str.extract(r"^(\d+) days? ")[0].fillna("0").to_numpy(dtype=np.float64)
        long = long.str.replace(r"^\d+ days? ", "", regex=True)
    hours = long.str.split(":", expand=True).to_numpy(dtype=np.float64)
    return days * 86400 + hours @ np.array([3600.0, 60.0, 1.0])


def _moments(
    path: Path, name: str, text: pd.Series, lines: np.ndarray, month_first: bool | None
) -> np.ndarray:
    """Seconds of dates with times, all of one form."""
    plain_text = text.str.replace(BASIC_ISO, r"\1-\2-\3 \4:\5:\6", regex=True)
    plain_text = plain_text.str.replace(r"(\d),(\d+)", r"\1.\2", regex=True)
    zoneless = plain_text.str.replace(r"\s*(?:Z|UTC|[+-]\d\d:?\d\d)$", "", regex=True)
    if not (zoneless == plain_text).all() or plain_text.str.match(ISO).all():
        moments = pd.to_datetime(plain_text, errors="coerce", utc=True, format="ISO8601")
        if moments.notna().all():
            return _nanoseconds(moments)
    zoneless = zoneless.str.replace(r"(?<=\d)T(?=\d)", " ", regex=True)

    looked = zoneless.iloc[np.unique(np.linspace(0, len(zoneless) - 1, LOOKED_AT).astype(int))]

    def read(date: str) -> np.ndarray | None:
        for time in (*(f" {time}" for time in TIMES), ""):
            if pd.to_datetime(looked, format=date + time, errors="coerce").isna().any():
                continue
            moments = pd.to_datetime(zoneless, format=date + time, errors="coerce")
            if moments.notna().all():
                return _nanoseconds(moments)
        return None

    for date in CERTAIN_DATES:
        if (seconds := read(date)) is not None:
            return seconds
    for day_first, month_first_form in EITHER_DATES:
        seconds = _either(path, name, read, day_first, month_first_form, month_first)
        if seconds is not None:
            return seconds
    forms = zoneless.str.replace(r"\d", "0", regex=True)
    place = int(np.flatnonzero(forms != forms.mode()[0])[0]) if forms.nunique() > 1 else 0
    raise DamageError(
        path,
        f"its clock {name} holds times of no one form, such as {text.iloc[place]!r} at line "
        f"{lines[place]}",
        WAYS_OUT,
    )


def _either(
    path: Path,
    name: str,
    read: Callable[[str], np.ndarray | None],
    day_form: str,
    month_form: str,
    month_first: bool | None,
) -> np.ndarray | None:
    """One of two readings: the one that is possible, or where both are, the one that is set."""
    day, month = read(day_form), read(month_form)
    if day is None or month is None:
        return day if month is None else month
    if np.allclose(day - day[0], month - month[0]):
        return day
    if month_first is None:
        raise DamageError(
            path,
            f"its clock {name} holds dates in which day and month may be either",
            'set series_dates="day_first" or series_dates="month_first"',
        )
    return month if month_first else day


def _nanoseconds(moments: pd.Series) -> np.ndarray:
    """Seconds from the first moment, exact to the microsecond; NaN where missing."""
    start = moments.dropna().iloc[0] if moments.notna().any() else pd.Timestamp(0)
    return (moments - start).dt.total_seconds().to_numpy(dtype=np.float64)
