"""Arrays of one .npz file as a table: recordings that come as features, already decoded."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quadlib.data.decoding.damage import open_regular
from quadlib.data.kinds import kind_of_array
from quadlib.data.samples import (
    Modality,
    SampleTable,
    TableError,
    raise_problems,
    some,
    table_problems,
)
from quadlib.data.sources.text import twins
from quadlib.registry import KINDS

TEXTS = ("y", "group", "split", "sample_id")


def read_archive(file: Path) -> SampleTable:
    """The recordings of an .npz: `y` (n,) labels, optional `group`, `split`, `sample_id`, all other
    arrays (n, ...) modalities.

    The kind follows from an array's shape: (n, d) vector; (n, channels, steps) series; (n, 2, mel,
    frames) audio; (n, T, 2, H, W) video; (n, V, 3, H, W) image. Numbers become float32, but uint8
    video and image stay. Rows with values that are not finite are named in `notes`; decoding treats
    them as damage. Nothing is unpickled. Raises TableError.
    """
    arrays, problems = _load(file)
    if "y" not in arrays:
        problems.append(f"no array y with the labels; found {', '.join(arrays) or 'none'}")
    raise_problems(str(file), problems)
    count = len(arrays["y"]) if arrays["y"].ndim else 0
    columns: dict[str, Any] = {}
    for name in TEXTS:
        if name in arrays and arrays[name].shape != (count,):
            problems.append(
                f"{name} has shape {arrays[name].shape}, ({count},) was expected: one value a "
                "recording"
            )
        elif name in arrays:
            columns[name], problem = plain_text(arrays[name])
            problems += [f"{name}: {problem}"] if problem else []
    modalities, values, notes = {}, {}, []
    for name, array in arrays.items():
        if name in TEXTS:
            continue
        kind = kind_of_array(array.shape[1:])
        if array.dtype.kind not in "fiub":
            problems.append(f"modality {name} holds {array.dtype}, numbers were expected")
        elif not kind:
            problems.append(f"modality {name} has shape {array.shape}; known are {_known_shapes()}")
        elif len(array) != count:
            problems.append(
                f"modality {name} has {len(array)} rows, y has {count}; give both the same "
                "recordings in the same order"
            )
        else:
            with np.errstate(over="ignore"):
                values[name] = (
                    array
                    if array.dtype == np.uint8 == np.dtype(KINDS[kind].dtype)
                    else array.astype(np.float32)
                )
            modalities[name] = Modality(kind, array.shape[1:])
            notes += unusual_values(name, values[name])
    if not modalities and not problems:
        problems.append(
            f"no modality beside {', '.join(arrays)}; save arrays (n, ...) under the modalities' "
            "names"
        )
    raise_problems(str(file), problems)
    ids = columns.get(
        "sample_id", [f"{file.stem}-{row:0{len(str(count))}d}" for row in range(count)]
    )
    frame = pd.DataFrame(
        {
            "sample_id": ids,
            "label": columns["y"],
            "group": columns.get("group", ids),
            "split": columns.get("split", [""] * count),
        },
        dtype=str,
    ).assign(**{name: np.arange(count) for name in values})
    for column in ("label", "group"):
        problems += twins(column, frame[column].tolist(), fold_case=column == "label")
    if 0 < (without := int((frame["split"] == "").sum())) < count:
        problems.append(
            f"{without} of {count} recordings have no split; fill them in, or leave split out"
        )
    raise_problems(str(file), problems + table_problems(frame, modalities, arrays=values))
    return SampleTable(frame, modalities, arrays=values, name=file.name, notes=notes)


def plain_text(values: np.ndarray) -> tuple[list[str], str]:
    """Text of every value, "" for None and NaN, and what is wrong with them: decimals have no one
    text, bytes no known one.
    """
    if values.dtype.kind == "f":
        return [""] * len(values), "it holds decimal numbers; save whole numbers or text"
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
    rows = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
    return (
        [
            f"{name}: {len(rows)} of {len(array)} rows hold values that are not finite numbers: "
            f"{some(rows + 1)}"
        ]
        if len(rows)
        else []
    )


def _load(file: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    arrays, problems = {}, []
    try:
        with open_regular(file) as stream, np.load(stream, allow_pickle=False) as archive:
            for name in archive.files:
                try:
                    arrays[name] = archive[name]
                except ValueError:
                    problems.append(
                        f"{name} holds Python objects, which are never unpickled; save text as "
                        "numpy.array(values, dtype=str)"
                    )
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise TableError(
            f"{file} is not a readable .npz file ({error}); write it again with numpy.savez"
        ) from error
    return arrays, problems


def _known_shapes() -> str:
    shapes = [(name, ", ".join(map(str, ("n", *kind.axes)))) for name, kind in KINDS.items()]
    return "; ".join(f"({shape}) {name}" for name, shape in shapes)
