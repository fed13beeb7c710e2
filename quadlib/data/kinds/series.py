"""A sensor log becomes a fixed number of steps over its time, resampled by its clock; its absolute
levels are kept.
"""

from __future__ import annotations

import numpy as np

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.job import Decoded, Job
from quadlib.data.decoding.look import Curves
from quadlib.data.kinds import Kind
from quadlib.data.kinds.changes import span
from quadlib.data.logs.files import ENDINGS
from quadlib.data.logs.names import plain
from quadlib.data.logs.read import Readings, read_readings

WELD_CHANNELS = (
    "Pressure",
    "CO2 Weld Flow",
    "Feed",
    "Primary Weld Current",
    "Wire Consumed",
    "Secondary Weld Voltage",
)
WELD_CURRENT = "Primary Weld Current"
NOISE = 0.05
SCALE = 0.05
SHIFT = 0.04  # share of the steps
MASK = 0.1


def crop_window(readings: Readings, channel: str, above: float) -> tuple[float, float] | None:
    """Where a channel is above a level, in seconds (on, off) after the first reading: from its
    first to its last reading above by time.

    None where no channel has the name, or where it is above for one reading at most.
    """
    names = [plain(name) for name in readings.channels]
    if plain(channel) not in names:
        return None
    on_rows = np.flatnonzero(readings.values[:, names.index(plain(channel))] > above)
    if len(on_rows) < 2:
        return None
    on, off = readings.seconds[on_rows[[0, -1]]] - readings.seconds[0]
    return float(on), float(off)


def resample(
    readings: Readings, steps: int, window: tuple[float, float] | None = None
) -> np.ndarray:
    """The readings at `steps` equally spaced times over the window, by linear interpolation:
    float32 (channels, steps).
    """
    start, end = readings.seconds[0], readings.seconds[-1]
    on, off = window if window is not None else (0.0, end - start)
    times = start + np.linspace(on, off, steps)
    channels = [np.interp(times, readings.seconds, column) for column in readings.values.T]
    return np.stack(channels).astype(np.float32)


def decode(job: Job) -> Decoded:
    """The kind's decoder; channels are matched with those of the other recordings by name."""
    settings = job.settings
    readings = read_readings(job.path, settings, job.channels)
    window = crop_window(readings, job.crop, settings.series_crop_above) if job.crop else None
    with np.errstate(over="ignore"):
        array = resample(readings, settings.series_steps, window)
    if not np.isfinite(array).all():
        raise DamageError(
            job.path,
            "holds values beyond 3.4e38, which 32 bits do not hold",
            "correct them, or name the channels to read by series_channels",
        )
    return Decoded(
        array,
        # Rows that merely count as evenly spaced say no time that another file could be cut to.
        _between_readings(readings, window) if window and readings.clock else None,
        readings.repeated_stamps,
        readings.long_gaps,
        facts(readings),
    )


def _between_readings(readings: Readings, window: tuple[float, float]) -> tuple[float, float]:
    """The window from half a reading before its first to half a one after its last: what it marks
    begins and ends between two.
    """
    seconds = readings.seconds - readings.seconds[0]
    half = float(np.median(np.diff(seconds))) / 2
    return max(0.0, window[0] - half), min(float(seconds[-1]), window[1] + half)


def facts(readings: Readings) -> dict[str, object]:
    """What was understood of a log, as plain values: channels with unit and range, its clock."""
    low, high = readings.values.min(axis=0), readings.values.max(axis=0)
    seconds = readings.seconds
    return {
        "units": list(readings.units),
        "low": low.tolist(),
        "high": high.tolist(),
        "clock": readings.clock,
        "rate_hz": float(1 / np.median(np.diff(seconds))) if readings.clock else 0.0,
        "seconds": float(seconds[-1] - seconds[0]) if readings.clock else 0.0,
        "rows": len(seconds),
        "filled": readings.filled,
        "left_out": dict(readings.left_out),
        "notes": list(readings.notes),
    }


def shape(known: tuple[int, ...], settings: MediaSettings) -> tuple[int, ...]:
    """Channels, steps."""
    return (*known, settings.series_steps)


def name_channels(job: Job) -> Decoded:
    """The names of the file's channels, as its facts, and no array."""
    return Decoded(np.empty(0), facts={"channels": read_readings(job.path, job.settings).channels})


def look(job: Job) -> Curves:
    """Every channel of the file, and the window of the one that crops."""
    readings = read_readings(job.path, job.settings)
    above = job.settings.series_crop_above
    window = crop_window(readings, job.crop, above) if job.crop and readings.clock else None
    times = readings.seconds - readings.seconds[0]
    return Curves(
        times,
        readings.values,
        readings.channels,
        readings.units,
        window and _between_readings(readings, window),
        seconds=float(times[-1]) if readings.clock else 0.0,
        offset_s=0.0,
    )


def look_at(series: np.ndarray) -> Curves:
    """(channels, steps): the channels by number."""
    numbers = tuple(f"channel {number}" for number in range(1, len(series) + 1))
    return Curves(np.arange(series.shape[1]), series.T, numbers, ("",) * len(series))


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
    extensions=ENDINGS,
    decode=decode,
    shape=shape,
    prefix="series_",
    kept_axes=(0,),
    clipped=True,
    vary=vary,
    gives_arc=True,
    channels=name_channels,
    look=look,
    look_at=look_at,
)
