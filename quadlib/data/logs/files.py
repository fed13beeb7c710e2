"""The columns of a file of readings, by its ending: text, Parquet, Feather, MATLAB."""

from __future__ import annotations

import gzip
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.io

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import RESTORE, DamageError, open_regular
from quadlib.data.logs.layout import read_log

ENDINGS = (".csv", ".tsv", ".txt", ".gz", ".parquet", ".feather", ".mat")


@dataclass(frozen=True)
class Columns:
    """A file's columns under their names, with units and the line or row of every reading."""

    names: list[str]
    units: list[str]
    columns: list[pd.Series]
    lines: np.ndarray
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def read_columns(path: Path, settings: MediaSettings) -> Columns:
    """The columns of a file, by its ending."""
    with open_regular(path) as file:
        content = file.read()
    name = path.name.lower()
    if name.endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise DamageError(path, f"is not a readable gzip file ({error})", RESTORE) from None
    if name.endswith((".parquet", ".feather")):
        return _of_frame(path, content, name.rpartition(".")[2])
    if name.endswith(".mat"):
        return _of_matlab(path, content)
    log = read_log(
        path,
        content,
        separator=settings.series_separator,
        skip_rows=settings.series_skip_rows,
    )
    columns = [log.cells[place] for place in log.cells.columns]
    return Columns(list(log.names), list(log.units), columns, log.lines, list(log.notes))


def _of_frame(path: Path, content: bytes, ending: str) -> Columns:
    try:
        reader = pd.read_parquet if ending == "parquet" else pd.read_feather
        frame: pd.DataFrame = reader(io.BytesIO(content))
    except (ValueError, OSError) as error:  # pyarrow's own errors are either
        reason = str(error).splitlines()[0]
        raise DamageError(path, f"is not a readable {ending} file ({reason})", RESTORE) from None
    if frame.index.name is not None:
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    columns = [frame.iloc[:, place] for place in range(len(names))]
    return Columns(names, [""] * len(names), columns, np.arange(len(frame)) + 1)


def _of_matlab(path: Path, content: bytes) -> Columns:
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
