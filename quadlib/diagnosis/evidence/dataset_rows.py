"""What a dataset hands out for the table's rows, read one by one where the table itself holds
neither arrays nor files.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from quadlib.diagnosis.evidence.contents import Contents, contents_of_array
from quadlib.diagnosis.evidence.features import (
    input_arrays,
    presence,
    stored_arrays,
    table_arrays,
)
from quadlib.diagnosis.limits import Limits
from quadlib.diagnosis.subject import Unavailable, codes_of

if TYPE_CHECKING:
    from quadlib.diagnosis.evidence.examination import Examination

CHUNK = 64


Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class DatasetRows:
    """arrays: modality -> (n, ...). place: row of the arrays for every row of the table, -1 where
    it was not read or has not the modality.

    steady: reading a sample again gives the same numbers, so that copies can be told.
    """

    arrays: Arrays
    place: Arrays
    steady: bool
    limits: Limits

    @cached_property
    def contents(self) -> dict[str, Contents]:
        """As of a table's own arrays; raises Unavailable where random changes hide what is a
        copy.
        """
        if not self.steady:
            raise Unavailable(
                "the dataset changes a sample at random each time it is read, so copies cannot be "
                "recognised"
            )
        return {
            name: contents_of_array(array, self.place[name], self.limits)
            for name, array in self.arrays.items()
        }


def dataset_rows(x: Examination) -> DatasetRows:
    """Reads as many of the table's rows as time and memory allow; raises Unavailable where they are
    stored, or the rows are not known.
    """
    if table_arrays(x, partly=True) or stored_arrays(x):
        raise Unavailable("the samples are read as they are stored")
    reader = _reader(x)
    chosen = np.random.default_rng(0).permutation(len(reader.table_rows))[: x.limits.served_rows]
    first, again = reader.read(chosen[:8])[0], reader.read(chosen[:8])[0]
    steady = all(np.array_equal(first[name], again[name], equal_nan=True) for name in first)
    bytes_each = max(sum(values[0].nbytes for values in first.values()), 1)
    chosen = np.sort(chosen[: max(8, x.limits.served_bytes // bytes_each)])
    parts = list(reader.read_for(chosen, x.limits.served_seconds))
    arrays, place = {}, {}
    for name in first:
        values = [inputs[name] for inputs, _ in parts]
        if len({value.shape[1:] for value in values}) > 1:
            continue  # samples of different shapes are no array
        arrays[name] = np.concatenate(values)
        present = np.concatenate([mask[name] for _, mask in parts])
        place[name] = np.full(len(x.labels), -1, dtype=np.int64)
        rows = reader.table_rows[chosen[: len(present)]]
        place[name][rows] = np.where(present, np.arange(len(present)), -1)
    return DatasetRows(arrays, place, steady, x.limits)


@dataclass(frozen=True)
class _Reader:
    """A dataset that hands out samples by number, and the table's row of each number."""

    x: Examination
    dataset: Any
    table_rows: np.ndarray

    def read(self, numbers: np.ndarray) -> tuple[Arrays, Arrays]:
        """Inputs of some samples by modality, (n, ...), and which samples have which."""
        batch = self.x.subject.loader.collate_fn([self.dataset[int(number)] for number in numbers])
        rows = self.table_rows[numbers]
        if len(self.dataset) < len(self.x.labels) and not _same_labels(self.x, batch, rows):
            raise Unavailable(
                "the dataset's labels are not those of the train rows in the table's order, so "
                "which is which is not known"
            )
        inputs = input_arrays(batch)
        if any(len(values) != len(numbers) for values in inputs.values()):
            raise Unavailable("the inputs of a batch do not have one row a sample")
        return inputs, presence(batch, inputs)

    def read_for(self, numbers: np.ndarray, seconds: float) -> Iterator[tuple[Arrays, Arrays]]:
        """The same chunk by chunk, until the time is over."""
        deadline = time.monotonic() + seconds
        for start in range(0, len(numbers), CHUNK):
            yield self.read(numbers[start : start + CHUNK])
            if time.monotonic() > deadline:
                return


def _reader(x: Examination) -> _Reader:
    loader = x.subject.loader
    dataset: Any = getattr(loader, "dataset", None)
    whole = dataset.dataset if x.rows_of_subset is not None else dataset
    if not all(hasattr(whole, name) for name in ("__getitem__", "__len__")) or not hasattr(
        loader, "collate_fn"
    ):
        raise Unavailable("no map-style dataset returns samples by their number")
    if len(whole) == len(x.labels):
        return _Reader(x, whole, np.arange(len(whole)))
    if len(whole) == len(x.train_rows):
        return _Reader(x, whole, np.asarray(x.train_rows))
    raise Unavailable(
        f"the dataset has {len(whole)} samples, the table {len(x.labels)}: which is which is not "
        "known"
    )


def _same_labels(x: Examination, batch: Any, rows: np.ndarray) -> bool:
    """Whether equal labels of the table's rows are equal in the batch, and different ones
    different.
    """
    expected, actual = codes_of(np.asarray(x.labels)[rows]), codes_of(x.labels_in(batch))
    return len(expected) == len(actual) and bool(
        ((expected[:, None] == expected) == (actual[:, None] == actual)).all()
    )
