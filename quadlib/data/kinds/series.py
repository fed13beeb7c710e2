"""A sensor log becomes a fixed number of steps over the arc, resampled by its clock; its absolute
levels are kept.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import DamageError, open_regular
from quadlib.data.decoding.job import Decoded, Job
from quadlib.data.kinds import Kind
from quadlib.data.kinds.changes import span

WELD_CHANNELS = (
    "Pressure",
    "CO2 Weld Flow",
    "Feed",
    "Primary Weld Current",
    "Wire Consumed",
    "Secondary Weld Voltage",
)
WELD_OTHERS = ("Date", "Time", "Part No", "Remarks")
CLOCKS = ("time", "time_s", "seconds", "timestamp")
ARC_CURRENT_A = 5.0
NOISE = 0.05
SCALE = 0.05
SHIFT = 0.04  # share of the steps
MASK = 0.1
LONG_GAP_SECONDS = 2.0  # some twenty missed readings of a log at 9 Hz
REMEDY = "correct or leave out these rows, or take the file again from the original"


@dataclass(frozen=True)
class Series:
    """A sensor log as read: float64 values (rows, channels) at rising times in seconds (rows,), and
    what its clock had.
    """

    channels: tuple[str, ...]
    seconds: np.ndarray
    values: np.ndarray
    repeated_stamps: int
    long_gaps: int
    clocked: bool = True


def channel_names(path: Path) -> tuple[str, ...]:
    """Names of the numeric channels of a sensor log, in the order of the arrays. Raises
    DamageError.
    """
    return read_series(path).channels


def read_series(path: Path) -> Series:
    """Reads a CSV of a welding cell (known by its column "Primary Weld Current") or any CSV of
    numbers with a header line.

    The clock is Date and Time, or a column named time, time_s, seconds or timestamp; without one
    the rows count as evenly spaced. Readings with the same time stamp become their mean, and are
    counted. Raises DamageError for values that are not finite numbers, missing columns, a clock
    that runs backwards, and fewer than two readings.
    """
    frame = _read_text(path)
    if "Primary Weld Current" in frame.columns:
        absent = [name for name in WELD_CHANNELS if name not in frame.columns]
        if absent:
            raise DamageError(
                path, f"has no column {', '.join(absent)}", "take a complete copy of the log"
            )
        channels: tuple[str, ...] = WELD_CHANNELS
    else:
        texts = frame.columns.isin([*WELD_OTHERS, _clock_name(frame)])
        channels = tuple(
            name
            for name in frame.columns[~texts]
            if pd.to_numeric(frame[name], errors="coerce").notna().any()
            or frame[name].str.lower().isin(["nan", "inf", "-inf"]).any()
        )
        if not channels:
            raise DamageError(
                path, "has no column of numbers", "write one header line and numbers below it"
            )
    values = np.stack([_numbers(path, frame[name]) for name in channels], axis=1)
    seconds = _seconds(path, frame)
    if len(values) < 2:
        raise DamageError(path, f"holds {len(values)} reading(s), at least 2 are needed")
    steps = np.diff(seconds)
    if (steps < 0).any():
        row = int(np.argmax(steps < 0)) + 1
        raise DamageError(
            path,
            f"its clock runs backwards, {int((steps < 0).sum())} time(s)",
            f"sort or correct its rows, the first at line {row + 2}",
        )
    stamps, place, count = np.unique(seconds, return_inverse=True, return_counts=True)
    if len(stamps) < 2:
        raise DamageError(path, "all its readings have the same time stamp", REMEDY)
    if len(stamps) < len(seconds):
        total = np.zeros((len(stamps), len(channels)))
        np.add.at(total, place, values)
        values = total / count[:, None]
    return Series(
        channels,
        stamps,
        values,
        len(seconds) - len(stamps),
        int((np.diff(stamps) > LONG_GAP_SECONDS).sum()),
        _clock_name(frame) is not None or {"Date", "Time"} <= set(frame.columns),
    )


def arc_window(series: Series) -> tuple[float, float] | None:
    """When the arc burns, in seconds (on, off) after the first reading: from the first to the last
    current above 5 A by time.

    None where there is no channel of current, or where the current never exceeds 5 A for more than
    one reading.
    """
    current = [place for place, name in enumerate(series.channels) if "current" in name.lower()]
    if not current:
        return None
    burning = np.flatnonzero(series.values[:, current[0]] > ARC_CURRENT_A)
    if len(burning) < 2:
        return None
    on, off = series.seconds[burning[[0, -1]]] - series.seconds[0]
    return float(on), float(off)


def resample_series(
    series: Series, steps: int, arc: tuple[float, float] | None = None
) -> np.ndarray:
    """The series at `steps` equally spaced times over the window, by linear interpolation: float32
    (channels, steps).
    """
    start, end = series.seconds[0], series.seconds[-1]
    on, off = arc if arc is not None else (0.0, end - start)
    times = start + np.linspace(on, off, steps)
    channels = [np.interp(times, series.seconds, column) for column in series.values.T]
    return np.stack(channels).astype(np.float32)


def _read_text(path: Path) -> pd.DataFrame:
    """All cells as stripped text: pandas would turn odd numbers into NaN without a word."""
    with open_regular(path) as file:
        content = file.read()
        if b"\0" in content:  # a page lost by the disk, which pandas would skip
            raise DamageError(path, f"holds {content.count(0)} zero bytes")
        try:
            # The header is read as a row: pandas would rename a column that stands twice.
            frame = pd.read_csv(
                io.BytesIO(content),
                header=None,
                dtype=str,
                keep_default_na=False,
                skipinitialspace=True,
                encoding="utf-8-sig",
            )
        except (ValueError, UnicodeDecodeError) as error:  # pandas' own errors are ValueErrors
            reason = str(error).strip().splitlines()[0]
            raise DamageError(
                path,
                f"is not a readable CSV ({reason})",
                "write one header line and rows of the same columns",
            ) from None
    frame.columns = frame.iloc[0].fillna("").str.strip()
    twice = sorted(set(frame.columns[frame.columns.duplicated()]) - {""})
    if twice:
        raise DamageError(
            path, f"has the column {', '.join(twice)} twice", "rename or remove one of the two"
        )
    return frame.iloc[1:].fillna(
        ""
    )  # rows with fewer fields than the header: a log without remarks


def _numbers(path: Path, column: pd.Series) -> np.ndarray:
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        first = column.iloc[wrong[0]]
        raise DamageError(
            path,
            f"{len(wrong)} value(s) of {column.name} are not finite numbers",
            f"{REMEDY}; the first is {first!r} at line {wrong[0] + 2}",
        )
    return values


def _clock_name(frame: pd.DataFrame) -> str | None:
    return next((name for name in frame.columns if name.lower() in CLOCKS), None)


def _seconds(path: Path, frame: pd.DataFrame) -> np.ndarray:
    """Time of every row in seconds; from Date and Time, a clock in seconds, or the row number."""
    if "Date" in frame.columns and "Time" in frame.columns:
        days = (
            {text: _day(path, text) for text in frame["Date"].unique()}
            if frame["Date"].nunique() > 1
            else {}
        )
        offset = frame["Date"].map(days).to_numpy(dtype=np.float64) if days else 0.0
        clock = pd.to_timedelta(frame["Time"], errors="coerce").dt.total_seconds()
        wrong = np.flatnonzero(clock.isna())
        if len(wrong):
            raise DamageError(
                path,
                f"{len(wrong)} time(s) are not like 10:05:23.120",
                f"{REMEDY}; the first is at line {wrong[0] + 2}",
            )
        return clock.to_numpy(dtype=np.float64) + offset
    name = _clock_name(frame)
    if name is None:
        return np.arange(len(frame), dtype=np.float64)
    return _numbers(path, frame[name])


def _day(path: Path, text: str) -> float:
    day = pd.to_datetime(text, errors="coerce")
    if not isinstance(day, pd.Timestamp):
        raise DamageError(path, f"the date {text!r} is not understood", "write dates as 2023-04-06")
    return day.timestamp()


def decode(job: Job) -> Decoded:
    """The kind's decoder; the number of channels has to be that of the others."""
    series = read_series(job.path)
    if job.channels and len(series.channels) != job.channels:
        raise DamageError(
            job.path,
            f"has {len(series.channels)} channels ({', '.join(series.channels)}), the others have "
            f"{job.channels}",
            "give every recording the same columns",
        )
    arc = arc_window(series)
    array = resample_series(series, job.settings.series_steps, arc)
    # Rows that merely count as evenly spaced say no time that another file could be cut to.
    timed = _between_readings(series, arc) if arc and series.clocked else None
    return Decoded(array, timed, series.repeated_stamps, series.long_gaps)


