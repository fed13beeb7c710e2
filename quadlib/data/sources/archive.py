"""Arrays of one .npz file as a table: recordings that come as features, already decoded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quadlib.data.decoding.arrays import read_npz
from quadlib.data.decoding.damage import DamageError
from quadlib.data.kinds import kind_of_array
from quadlib.data.samples import (
    Modality,
    SampleTable,
    TableError,
    raise_problems,
    some,
    table_problems,
)
from quadlib.data.sources.columns import (
    alone,
    one_text_a_number,
    split_names,
    without_missing_words,
)
from quadlib.data.sources.text import twins
from quadlib.registry import KINDS

CLEARLY_LONGER = 4.0  # how much longer an axis is that counts as steps
FEWEST_PIXELS = 8  # of a side of bytes that look like pictures
TEXTS = {
    "y": ("y", "label", "labels", "target", "targets", "class", "classes"),
    "group": ("groups",),
    "split": ("splits",),
    "sample_id": ("sample_ids", "ids", "id"),
}


def read_archive(
    file: Path,
    information: Sequence[str] = (),
    modalities: Sequence[str] = (),
    group: Sequence[str] = (),
) -> SampleTable:
    """The recordings of an .npz: `y` (n,) labels, optional `group`, `split`, `sample_id`; of the
    other arrays those of numbers (n, d) and more axes are modalities, and (n,) information.

    The kind follows from an array's shape: (n, d) vector; (n, channels, steps) series; (n, 2, mel,
    frames) audio; (n, T, 2, H, W) video; (n, V, 3, H, W) image. Series whose first axis is clearly
    the longer are turned. Numbers become float32, but uint8 video and image stay. Rows with values
    that are not finite are named in `notes`; decoding treats them as damage. Nothing is unpickled.

    Args:
        file: the .npz.
        information: arrays that are no modality, whatever their shape.
        modalities: arrays that are one, the others being information; none takes all that fit.
        group: arrays that name the session, where it is not the array group.

    Raises:
        TableError: all problems of its arrays.
    """
    arrays, problems = _load(file)
    notes: list[str] = []
    for name, others in TEXTS.items():
        near = [other for other in arrays if other.casefold() in others]
        if name not in arrays and len(near) == 1:
            arrays[name] = arrays.pop(near[0])
            notes.append(f"array {near[0]} is read as {name}")
    if "y" not in arrays and not any(problem.startswith("y ") for problem in problems):
        apart = [name for name in arrays if re.fullmatch(r"[yY]_?\w+", name)]
        way = (
            f"; join the parts, and say which is which: numpy.savez(name, y=numpy.concatenate("
            f"[{', '.join(apart)}]), split=..., one array a modality)"
            if len(apart) > 1
            else ""
        )
        problems.append(f"no array y with the labels; found {', '.join(arrays) or 'none'}{way}")
    problems += [
        f"{setting}: no array {name!r}; the file has {', '.join(arrays)}"
        for setting, names in (("information", information), ("modalities", modalities))
        for name in names
        if name not in arrays
    ]
    raise_problems(str(file), problems)
    count = len(arrays["y"]) if arrays["y"].ndim else 0
    columns: dict[str, Any] = {}
    for name in set(TEXTS) & set(arrays):
        values = arrays.pop(name)
        if values.shape == (count, 1):
            values = values[:, 0]
        if values.shape != (count,):
            problems.append(
                f"{name} has shape {values.shape}, ({count},) was expected: one value a recording"
                + (f"; save {name}.argmax(1), the place of each row's 1" * _is_one_hot(values))
            )
        else:
            columns[name], problem = plain_text(values)
            problems += [f"{name}: {problem}"] if problem else []
    read: dict[str, np.ndarray] = {}
    kept: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if name in information or (modalities and name not in modalities) or array.ndim < 2:
            if array.ndim == 1 and len(array) == count:
                kept[name] = array
            elif array.ndim > 1 and len(array) == count and array.dtype.kind in "fiub":
                flat = array.reshape(count, -1)
                kept |= {f"{name}_{place}": flat[:, place] for place in range(flat.shape[1])}
            else:
                notes.append(f"array {name} of shape {array.shape} is not one value a recording")
            continue
        array, problem, turned = _modality(name, array, count)
        notes += turned
        if problem:
            problems.append(problem)
        else:
            read[name] = array
            notes += unusual_values(name, array)
    if kept.keys() - set(group):
        shown = ", ".join(name for name in kept if name not in group)
        notes.append(f"arrays kept as information: {shown}")
    if "group" not in columns and not group:
        notes.append(f"no array group: {alone(pd.DataFrame(kept))}")
    if not read and not problems:
        problems.append(
            f"no modality beside {', '.join([*columns, *kept])}; save arrays (n, ...) under the "
            "modalities' names"
        )
    raise_problems(str(file), problems)
    frame, more, named = _frame(file, count, columns)
    frame = frame.assign(
        **{
            name: array if array.dtype.kind in "fiub" else array.astype(str)
            for name, array in kept.items()
        },
        **{name: np.where(_empty(array), -1, np.arange(count)) for name, array in read.items()},
    )
    modality = {
        name: Modality(kind_of_array(array.shape[1:]), array.shape[1:])
        for name, array in read.items()
    }
    raise_problems(str(file), more + table_problems(frame, modality, arrays=read))
    return SampleTable(frame, modality, arrays=read, name=file.name, notes=notes + named)


def _modality(name: str, array: np.ndarray, count: int) -> tuple[np.ndarray, str, list[str]]:
    """An array as a modality's, what stands against it, and a note where it was turned."""
    notes: list[str] = []
    if array.ndim == 3 and array.shape[1] >= CLEARLY_LONGER * array.shape[2]:
        array = np.swapaxes(array, 1, 2)
        notes.append(f"{name}: its series are (steps, channels) and are turned")
    kind = kind_of_array(array.shape[1:])
    if array.dtype.kind not in "fiub":
        what = "complex numbers" if array.dtype.kind == "c" else str(array.dtype)
        return array, f"modality {name} holds {what}, real numbers were expected", notes
    if not kind:
        return array, f"modality {name} has shape {array.shape}; known are {_known_shapes()}", notes
    if len(array) != count:
        return (
            array,
            f"modality {name} has {len(array)} rows, y has {count}; give both the same recordings "
            f'in the same order, or set information="{name}" where it is no modality',
            notes,
        )
    if array.dtype == np.uint8 and array.ndim == 3 and min(array.shape[1:]) >= FEWEST_PIXELS:
        notes.append(
            f"{name}: its bytes {array.shape[1:]} are read as series of {array.shape[1]} channels; "
            f"where they are grey pictures, save numpy.repeat({name}[:, None, None], 3, axis=2)"
        )
    if array.dtype == np.uint8 == np.dtype(KINDS[kind].dtype):
        return array, "", notes
    with np.errstate(over="ignore"):
        return array.astype(np.float32), "", notes


