"""A user's own table: CSV or Parquet with one path column a modality, or one .npz of arrays."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from quadlib.data.decoding.columnar import read_apart
from quadlib.data.decoding.damage import DamageError
from quadlib.data.samples import (
    Modality,
    SampleTable,
    TableError,
    raise_problems,
    some,
    table_problems,
)
from quadlib.data.sources.archive import plain_text, read_archive
from quadlib.data.sources.columns import (
    STANDARD,
    alone,
    blanks_around,
    missing_columns,
    one_text_a_number,
    rename_standard,
    split_names,
    without_missing_words,
)
from quadlib.data.sources.files_of_table import load_arrays, path_columns, shared_files
from quadlib.data.sources.paths import Root, relative_paths
from quadlib.data.sources.several import expand_several
from quadlib.data.sources.text import read_csv, twins
from quadlib.registry import KINDS
from quadlib.runs.commands import table_command

TEXT_ENDINGS = (".csv", ".tsv", ".txt", ".gz")
FRAME_ENDINGS = (".parquet", ".feather")
WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods")
NAME_IT = "name the table's file: a .csv, .parquet or .npz"
SAVE_AS = (
    "save it as .csv (CSV), .tsv, .parquet or .feather, or arrays by numpy.savez(name, y=labels, "
    "features=values)"
)


def read(
    path: str | Path | None = None,
    *,
    group: Sequence[str] = (),
    data_root: str = "",
    information: Sequence[str] = (),
    modalities: Sequence[str] = (),
    series_steps: int = 96,
    series_axes: str = "",
) -> SampleTable:
    """The recordings of a table, in its order; labels come out as they went in.

    A text table (separator and encoding are found) or a .parquet or .feather file has the columns
    sample_id and label, optionally group (else every recording stands alone) and split (train, val,
    test; else empty), and one column of paths a modality, relative to the table's folder, empty
    where missing. Several photos are joined by "|", or given as a list, a pattern, or a folder with
    its last slash. The kind follows from the files' extension; .npy files are read now. Columns
    without such paths stay as information. An .npz file has `y`, optionally `group`, `split` and
    `sample_id`, and arrays (n, ...) named after the modalities.
    Whether media files exist and can be decoded is found when they are decoded. Raises TableError
    that lists all problems.

    Args:
        path: of the table.
        group: columns that name the session, where it is not the column group.
        data_root: folder that holds all files; "" takes the table's.
        information: columns or arrays that are no modality, whatever they look like.
        modalities: of an .npz, the arrays that are one; the others are information.
        series_steps: to which .npy series of unequal length are resampled.
        series_axes: order of the axes of .npy series, "" looks.
    """
    file = _existing(path)
    if file.suffix.lower() == ".npz":
        return read_archive(file, information, modalities, group)
    frame, problems, notes = _read_frame(file)
    renamed, more, named = rename_standard(list(frame.columns))
    frame = frame.rename(columns=renamed)
    problems, notes = problems + more, notes + named
    if missing := missing_columns(frame, {new: old for old, new in renamed.items()}):
        raise_problems(str(file), problems + missing + path_columns(frame, information, file)[1])
    frame, more, named = _plain_values(frame, group)
    problems, notes = problems + more, notes + named
    problems += [
        f"information: no column {name!r}; the table has {', '.join(frame.columns)}"
        for name in information
        if name not in frame.columns
    ]
    root = Root.of(file.parent, data_root)
    problems += expand_several(frame, information, root)
    kinds, more, named = path_columns(frame, information, file)
    problems, notes = problems + more, notes + named
    for name in kinds:
        frame[name], more = relative_paths(frame[name], frame["sample_id"], name, root)
        problems += more
    frame, kinds, named = _as_identifiers(frame, kinds)
    notes += named
    problems += shared_files(frame, kinds, root)
    modalities_read, arrays = {}, {}
    for name, kind in kinds.items():
        modalities_read[name] = Modality(kind)
        if KINDS[kind].decode is None:
            loaded = load_arrays(frame, name, root.folder, series_steps, series_axes)
            frame[name], arrays[name] = loaded.rows, loaded.array
            modalities_read[name] = Modality(loaded.kind, loaded.array.shape[1:])
            problems, notes = problems + loaded.problems, notes + loaded.notes
    problems += table_problems(frame, modalities_read, arrays=arrays, root=root.folder)
    raise_problems(str(file), problems)
    return SampleTable(
        frame, modalities_read, root=root.folder, arrays=arrays, name=file.name, notes=notes
    )


def _existing(path: str | Path | None) -> Path:
    """The table's file; raises TableError with the nearest name, or the way from a folder."""
    if not path:
        raise TableError(f"table: no path was given; name a file, and {SAVE_AS}")
    file = Path(os.path.expandvars(path)).expanduser()
    if os.path.isdir(file):
        raise TableError(
            f"table: {file} is a folder; name its table, or write one: {table_command(file)}"
        )
    if "://" in str(path) or not os.path.isfile(file):
        near = difflib.get_close_matches(
            file.name, os.listdir(file.parent) if os.path.isdir(file.parent) else [], n=1
        )
        raise TableError(
            f"table: {str(path)!r} is not a file of this machine; "
            + (f'did you mean path="{file.with_name(near[0])}"?' if near else NAME_IT)
        )
    file = file.resolve()
    if file.suffix.lower() in WORKBOOKS:
        raise TableError(
            f"table: {file.name} is a workbook, which may hold several sheets; save the one of the "
            f'recordings as "CSV UTF-8", and set path="{file.with_suffix(".csv")}"'
        )
    if file.suffix.lower() not in (".npz", *TEXT_ENDINGS, *FRAME_ENDINGS):
        raise TableError(f"table: {file.name} is of no known format ({file.suffix}); {SAVE_AS}")
    return file


