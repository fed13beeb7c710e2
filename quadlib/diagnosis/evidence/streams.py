"""The streams of a pipeline as they are stored, named in the table and handed to the encoders, each
modality by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from quadlib.diagnosis import conventions
from quadlib.diagnosis.evidence.batch import inputs_of, presence_of
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.features import stored_arrays, table_arrays
from quadlib.diagnosis.limits import Limits
from quadlib.diagnosis.subject import Unavailable, as_array


def stored_rows(x: Examination, required: bool = True) -> dict[str, np.ndarray]:
    """Stored arrays of training rows that have the modality, before any transform; raises
    Unavailable where required and none is there.
    """
    try:
        given = table_arrays(x) or stored_arrays(x)
        rows = np.asarray(x.train_rows)
    except Unavailable:
        given = {}
    if not given and required:
        raise Unavailable("the table's modalities are no arrays, and no dataset keeps decoded ones")
    found = {}
    for name, (array, place) in given.items():
        there = place[rows]
        there = there[(there >= 0) & (there < len(array))]
        if int(np.prod(array.shape[1:])) > x.limits.small_sample:
            there = there[
                np.linspace(
                    0, max(len(there) - 1, 0), min(x.limits.stored_rows, len(there))
                ).astype(int)
            ]
        if len(there):
            found[name] = np.asarray(array[there])
    return found


def entering_rows(x: Examination, required: bool = True) -> dict[str, np.ndarray]:
    """What the loader gives to the encoders in its first batches: rows that have the modality
    alone.
    """
    try:
        return _rows_of(x, x.batches)
    except Unavailable:
        if required:
            raise
        return {}


def unchanged_rows(x: Examination) -> dict[str, np.ndarray]:
    """The same without augmentation, where the dataset can leave it out; else nothing."""
    batches = getattr(getattr(x.subject.loader, "dataset", None), "batches", None)
    if not callable(batches):
        return {}
    return _rows_of(
        x,
        list(
            itertools.islice(
                batches(x.train_rows[: x.limits.stored_rows], x.limits.stored_rows // 2), 2
            )
        ),
    )


def _rows_of(x: Examination, batches: list[Any]) -> dict[str, np.ndarray]:
    parts: dict[str, list[np.ndarray]] = {}
    for batch in batches:
        inputs = inputs_of(batch)
        mask, expected = (
            presence_of(batch, len(next(iter(inputs.values()))), len(inputs)),
            expected_presence(x, batch, list(inputs)),
        )
        for place, (name, values) in enumerate(inputs.items()):
            kept = values.detach().float().cpu().numpy()
            if mask is not None:
                there = mask[:, place].cpu().numpy()
                # a mask that contradicts the table, or declares zeros present and data absent, says
                # nothing of the stream itself
                there = (
                    there & expected[:, place]
                    if expected is not None
                    else there & bool(kept[there].any() or not kept.any())
                )
                kept = kept[there]
            parts.setdefault(name, []).append(kept)
    return {
        name: np.concatenate(values)
        for name, values in parts.items()
        if len({value.shape[1:] for value in values}) == 1
    }


def constant(values: np.ndarray, limits: Limits) -> bool:
    """Whether all rows are equal, up to rounding in float32; rows with values that are not finite
    are not judged.
    """
    if len(values) < 2:
        return False
    flat = values.reshape(len(values), -1)
    if not np.isfinite(flat).all():
        return False
    low, high = flat.min(axis=0).astype(np.float64), flat.max(axis=0).astype(np.float64)
    return bool(
        (high - low <= limits.constant_stream * np.maximum(np.abs(low), np.abs(high))).all()
    )


def expected_presence(x: Examination, batch: Any, names: list[str]) -> np.ndarray | None:
    """What the table says is there in the rows of a batch: (B, M) bool, or None where batch or
    table does not tell.
    """
    rows = rows_of_batch(batch)
    if rows is None or x.subject.table is None:
        return None
    table = getattr(x.subject.table, "present", None)
    known = list(getattr(x.subject.table, "modalities", ()))
    if isinstance(table, np.ndarray) and all(name in known for name in names):
        present: np.ndarray = table[rows][:, [known.index(name) for name in names]]
        return present
    if not all(name in x.frame for name in names):
        return None
    return np.stack(
        [~(x.frame[name].isna() | x.frame[name].isin(["", -1])).to_numpy()[rows] for name in names],
        axis=1,
    )


def rows_of_batch(batch: Any) -> np.ndarray | None:
    """The table's rows that a batch says it holds (`index`), or None."""
    index = batch.get("index") if isinstance(batch, Mapping) else getattr(batch, "index", None)
    return as_array(index).astype(np.int64) if isinstance(index, (Tensor, np.ndarray)) else None


def path_columns(x: Examination) -> dict[str, pd.Series]:
    """Columns of the table that name files, of the rows that have one."""
    try:
        frame = x.frame
    except Unavailable:
        return {}
    arrays = getattr(x.subject.table, "arrays", {})
    found = {}
    for name in getattr(x.subject.table, "modalities", frame.columns):
        if name not in frame or name in arrays or name in conventions.TABLE_COLUMNS:
            continue
        given = frame[name].dropna()
        texts = given[given.map(lambda value: isinstance(value, str) and value != "")]
        if len(texts) and texts.str.contains(r"\.\w{1,8}(?:\||$)", regex=True).mean() > 0.5:
            found[str(name)] = texts.astype(str)
    return found
