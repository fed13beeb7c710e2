"""A subject of which only a loop was seen, completed by what stands behind the loop's loader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from quadlib.diagnosis.evidence.observed.dataset import training_items, training_loader
from quadlib.diagnosis.subject import Subject, Unavailable

MOST_FLAGS = 32  # of an item: one a modality


@dataclass(frozen=True)
class ReadTable:
    """Items that were read, as a table: labels in the frame, streams as arrays."""

    frame: pd.DataFrame
    arrays: Mapping[str, np.ndarray]

    @property
    def modalities(self) -> Mapping[str, np.ndarray]:
        return self.arrays


def completed(subject: Subject) -> Subject:
    """The subject with the table, labels and loader that its record shows; as it is where it
    brings its own, or where the loader's dataset cannot be read by row.
    """
    if subject.record is None or subject.table is not None or subject.loader is not None:
        return subject
    try:
        items = training_items(subject.record)
        labels = items.labels
    except Unavailable:
        return subject
    except Exception as error:  # a dataset's own code may raise anything
        subject.record.faults.append(f"reading the dataset: {type(error).__name__}: {error}")
        return subject
    if subject.labels is not None or len(np.unique(labels)) == len(labels):
        return subject
    streams = {path: a for path, a in items.streams.items() if a.dtype.kind == "f"}
    rows = {path: _rows(array, items.arrays) for path, array in streams.items()}
    table = ReadTable(pd.DataFrame({"label": labels, **rows}), streams)
    loader = training_loader(subject.record) if items.whole else None
    return replace(subject, table=table, loader=loader)


def _rows(array: np.ndarray, leaves: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n,) the row of each item, -1 where its stream holds one value and a leaf of zeros and ones,
    or a column of one, marks just these items as the ones without it.
    """
    flat = array.reshape(len(array), -1)
    blank = (flat == flat[:, :1]).all(1)
    marks = [
        column
        for leaf in leaves.values()
        if _is_mark(leaf)
        for column in leaf.reshape(len(leaf), -1).astype(bool).T
    ]
    declared = any(np.array_equal(mark, ~blank) or np.array_equal(mark, blank) for mark in marks)
    return np.where(blank & (declared and not blank.all()), -1, np.arange(len(array)))


def _is_mark(leaf: np.ndarray) -> bool:
    narrow = leaf.ndim == 1 or (leaf.ndim == 2 and leaf.shape[1] <= MOST_FLAGS)
    return narrow and leaf.dtype.kind in "biuf" and bool(np.isin(leaf, (0, 1)).all())