def _read_frame(file: Path) -> tuple[pd.DataFrame, list[str], list[str]]:
    if file.suffix.lower() in TEXT_ENDINGS:
        frame, notes = read_csv(file)
        return frame, [], notes
    frame, problems = _read_parquet(file)
    return frame, problems, []


def _plain_values(
    frame: pd.DataFrame, group: Sequence[str]
) -> tuple[pd.DataFrame, list[str], list[str]]:
    """sample_id, label, group and split as text that is compared; problems and notes."""
    notes, problems = [], []
    columns: dict[str, pd.Series | str] = {}
    for name in STANDARD:
        if name in frame.columns:
            columns[name] = without_missing_words(frame[name])
            notes += blanks_around(name, frame[name])
        elif name == "split":
            columns[name] = ""
        elif name == "group":
            columns[name] = columns["sample_id"]
            if not group:
                notes.append(f"no column group: {alone(frame)}")
    frame = frame.assign(**columns)
    for name in ("label", "group"):
        values, named = one_text_a_number(frame[name])
        frame[name] = values
        notes += [f"{name}: {line}" for line in named]
        problems += twins(name, values, fold_case=name == "label")
    frame["split"], named = split_names(frame["split"])
    notes += named
    without = frame["sample_id"][frame["split"] == ""]
    if 0 < len(without) < len(frame):
        problems.append(
            f"{len(without)} of {len(frame)} rows have no split: {some(without)}; fill them in, "
            "take the rows out, or leave the column out"
        )
    return frame, problems, notes


def _as_identifiers(
    frame: pd.DataFrame, kinds: Mapping[str, str]
) -> tuple[pd.DataFrame, dict[str, str], list[str]]:
    """Modalities under names that a model can hold: "front camera" is front_camera."""
    names = {name: re.sub(r"\W+", "_", name).strip("_") for name in kinds}
    renamed = {
        old: new
        for old, new in names.items()
        if old != new and new not in frame.columns and list(names.values()).count(new) == 1
    }
    return (
        frame.rename(columns=renamed),
        {renamed.get(name, name): kind for name, kind in kinds.items()},
        [f"column {old!r} is the modality {new}" for old, new in renamed.items()],
    )


def _read_parquet(file: Path) -> tuple[pd.DataFrame, list[str]]:
    try:
        frame = read_apart(file)
    except DamageError as damage:
        raise TableError(str(damage)) from damage
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names = list(map(str, frame.columns))
    raise_problems(
        str(file),
        [
            f"column {name!r} stands twice; rename or remove one"
            for name in dict.fromkeys(names)
            if names.count(name) > 1
        ],
    )
    frame.columns = pd.Index(names)
    standard = {*rename_standard(names)[0], *STANDARD}
    columns: dict[str, pd.Series] = {}
    problems = []
    for name in names:
        values = frame[name]
        if isinstance(values.dtype, pd.CategoricalDtype):
            values = values.astype(object)
        numeric = pd.api.types.is_numeric_dtype(values)
        if name in standard:
            text, problem = plain_text(values.to_numpy() if numeric else values.to_numpy(object))
            columns[name] = pd.Series(text, dtype=str)
            problems += [f"column {name}: {problem}"] if problem else []
        elif numeric:
            columns[name] = values.reset_index(drop=True)
        else:  # paths, or information of any type
            texts = values.astype(object).map(lambda value: value if isinstance(value, str) else "")
            filled = (texts != "").any()
            columns[name] = texts.astype(str) if filled else values.astype(str)
            columns[name] = columns[name].reset_index(drop=True)
    return pd.DataFrame(columns), problems
