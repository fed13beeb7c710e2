"""Readings in HDF5: datasets of one length, columns of a two-dimensional or compound dataset, with
a dataset or a sample rate for a clock. Needs the extra hdf5.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import RESTORE, DamageError
from quadlib.data.logs.clock import ROWS
from quadlib.data.logs.columns import (
    Columns,
    Track,
    clocks_among,
    not_chosen,
    of_tracks,
    short_names,
)
from quadlib.data.logs.names import plain

if TYPE_CHECKING:
    import h5py

RATES = (
    *("samplerate", "samplingrate", "samplefrequency", "samplingfrequency", "fs", "srate", "sfreq"),
    *("sampleratehz", "samplingratehz", "samplingfrequencyhz", "fshz", "ratehz"),
)
STEPS = (
    *("dt", "samplinginterval", "sampleinterval", "samplingperiod", "timestep", "deltat"),
    *("wfincrement", "dts", "samplingintervals"),
)
NAMES = ("channel_names", "channels", "columns", "column_names", "names", "labels", "fields")
UNITS = ("units", "unit", "unit_string")
MOST_VALUES = 200_000_000  # in one file: 1.6 GB
BROKEN = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, OverflowError)
LONGER = 4.0  # how much longer the axis of time is where nothing else tells it


@dataclass(frozen=True)
class Series:
    """One series of the file: its values (n,), unit, seconds between readings (0: not said), and
    whether its own dataset says them.
    """

    values: np.ndarray
    unit: str
    step_s: float
    own_rate: bool


def read_hdf5(path: Path, content: bytes, settings: MediaSettings) -> Columns:
    """The columns of an HDF5 file; what is no series is left out by name. Raises DamageError."""
    try:
        import h5py
    except ImportError:
        raise DamageError(
            path,
            "is an HDF5 file, which needs the extra hdf5",
            "pip install 'quadlib[hdf5]', or save it as Parquet or CSV",
        ) from None
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            return _columns(path, file, settings)
    except DamageError:
        raise
    except BROKEN as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DamageError(path, f"is not a readable HDF5 file ({reason})", RESTORE) from None


def _columns(path: Path, file: h5py.File, settings: MediaSettings) -> Columns:
    left_out: dict[str, str] = {}
    series: dict[str, Series] = {}
    for place, dataset in _datasets(path, file, left_out).items():
        series |= _series(path, place, dataset, settings, left_out)
    names = dict(zip(series, short_names(list(series)), strict=True))
    asked = [plain(name) for name in settings.series_clock.split(",") if settings.series_clock]
    clocks = [place for place in series if plain(names[place]) in asked]
    if not settings.series_clock:
        values = {place: one.values for place, one in series.items()}
        clocks = clocks_among(path, values, names, left_out)
    left_out |= not_chosen(path, names, clocks, settings.series_channels)
    series = {place: one for place, one in series.items() if names[place] not in left_out}
    # A rate at a dataset is its own; one at a group or the file says nothing of a short list.
    timed = {place: one for place, one in series.items() if one.own_rate and not clocks}
    if timed:
        lengths = {len(one.values) for one in timed.values()}
    elif series:
        among = {place: series[place] for place in clocks if place in series} or series
        lengths = {_length(path, {names[place]: len(one.values) for place, one in among.items()})}
    left_out |= {
        names[place]: f"of length {len(one.values)}, where the others have "
        f"{' or '.join(map(str, sorted(lengths)))}"
        for place, one in series.items()
        if len(one.values) not in lengths
    }
    stepped = not clocks and not settings.series_clock
    tracks = [
        Track(names[place], one.values, one.unit, one.step_s if stepped else 0.0)
        for place, one in series.items()
        if names[place] not in left_out
    ]
    return of_tracks(path, tracks, settings.series_channels, left_out)


def _datasets(path: Path, file: h5py.File, left_out: dict[str, str]) -> dict[str, h5py.Dataset]:
    """The datasets of one and two axes by place; links into other files are never followed."""
    import h5py

    places: dict[str, h5py.Dataset] = {}
    pandas_groups: list[str] = []

    def visit(place: str, item: h5py.Group | h5py.Dataset) -> None:
        if "pandas_type" in item.attrs:
            pandas_groups.append(place)
        if not isinstance(item, h5py.Dataset):
            return
        if item.external or item.is_virtual:
            left_out[f"/{place}"] = "stored in another file"
        elif item.shape is None or item.size == 0:
            left_out[f"/{place}"] = "holds no value"
        elif item.ndim > 2 or item.dtype.kind not in "fiubSOV":
            left_out[f"/{place}"] = f"of {item.dtype} and shape {item.shape}"
        else:
            places[place] = item

    file.visititems(visit)
    if pandas_groups:
        raise DamageError(
            path,
            f"was written by pandas ({pandas_groups[0]}), which keeps the names of columns apart",
            "write it again by DataFrame.to_parquet",
        )
    count = sum(dataset.size for dataset in places.values())
    if count > MOST_VALUES:
        raise DamageError(path, f"holds {count} values, which would exhaust memory", "cut it")
    return places


def _series(
    path: Path,
    place: str,
    dataset: h5py.Dataset,
    settings: MediaSettings,
    left_out: dict[str, str],
) -> Iterator[tuple[str, Series]]:
    """The series of one dataset, by place; a single value is none."""
    if dataset.size == 1 and not dataset.dtype.names:
        left_out[f"/{place}"] = f"a single value ({_text(dataset[()])})"
        return
    rate = (0.0, False) if settings.series_clock else _step(path, dataset)
    unit = _first(dataset.attrs, UNITS)
    units = [_text(item) for item in np.ravel(unit)] if unit is not None else []
    values = dataset[()]
    if dataset.dtype.names:
        for number, name in enumerate(dataset.dtype.names):
            if values[name].ndim == 1:
                own = units[number] if len(units) == len(dataset.dtype.names) else ""
                yield f"{place}/{name}", Series(_plain(values[name]), own, *rate)
            else:
                left_out[f"/{place}/{name}"] = f"of shape {values[name].shape[1:]} a reading"
        return
    if values.ndim == 1 or 1 in values.shape:
        yield place, Series(_plain(values.reshape(-1)), units[0] if units else "", *rate)
        return
    if _steps_first(path, place, dataset, settings):
        values = values.T
    names = _names(dataset, len(values))
    for number, (name, row) in enumerate(zip(names, values, strict=True)):
        own = units[number] if len(units) == len(values) else units[0] if len(units) == 1 else ""
        yield f"{place}/{name}", Series(_plain(row), own, *rate)


def _steps_first(path: Path, place: str, dataset: h5py.Dataset, settings: MediaSettings) -> bool:
    """Whether the first of two axes is time: as series_axes says, else the one that a series
    beside it, or one name a channel, fits, else the clearly longer.
    """
    if settings.series_axes:
        return settings.series_axes == "steps_channels"
    first, second = dataset.shape
    beside = {item.shape[0] for item in dataset.parent.values() if _is_series(item)}
    listed = _first(dataset.attrs, NAMES)
    names = 0 if listed is None else np.size(listed)
    for size in (second, first):
        if (first != second) and (names == size or (first + second - size) in beside):
            return size == second
    if max(first, second) >= LONGER * min(first, second):
        return first > second
    raise DamageError(
        path,
        f"its dataset {place} of shape {dataset.shape} may be (channels, steps) or (steps, "
        "channels)",
        'set series_axes="channels_steps" or series_axes="steps_channels"',
    )


def _is_series(item: Any) -> bool:
    return getattr(item, "ndim", 0) == 1 and item.shape[0] > 1


def _names(dataset: h5py.Dataset, count: int) -> list[str]:
    listed = _first(dataset.attrs, NAMES)
    names = [_text(item) for item in np.ravel(listed)] if listed is not None else []
    if len(names) == 1 and "," in names[0]:
        names = [name.strip() for name in names[0].split(",")]
    if len(names) == count and len(set(names)) == count:
        return names
    last = dataset.name.rpartition("/")[2]
    return [f"{last} {number + 1}" for number in range(count)]


def _step(path: Path, dataset: h5py.Dataset) -> tuple[float, bool]:
    """Seconds between readings by an attribute, or a single value called so, of the dataset, of its
    group, or of one above, and whether it is the dataset's own; 0 where none says.
    """
    node: Any = dataset
    while True:
        attributes = {_key(name): value for name, value in node.attrs.items()}
        if node is not dataset:
            attributes |= {
                _key(name): item[()]
                for name, item in node.items()
                if _key(name) in RATES + STEPS and getattr(item, "size", 0) == 1
            }
        for keys, inverse in ((RATES, True), (STEPS, False)):
            value = _first(attributes, keys)
            if value is not None and np.size(value) == 1:
                try:
                    number = float(np.ravel(value)[0])
                except (TypeError, ValueError):
                    number = 0.0
                if not number > 0 or not np.isfinite(number):
                    raise DamageError(
                        path,
                        f"its sample rate or interval is {_text(value)}, a number above 0 was "
                        "expected",
                        f'correct it, or set series_clock="{ROWS}" to count its rows as evenly '
                        "spaced",
                    )
                return 1 / number if inverse else number, node is dataset
        if node.name == "/":
            return 0.0, False
        node = node.parent


def _length(path: Path, lengths: Mapping[str, int]) -> int:
    """The length that most series have. Raises DamageError where two lengths are as frequent."""
    counts = Counter(lengths.values())
    rows, most = counts.most_common(1)[0]
    if list(counts.values()).count(most) > 1:
        listed = ", ".join(f"{name} ({size})" for name, size in lengths.items())
        longest = max(lengths, key=lambda name: lengths[name])
        raise DamageError(
            path,
            f"holds series of several lengths: {listed}",
            f'name those to read, for example series_channels=["{longest}"]',
        )
    return rows


def _first(attributes: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    folded = {name.casefold(): value for name, value in attributes.items()}
    return next((folded[key] for key in keys if key in folded), None)


def _key(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.casefold())


def _plain(values: np.ndarray) -> np.ndarray:
    """Numbers as they are; text as text."""
    if values.dtype.kind in "SO":
        return pd.Series([_text(item) for item in values], dtype=str).to_numpy(dtype=object)
    return values.astype(np.int8) if values.dtype.kind == "b" else values


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return str(value.item() if isinstance(value, np.generic) else value)[:60]
