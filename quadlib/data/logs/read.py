"""A file of readings, whatever it is written in, as channels over a clock."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import DamageError
from quadlib.data.logs.cells import find_decimal, read_numbers
from quadlib.data.logs.clock import (
    REMEDY,
    ROWS,
    Clock,
    find_clock,
    is_absolute,
    read_clock,
)
from quadlib.data.logs.doubts import check_one_series, may_be_clock
from quadlib.data.logs.files import Columns, read_columns
from quadlib.data.logs.fractions import with_milliseconds
from quadlib.data.logs.gaps import sentinel, without_numbers, without_words
from quadlib.data.logs.names import (
    base_and_unit,
    clock_of,
    is_index,
    is_label,
    numberless_names,
    plain,
)
from quadlib.data.logs.wraps import between_stamps

LONG_GAP_SECONDS = 2.0  # some twenty missed readings of a log at 9 Hz


@dataclass(frozen=True)
class Readings:
    """Channels by name: float64 values (rows, channels), at rising times in seconds (rows,).

    `units` of the channels, "" where none is named; `left_out`: column -> why it is no channel;
    `filled`: readings that were missing and are bridged; `notes` on the file.
    """

    channels: tuple[str, ...]
    units: tuple[str, ...]
    seconds: np.ndarray
    values: np.ndarray
    clock: str
    repeated_stamps: int
    long_gaps: int
    filled: int
    left_out: dict[str, str]
    notes: tuple[str, ...]


def read_readings(path: Path, settings: MediaSettings, wanted: Sequence[str] = ()) -> Readings:
    """The readings of a file by its ending: text of any layout, Parquet, Feather, MATLAB.

    Args:
        path: of the file.
        settings: the series_* fields count.
        wanted: channels to take, in this order; empty takes all that are numbers.

    Raises:
        DamageError: what is wrong with the file, or with one of its columns.
    """
    raw = read_columns(path, settings)
    names = [base_and_unit(name)[0] for name in raw.names]
    units = [
        base_and_unit(name)[1] or unit for name, unit in zip(raw.names, raw.units, strict=True)
    ]
    asked, short = {*map(plain, wanted or settings.series_channels)}, numberless_names(names)
    if asked and asked.isdisjoint(map(plain, names)) and asked <= {*map(plain, short)}:
        names = short
        raw.notes.append("channels go by their names without the number in them")
    keys = [plain(name) for name in names]
    twice = sorted(
        {name for name, key in zip(names, keys, strict=True) if key and keys.count(key) > 1}
    )
    if twice:
        raise DamageError(
            path, f"has the column {', '.join(twice)} twice", "rename or remove one of the two"
        )
    if len(raw.lines) < 2:
        raise DamageError(path, f"holds {_count(len(raw.lines))}, at least 2 are needed")
    texts = [column for column in raw.columns if not pd.api.types.is_numeric_dtype(column)]
    decimal = settings.series_decimal or find_decimal([c for c in texts if _is_text(c)])
    places = find_clock(path, names, units, raw.columns, decimal, settings.series_clock)
    clock = _clock(path, raw, names, units, places, decimal, settings)
    clock, places = with_milliseconds(clock, names, raw.columns, places)
    found = _channels(path, raw, names, units, places, decimal, settings, wanted)
    raw.notes.extend(clock.notes)
    check_one_series(path, names, raw.columns, clock.seconds)
    if not places and not settings.series_clock:
        raw.notes.extend(may_be_clock(names, raw.columns, found.names, decimal))
    return _ordered(path, raw, clock, found)


@dataclass
class _Found:
    """Channels as they are read from their columns, one after another."""

    names: list[str] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def _channels(
    path: Path,
    raw: Columns,
    names: Sequence[str],
    units: Sequence[str],
    clock: Sequence[int],
    decimal: str,
    settings: MediaSettings,
    wanted: Sequence[str],
) -> _Found:
    """The columns that are channels, as numbers; the others with the reason why they are none."""
    chosen = list(settings.series_channels)
    _require(path, names, chosen, "series_channels asks for", settings)
    keys = {plain(name) for name in chosen or wanted}
    found = _Found(left_out=dict(raw.left_out))
    for place, (name, column) in enumerate(zip(names, raw.columns, strict=True)):
        if place in clock:
            continue
        if chosen and plain(name) not in keys:
            found.left_out[name] = "not in series_channels"
            continue
        reason, values, unit = _numbers(
            path, raw, name, column, decimal, settings, wanted=plain(name) in keys
        )
        if reason:
            found.left_out[name or "a column without a name"] = reason
        elif values is not None:
            found.names.append(name or f"column {place + 1}")
            found.units.append(units[place] or unit)
            found.values.append(values)
            raw.notes.extend(filter(None, [sentinel(found.names[-1], values)]))
    if "" in names and found.left_out.get("a column without a name") == "holds no value":
        del found.left_out["a column without a name"]  # a separator at the end of each line
    if wanted:
        _require(path, found.names, wanted, "the other recordings have", settings, found.left_out)
        order = [[plain(name) for name in found.names].index(plain(name)) for name in wanted]
        further = [name for place, name in enumerate(found.names) if place not in order]
        found.left_out |= dict.fromkeys(further, "the other recordings lack it")
        found = _Found(
            list(wanted),
            [found.units[place] for place in order],
            [found.values[place] for place in order],
            found.left_out,
        )
    if not found.names:
        raise DamageError(
            path,
            "has no column of numbers beside its clock"
            + (f" ({_listed(found.left_out)})" if found.left_out else ""),
            "write one header line and numbers below it",
        )
    return found


def _numbers(
    path: Path,
    raw: Columns,
    name: str,
    column: pd.Series,
    decimal: str,
    settings: MediaSettings,
    wanted: bool,
) -> tuple[str, np.ndarray | None, str]:
    """Why a column is no channel, or its values and the unit of its cells."""
    unit = ""
    if pd.api.types.is_datetime64_any_dtype(column):
        return "an absolute time", None, ""
    if _is_text(column):
        numbers = read_numbers(without_words(column, settings.series_missing), decimal)
        if numbers.problem:
            word = column.iloc[numbers.row].strip()
            line = f'{REMEDY}, or bridge what stands for no reading: series_missing=["{word}"]'
            if numbers.row == 0 and numbers.problem.startswith("1 value"):
                line = "leave that line out: it stands above the readings and is none"
            if decimal == "?":
                line = 'set series_decimal="," or series_decimal="."'
            raise DamageError(
                path, f"column {name}: {numbers.problem} (line {raw.lines[numbers.row]})", line
            )
        if numbers.text:
            return f"text ({column.iloc[0][:20]!r})", None, ""
        values = without_numbers(numbers.values, settings.series_missing)
        unit = numbers.unit
    else:
        values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
        values = without_numbers(values, settings.series_missing)
        if np.isinf(values).any():
            remedy = f'{REMEDY}, or bridge them: series_missing=["inf", "-inf"]'
            raise DamageError(path, f"column {name}: holds inf", remedy)
    if np.isfinite(values).sum() == 0:
        if wanted:
            raise DamageError(
                path,
                f"its channel {name} holds no value",
                "take the file again from the original, or leave the recording out",
            )
        return "holds no value", None, ""
    if wanted:
        return "", values, unit
    if is_label(name):
        raise DamageError(
            path,
            f"holds a column of numbers called {name}, which may give the label away",
            "remove it, or name the channels to read: series_channels",
        )
    steps = np.diff(values)
    if len(steps) and (steps == 1).all() and (values[0] in (0, 1) or is_index(name)):
        return "row numbers (index)", None, ""
    if clock_of(name) and (steps >= 0).all():
        return "a further clock", None, ""
    if is_absolute(values):
        return "an absolute time", None, ""
    return "", values, unit


def _clock(
    path: Path,
    raw: Columns,
    names: Sequence[str],
    units: Sequence[str],
    places: Sequence[int],
    decimal: str,
    settings: MediaSettings,
) -> Clock:
    if not places:
        return Clock((), np.arange(len(raw.lines), dtype=np.float64))
    first = {"": None, "day_first": False, "month_first": True}[settings.series_dates]
    if first is None and "Primary Weld Current" in names:
        first = True  # the log of a welding cell, whose form is known
    return read_clock(
        path,
        [names[place] for place in places],
        [units[place] for place in places],
        [raw.columns[place] for place in places],
        raw.lines,
        decimal,
        first,
    )


def _ordered(path: Path, raw: Columns, clock: Clock, found: _Found) -> Readings:
    """Readings at rising times: rows of one time stamp become their mean, holes are bridged."""
    values = np.stack(found.values, axis=1)
    known = np.isfinite(clock.seconds)
    if not known.all():
        if known.sum() < 2:
            raise DamageError(path, f"its clock {' '.join(clock.names)} holds fewer than 2 times")
        values, seconds, lines = values[known], clock.seconds[known], raw.lines[known]
    else:
        seconds, lines = clock.seconds, raw.lines
    name = " and ".join(clock.names)
    steps = np.diff(seconds)
    if (steps < 0).any():
        row = int(np.argmax(steps < 0)) + 1
        texts = ", ".join(found.left_out)
        raise DamageError(
            path,
            f"its clock {name} runs backwards, {int((steps < 0).sum())} time(s), first at line "
            f"{lines[row]}"
            + (
                f"; it has columns of text that may hold one series after another: {texts}"
                if texts
                else ""
            ),
            f'sort or correct its rows, or set series_clock="{ROWS}" to count them evenly spaced',
        )
    seconds, notes = between_stamps(seconds)
    stamps, place, count = np.unique(seconds, return_inverse=True, return_counts=True)
    if len(stamps) < 2:
        raise DamageError(path, f"all its readings have the same time stamp in {name}", REMEDY)
    filled = int(np.isnan(values).sum())
    if filled:
        rows = np.arange(len(values))
        for channel in values.T:
            there = np.isfinite(channel)
            channel[~there] = np.interp(rows[~there], rows[there], channel[there])
    if len(stamps) < len(seconds):
        total = np.zeros((len(stamps), values.shape[1]))
        np.add.at(total, place, values)
        values = total / count[:, None]
    return Readings(
        tuple(found.names),
        tuple(found.units),
        stamps,
        values,
        name,
        len(seconds) - len(stamps),
        int((np.diff(stamps) > LONG_GAP_SECONDS).sum()),
        filled,
        found.left_out,
        (*raw.notes, *notes),
    )


def _require(
    path: Path,
    names: Sequence[str],
    wanted: Sequence[str],
    who: str,
    settings: MediaSettings,
    left_out: Mapping[str, str] | None = None,
) -> None:
    """Raises DamageError where a channel is not among these names, with the nearest."""
    known = {plain(name): name for name in names}
    absent = [name for name in wanted if plain(name) not in known]
    if not absent:
        return
    near = difflib.get_close_matches(plain(absent[0]), list(known), n=1, cutoff=0.5)
    why = "".join(
        f"; {name} is {(left_out or {})[name]}" for name in absent if name in (left_out or {})
    )
    raise DamageError(
        path,
        f"has no channel {', '.join(absent)}, which {who}{why}; it has "
        f"{', '.join(names) or 'none'}",
        (f"did you mean {known[near[0]]}? " if near else "")
        + "give every recording the same channels, or name those to read: series_channels",
    )


def _is_text(column: pd.Series) -> bool:
    return bool(pd.api.types.is_string_dtype(column) or pd.api.types.is_object_dtype(column))


def _count(rows: int) -> str:
    return {0: "no reading", 1: "one reading"}.get(rows, f"{rows} readings")


def _listed(left_out: Mapping[str, str]) -> str:
    return ", ".join(f"{name}: {why}" for name, why in left_out.items())