def _between_readings(series: Series, arc: tuple[float, float]) -> tuple[float, float]:
    """The arc from half a reading before its first to half a one after its last: it begins and ends
    between two.
    """
    seconds = series.seconds - series.seconds[0]
    first, last = np.searchsorted(seconds, np.array(arc) - 1e-9)
    usual = float(np.median(np.diff(seconds))) / 2
    return (
        float(max(seconds[0], seconds[first] - usual)),
        float(min(seconds[-1], seconds[last] + usual)),
    )


def shape(known: tuple[int, ...], settings: MediaSettings) -> tuple[int, ...]:
    """Channels, steps."""
    return (*known, settings.series_steps)


def channel_count(path: Path) -> int:
    """How many channels a log has. Raises DamageError."""
    return len(channel_names(path))


def vary(series: np.ndarray, random: np.random.Generator) -> None:
    """(channels, steps): noise, a small change of scale and of time, one masked span of time."""
    steps = series.shape[1]
    moved = round(SHIFT * steps * (2 * random.random() - 1))
    series[:] = series[:, np.clip(np.arange(steps) - moved, 0, steps - 1)]
    series *= (1 + SCALE * random.standard_normal((len(series), 1))).astype(np.float32)
    series += np.float32(NOISE) * random.standard_normal(series.shape, dtype=np.float32)
    series[:, span(steps, MASK, random)] = 0


KIND = Kind(
    axes=("channels", "steps"),
    encoder="series",
    extensions=(".csv",),
    decode=decode,
    shape=shape,
    prefix="series_",
    kept_axes=(0,),
    clipped=True,
    vary=vary,
    gives_arc=True,
    channels=channel_count,
)