def _frame(
    file: Path, count: int, columns: Mapping[str, Any]
) -> tuple[pd.DataFrame, list[str], list[str]]:
    """The table's own columns as text, its problems, and notes."""
    stem, width = file.stem, len(str(count))
    ids = columns.get("sample_id", [f"{stem}-{row:0{width}d}" for row in range(count)])
    notes: list[str] = []
    frame = pd.DataFrame(
        {
            "sample_id": ids,
            "label": columns["y"],
            "group": columns.get("group", ids),
            "split": columns.get("split", [""] * count),
        },
        dtype=str,
    )
    problems = []
    for name in ("label", "group"):
        values, named = one_text_a_number(without_missing_words(frame[name]))
        frame[name] = values
        notes += [f"{name}: {line}" for line in named]
        problems += twins(name, values, fold_case=name == "label")
    frame["split"], named = split_names(without_missing_words(frame["split"]))
    if 0 < (without := int((frame["split"] == "").sum())) < count:
        problems.append(
            f"{without} of {count} recordings have no split; fill them in, or leave split out"
        )
    return frame, problems, notes + named


def plain_text(values: np.ndarray) -> tuple[list[str], str]:
    """Text of every value, "" for None and NaN, and what is wrong with them: decimals have no one
    text, bytes no known one.
    """
    if values.dtype.kind == "f":
        whole = np.isnan(values) | (values == np.floor(values))
        if not whole.all():
            return [""] * len(values), "it holds decimal numbers; save whole numbers or text"
        return ["" if np.isnan(value) else str(int(value)) for value in values.tolist()], ""
    texts, wrong = [], []
    for value in values.tolist():
        known = isinstance(value, (str, int))  # a boolean is "True" or "False"
        texts.append(str(value) if known else "")
        if (
            not known
            and value is not None
            and value is not pd.NA
            and not (isinstance(value, float) and np.isnan(value))
        ):
            wrong.append(repr(value))
    return (
        texts,
        f"{some(wrong)} are neither text nor whole numbers; save them as text" if wrong else "",
    )


def unusual_values(name: str, array: np.ndarray) -> list[str]:
    """A note on the rows of a modality's array that hold NaN or infinity, or none."""
    if array.dtype.kind != "f":
        return []
    empty = int(_empty(array).sum())
    rows = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
    return (
        [
            f"{name}: {len(rows)} of {len(array)} rows hold values that are not finite numbers: "
            f"{some([f'{name}[{row}]' for row in rows])}"
            + (f"; {empty} of NaN alone are missing" if empty else "")
        ]
        if len(rows)
        else []
    )


def _empty(array: np.ndarray) -> np.ndarray:
    """Which rows hold NaN alone: recordings that lack the modality."""
    if array.dtype.kind != "f":
        return np.zeros(len(array), dtype=bool)
    return np.isnan(array).reshape(len(array), -1).all(axis=1)


def _load(file: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    try:
        return read_npz(file)
    except DamageError as error:
        raise TableError(str(error)) from error


def _is_one_hot(values: np.ndarray) -> bool:
    """Whether every row is 0 but for one 1."""
    if values.ndim != 2 or values.dtype.kind not in "fiub":
        return False
    return bool(np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all())


def _known_shapes() -> str:
    shapes = [(name, ", ".join(map(str, ("n", *kind.axes)))) for name, kind in KINDS.items()]
    return "; ".join(f"({shape}) {name}" for name, shape in shapes)
