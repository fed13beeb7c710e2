"""The columns of a file of readings, by its ending: text, Parquet, Feather, MATLAB, HDF5, TDMS."""

from __future__ import annotations

import io
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.io

from quadlib.config import MediaSettings
from quadlib.data.decoding.columnar import frame_of
from quadlib.data.decoding.damage import RESTORE, DamageError, open_regular
from quadlib.data.decoding.packed import unpack
from quadlib.data.logs.columns import Columns as Columns
from quadlib.data.logs.hdf5 import read_hdf5
from quadlib.data.logs.layout import read_log
from quadlib.data.logs.tdms import read_tdms

TEXTS = (".csv", ".tsv", ".txt", ".lvm", ".asc", ".gz")


def read_columns(path: Path, settings: MediaSettings) -> Columns:
    """The columns of a file, by its ending."""
    with open_regular(path) as file:
        content = file.read()
    name = path.name.lower()
    if name.endswith(".gz"):
        content = unpack(path, content)
    reader = READERS.get(path.suffix.lower())
    if reader is not None:
        return reader(path, content, settings)
    log = read_log(
        path,
        content,
        separator=settings.series_separator,
        skip_rows=settings.series_skip_rows,
        encoding=settings.series_encoding,
    )
    columns = [log.cells[place] for place in log.cells.columns]
    return Columns(list(log.names), list(log.units), columns, log.lines, list(log.notes))


def _of_frame(path: Path, content: bytes, _: MediaSettings) -> Columns:
    frame = frame_of(path, content)
    timed = isinstance(frame.index, pd.DatetimeIndex | pd.TimedeltaIndex)
    if frame.index.name is not None or timed:
        frame = frame.reset_index(names=[frame.index.name or "time"])
    names = [str(name) for name in frame.columns]
    columns = [_plain_column(frame.iloc[:, place]) for place in range(len(names))]
    return Columns(names, [""] * len(names), columns, np.arange(len(frame)) + 1)


def _plain_column(column: pd.Series) -> pd.Series:
    """Decimal numbers as floats, and any other objects (dates, lists) as their text."""
    if not pd.api.types.is_object_dtype(column):
        return column
    filled = column[column.notna()]
    if filled.map(lambda cell: isinstance(cell, Decimal | int | float | bool)).all():
        return column.astype(np.float64)
    return column.map(lambda cell: cell if isinstance(cell, str) else str(cell), na_action="ignore")


def _of_matlab(path: Path, content: bytes, _: MediaSettings) -> Columns:
    """The vectors of a .mat file that have the length of most; the others are left out by name."""
    if content.startswith(b"MATLAB 7.3"):
        raise DamageError(
            path, "is a MATLAB 7.3 file (HDF5)", "save it again with save('x.mat', '-v7')"
        )
    try:
        arrays: dict[str, Any] = scipy.io.loadmat(io.BytesIO(content))
    except (ValueError, TypeError, OSError, NotImplementedError, KeyError, IndexError) as error:
        raise DamageError(path, f"is not a readable .mat file ({error})", RESTORE) from None
    arrays = {name: np.asarray(value) for name, value in arrays.items() if name[:2] != "__"}
    lengths = [value.size for value in arrays.values() if value.dtype.kind in "fiub"]
    rows = max(set(lengths), key=lambda size: (lengths.count(size) * (size > 1), size), default=0)
    names, columns, left_out = [], [], {}
    for name, value in arrays.items():
        if value.dtype.kind in "fiub" and value.size == rows:
            names.append(name)
            columns.append(pd.Series(value.reshape(-1).astype(np.float64)))
        elif value.dtype.kind in "fiub" and value.ndim == 2 and max(value.shape) == rows:
            table = value if value.shape[0] == rows else value.T
            names += [f"{name} {place + 1}" for place in range(table.shape[1])]
            columns += [pd.Series(column.astype(np.float64)) for column in table.T]
        else:
            left_out[name] = f"of {value.dtype} and shape {value.shape}"
    return Columns(names, [""] * len(names), columns, np.arange(rows) + 1, [], left_out)


# Whatever is no text, by its ending: (path, content, settings) to columns.
READERS: dict[str, Callable[[Path, bytes, MediaSettings], Columns]] = {
    ".parquet": _of_frame,
    ".feather": _of_frame,
    ".mat": _of_matlab,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".tdms": read_tdms,
}
ENDINGS = (*TEXTS, *READERS)
