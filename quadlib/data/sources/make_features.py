"""An .npz of features from a table whose columns are the features."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from quadlib.data.decoding.columnar import read_apart
from quadlib.data.decoding.damage import DamageError
from quadlib.data.logs.cells import find_decimal, read_numbers
from quadlib.data.samples import TableError, raise_problems, some
from quadlib.data.sources.columns import STANDARD, may_be, rename_standard, session_columns
from quadlib.data.sources.text import read_csv

NAME = "features"  # of the modality of all columns of numbers


@dataclass
class Features:
    """The arrays that an .npz holds, and what was seen on the way."""

    arrays: dict[str, np.ndarray]
    notes: list[str]

    def to_npz(self) -> bytes:
        """The file's content."""
        content = io.BytesIO()
        np.savez(content, **self.arrays)  # type: ignore[arg-type]
        return content.getvalue()


def draft_features(
    path: str | Path,
    *,
    label: str = "",
    sample_id: str = "",
    group: str = "",
    leave_out: Sequence[str] = (),
) -> Features:
    """A table's columns of numbers as one vector a row, float64; columns of lists of numbers as a
    vector each; all others as information.

    Args:
        path: a text table (separator, encoding and decimal sign are found), .parquet or .feather.
        label, sample_id, group: the columns that hold them, where they are not called so.
        leave_out: columns of numbers that were not measured; they stay as information.

    Raises:
        TableError: no column of labels, no numbers, or cells that may be two numbers.
    """
    file = Path(path)
    frame, notes = _read(file)
    asked = {"label": label, "sample_id": sample_id, "group": group}
    problems = [
        f"{setting}: no column {name!r}; the table has {some(list(frame.columns), 20)}"
        for setting, name in [*asked.items(), *(("leave_out", name) for name in leave_out)]
        if name and name not in frame.columns
    ]
    raise_problems(str(file), problems)
    frame = frame.rename(columns={name: setting for setting, name in asked.items() if name})
    renamed, problems, named = rename_standard(list(frame.columns))
    frame, notes = frame.rename(columns=renamed), notes + named
    if "label" not in frame.columns:
        near = " or ".join(may_be(frame, "label"))
        problems.append(
            "label: no column is called so; name the one that holds the classes by --label"
            + (f" (perhaps {near})" if near else "")
        )
    arrays = {
        "y" if name == "label" else name: _texts(frame[name])
        for name in STANDARD
        if name in frame.columns
    }
    rest = frame.drop(columns=[name for name in STANDARD if name in frame.columns])
    vectors, rest = _lists(rest)
    numbers, wrong = numeric_columns(rest.drop(columns=list(leave_out)))
    problems += wrong
    if not numbers and not vectors and not problems:
        problems.append("no column holds numbers, so there are no features in it")
    raise_problems(str(file), problems)
    if numbers:
        vectors = {NAME: np.stack(list(numbers.values()), axis=1), **vectors}
        notes.append(f"{NAME} are the columns {', '.join(numbers)}")
        notes += [
            f"{name} is a feature now, and called like a session: take it by --group {name}"
            for name in session_columns(rest[list(numbers)])
            if "group" not in arrays
        ]
    kept = {name: _texts(rest[name]) for name in rest.columns if name not in numbers}
    if kept:
        notes.append(f"columns kept as information: {', '.join(kept)}")
    return Features({**arrays, **vectors, **_apart(kept, {*arrays, *vectors})}, notes)


def numeric_columns(frame: pd.DataFrame) -> tuple[dict[str, np.ndarray], list[str]]:
    """The columns that hold numbers, float64, NaN where missing; and what is wrong with others."""
    texts = [name for name in frame.columns if pd.api.types.is_string_dtype(frame[name])]
    decimal = find_decimal([frame[name] for name in texts])
    found: dict[str, np.ndarray] = {}
    problems = []
    for name in frame.columns:
        if name not in texts:
            if pd.api.types.is_numeric_dtype(frame[name]):
                found[str(name)] = frame[name].to_numpy(np.float64, na_value=np.nan)
            continue
        read = read_numbers(frame[name], decimal)
        if read.problem:
            problems.append(f"column {name}, row {read.row + 1}: {read.problem}; write it alike")
        elif not read.text and np.isfinite(read.values).any():
            found[str(name)] = read.values
    return found, problems


def _read(file: Path) -> tuple[pd.DataFrame, list[str]]:
    if file.suffix.lower() not in (".parquet", ".feather"):
        return read_csv(file)
    try:
        frame = read_apart(file)
    except DamageError as damage:
        raise TableError(str(damage)) from damage
    frame.columns = pd.Index(list(map(str, frame.columns)))
    return frame.reset_index(drop=True), []


def _lists(frame: pd.DataFrame) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Columns whose every cell is as many numbers as the others', and the columns that are none."""
    vectors: dict[str, np.ndarray] = {}
    for name in frame.columns:
        cells = frame[name].tolist()
        if not all(isinstance(cell, (list, tuple, np.ndarray)) for cell in cells):
            continue
        if len(set(map(len, cells))) == 1 and np.asarray(cells).dtype.kind in "fiub":
            vectors[re.sub(r"\W+", "_", name).strip("_")] = np.asarray(cells)
            frame = frame.drop(columns=name)
    return vectors, frame


def _texts(values: pd.Series) -> np.ndarray:
    """Whole numbers as they are, all else as text, "" where missing."""
    if pd.api.types.is_integer_dtype(values) and not values.isna().any():
        return values.to_numpy()
    return (
        values.astype(object).map(lambda value: "" if _missing(value) else str(value)).to_numpy(str)
    )


def _missing(value: object) -> bool:
    return value is None or value is pd.NA or value != value


def _apart(kept: Mapping[str, np.ndarray], taken: set[str]) -> dict[str, np.ndarray]:
    """Information under names that no other array has, and that a file in an archive may have."""
    plain = {name: re.sub(r"\W+", "_", name).strip("_") or "column" for name in kept}
    counts = Counter(plain.values())
    return {
        plain[name]
        if counts[plain[name]] == 1 and plain[name] not in taken
        else f"column{place}": values
        for place, (name, values) in enumerate(kept.items())
    }
