"""A user's own table: CSV or Parquet with one path column a modality, or one .npz of arrays."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from quadlib.data.decoding.damage import DamageError, open_regular
from quadlib.data.kinds import kind_of_array, kind_of_file, kinds_by_extension
from quadlib.data.samples import (
    LEAVES_ROOT,
    Modality,
    SampleTable,
    TableError,
    raise_problems,
    some,
    table_problems,
)
from quadlib.data.sources.archive import plain_text, read_archive, unusual_values
from quadlib.data.sources.text import read_csv, twins
from quadlib.registry import KINDS

STANDARD = ("sample_id", "label", "group", "split")


def read(path: str | Path | None = None) -> SampleTable:
    """The recordings of a table, in its order; labels come out byte for byte as they went in.

    A .csv (UTF-8) or .parquet file has the columns sample_id and label, optionally group (else
    every recording stands alone) and split (train, val, test; else empty), and one column of paths
    a modality, relative to the table's folder, empty where missing, several photos joined by "|".
    The kind follows from the files' extension; .npy files are read now, (d,) as a vector and
    (channels, steps) as a series. Columns without such paths stay as information. An .npz file has
    `y`, optionally `group`, `split` and `sample_id`, and arrays (n, ...) named after the
    modalities. Whether media files exist and can be decoded is found when they are decoded. Raises
    TableError that lists all problems.
    """
    if not path:
        raise TableError("table: no path was given; name a .csv, .parquet or .npz file")
    file = Path(path).expanduser()
    if "://" in str(path) or not file.is_file():
        raise TableError(
            f"table: {str(path)!r} is not a file of this machine; name a .csv, .parquet or .npz "
            "file"
        )
    file = file.resolve()
    suffix = file.suffix.lower()
    if suffix == ".npz":
        return read_archive(file)
    if suffix not in (".csv", ".parquet"):
        raise TableError(
            f"table: {file.name} is of no known format; save it as .csv, .parquet or .npz"
        )
    frame, problems = (read_csv(file), []) if suffix == ".csv" else _read_parquet(file)
    missing = [name for name in ("sample_id", "label") if name not in frame.columns]
    raise_problems(
        str(file),
        problems
        + [f"no column {name}; found {', '.join(map(repr, frame.columns))}" for name in missing],
    )
    kinds, problems, notes = _kinds(frame)
    problems += [
        line
        for column in ("label", "group")
        if column in frame.columns
        for line in twins(column, frame[column].tolist(), fold_case=column == "label")
    ]
    if "split" in frame.columns and 0 < (without := int((frame["split"] == "").sum())) < len(frame):
        problems.append(
            f"{without} of {len(frame)} rows have no split; fill them in, take the rows out, or "
            "leave the column out"
        )
    frame = frame.assign(
        **{
            name: frame["sample_id"] if name == "group" else ""
            for name in STANDARD
            if name not in frame.columns
        }
    )
    problems += _shared_files(frame, kinds, file.parent)
    modalities, arrays = {}, {}
    for name, kind in kinds.items():
        modalities[name] = Modality(kind)
        if KINDS[kind].decode is None:
            arrays[name], rows, more = _load_arrays(frame, name, file.parent)
            shape = arrays[name].shape[1:]
            modalities[name] = Modality(kind_of_array(shape), shape)
            frame, problems, notes = (
                frame.assign(**{name: rows}),
                problems + more,
                notes + unusual_values(name, arrays[name]),
            )
    problems += table_problems(frame, modalities, arrays=arrays, root=file.parent)
    raise_problems(str(file), problems)
    return SampleTable(
        frame, modalities, root=file.parent, arrays=arrays, name=file.name, notes=notes
    )


def _read_parquet(file: Path) -> tuple[pd.DataFrame, list[str]]:
    try:
        frame = pd.read_parquet(file)
    except (ValueError, OSError) as error:  # pyarrow's own errors are either
        raise TableError(
            f"{file} is not a readable Parquet file ({str(error).splitlines()[0]}); write it again"
        ) from error
    names = list(map(str, frame.columns))
    problems = [
        f"column {name!r} stands twice; rename or remove one"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    raise_problems(str(file), problems)
    frame.columns = pd.Index(names)
    columns: dict[str, pd.Series | np.ndarray] = {}
    for name in names:
        values = frame[name]
        if name in STANDARD or not pd.api.types.is_numeric_dtype(values):
            text, problem = plain_text(values.to_numpy(dtype=object))
            columns[name] = pd.Series(text, dtype=str)
            problems += [f"column {name}: {problem}"] if problem else []
        else:
            columns[name] = values.reset_index(drop=True)
    return pd.DataFrame(columns), problems


def _kinds(frame: pd.DataFrame) -> tuple[dict[str, str], list[str], list[str]]:
    """Kind of every modality by the extensions of its files; problems; and a note on the columns
    that are none.
    """
    kinds: dict[str, str] = {}
    problems, others = [], []
    for name in frame.columns:
        if name in STANDARD:
            continue
        if not pd.api.types.is_string_dtype(frame[name]):
            others.append(name)
            continue
        filled = frame[name][frame[name] != ""]
        by_row = pd.Series([_kind_of(text) for text in filled], index=filled.index, dtype=str)
        known = by_row[by_row != ""]
        if known.empty:
            others.append(name)
            continue
        usual = str(known.value_counts().index[0])
        for row in by_row.index[by_row != usual][:5]:
            problems.append(
                f"row {row + 1}, {name}: {frame[name][row]!r} is no {usual} file like the others "
                "of its column; correct it, or leave it empty where missing"
            )
        joined = frame["sample_id"][frame[name].str.contains("|", regex=False)]
        if len(joined) and not KINDS[usual].several_files:
            problems.append(
                f"{name}: {some(joined)} name several files, which only photos may; name one "
                f"{usual} file a recording"
            )
        kinds[name] = usual
    if not kinds:
        problems.append(
            f"no column holds paths of media files ({', '.join(kinds_by_extension())}); add one "
            "column a modality"
        )
    return kinds, problems, [f"columns kept as information: {', '.join(others)}"] if others else []


def _kind_of(text: str) -> str:
    """The kind that all files of a cell have by their extensions, or ""."""
    kinds = {kind_of_file(part) for part in text.split("|")}
    return kinds.pop() if len(kinds) == 1 else ""


def _shared_files(frame: pd.DataFrame, kinds: Mapping[str, str], root: Path) -> list[str]:
    """Files that lie outside the folder once links are followed, and files that stand in two places
    of the table.
    """
    problems = []
    places: dict[str, list[str]] = {}
    for name in kinds:
        inside = (frame[name] != "") & ~frame[name].str.contains(LEAVES_ROOT)
        for sample_id, text in zip(frame["sample_id"][inside], frame[name][inside], strict=True):
            for part in text.split("|"):
                real = os.path.realpath(root / part)
                if not real.startswith(f"{root}{os.sep}"):
                    problems.append(
                        f"{sample_id}: {name} {part!r} is a link that leaves the table's folder; "
                        "copy its target in its place"
                    )
                places.setdefault(real, []).append(f"{sample_id} {name}")
    for real, users in places.items():
        if len(users) > 1:
            problems.append(
                f"{os.path.relpath(real, root)} stands {len(users)} times: {some(users)}; give "
                "every recording its own file"
            )
    return problems


def _load_arrays(
    frame: pd.DataFrame, name: str, root: Path
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The .npy files of a modality stacked, float32; each recording's row in the stack, -1 where
    missing; problems.
    """
    rows = np.full(len(frame), -1)
    loaded: list[np.ndarray] = []
    problems = []
    for row, text in enumerate(frame[name]):
        if not text or not _kind_of(text) or re.search(LEAVES_ROOT, text):
            continue
        try:
            with open_regular(root / text) as file:
                array = np.load(file, allow_pickle=False)
        except (DamageError, ValueError, EOFError) as error:
            reason = error.what if isinstance(error, DamageError) else str(error).splitlines()[0]
            problems.append(
                f"row {row + 1}, {name}: {text} cannot be read ({reason}); write it with "
                "numpy.save, or leave the cell empty"
            )
            continue
        if array.ndim not in (1, 2) or not array.size or array.dtype.kind not in "fiub":
            problems.append(
                f"row {row + 1}, {name}: {text} holds {array.dtype} of shape {array.shape}; "
                "numbers of shape (d,) or (channels, steps) were expected"
            )
        elif loaded and array.shape != loaded[0].shape:
            problems.append(
                f"row {row + 1}, {name}: {text} has shape {array.shape}, the first has "
                f"{loaded[0].shape}; make them equal"
            )
        else:
            rows[row] = len(loaded)
            with np.errstate(over="ignore"):
                loaded.append(array.astype(np.float32))
    return np.stack(loaded) if loaded else np.zeros((0, 1), dtype=np.float32), rows, problems
