"""What a dataset hands out for the table's rows, read one by one where the table itself holds
neither arrays nor files.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from quadlib.diagnosis.evidence.contents import Contents, contents_of_array
from quadlib.diagnosis.evidence.features import (
    inputs_by_name,
    presence,
    stored_arrays,
    table_arrays,
)
from quadlib.diagnosis.subject import Unavailable, codes_of

if TYPE_CHECKING:
    from quadlib.diagnosis.evidence.examination import Examination

MOST_ROWS = 4_000
MOST_BYTES = 64 * 2**20
MOST_SECONDS = 1.5
CHUNK = 64


@dataclass(frozen=True)
class Served:
    """arrays: modality -> (n, ...). place: row of the arrays for every row of the table, -1 where
    it was not read or has not the modality.

    steady: reading a recording again gives the same numbers, so that copies can be told.
    """

    arrays: dict[str, np.ndarray]
    place: dict[str, np.ndarray]
    steady: bool

    @cached_property
    def contents(self) -> dict[str, Contents]:
        """As of a table's own arrays; raises Unavailable where random changes hide what is a
        copy.
        """
        if not self.steady:
            raise Unavailable(
                "the dataset changes a recording at random each time it is read, so copies cannot "
                "be told"
            )
        return {
            name: contents_of_array(array, self.place[name]) for name, array in self.arrays.items()
        }


def served_of(x: Examination) -> Served:
    """Reads as many of the table's rows as time and memory allow; raises Unavailable where they are
    stored, or the rows are not known.
    """
    if table_arrays(x, partly=True) or stored_arrays(x):
        raise Unavailable("the recordings are read as they are stored")
    loader = x.subject.loader
    dataset: Any = getattr(loader, "dataset", None)
    whole = dataset.dataset if x.rows_of_subset is not None else dataset
    if (
        not hasattr(whole, "__getitem__")
        or not hasattr(whole, "__len__")
        or not hasattr(loader, "collate_fn")
    ):
        raise Unavailable("no map-style dataset hands out recordings by their number")
    if len(whole) not in (len(x.labels), len(x.train_rows)):
        raise Unavailable(
            f"the dataset has {len(whole)} recordings, the table {len(x.labels)}: which is which "
            "is not known"
        )
    table_rows = np.arange(len(whole)) if len(whole) == len(x.labels) else np.asarray(x.train_rows)

    def read(rows: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        batch = loader.collate_fn([whole[int(row)] for row in rows])
        if len(whole) < len(x.labels) and not _same_labels(x, batch, table_rows[rows]):
            raise Unavailable(
                "the dataset's labels are not those of the train rows in the table's order, so "
                "which is which is not known"
            )
        own = inputs_by_name(x.subject.inputs_of(batch))
        if any(len(values) != len(rows) for values in own.values()):
            raise Unavailable("the inputs of a batch do not have one row a recording")
        return own, presence(batch, own)

    rows = np.random.default_rng(0).permutation(len(whole))[:MOST_ROWS]
    first, again = read(rows[:8])[0], read(rows[:8])[0]
    steady = all(np.array_equal(first[name], again[name], equal_nan=True) for name in first)
    each = sum(values[0].nbytes for values in first.values())
    rows = np.sort(rows[: max(8, MOST_BYTES // max(each, 1))])
    parts: dict[str, list[np.ndarray]] = {name: [] for name in first}
    there: dict[str, list[np.ndarray]] = {name: [] for name in first}
    deadline, seen = time.monotonic() + MOST_SECONDS, 0
    for start in range(0, len(rows), CHUNK):
        own, present = read(rows[start : start + CHUNK])
        seen = min(start + CHUNK, len(rows))
        for name in parts:
            parts[name].append(own[name])
            there[name].append(present[name])
        if time.monotonic() > deadline:
            break
    arrays = {
        name: np.concatenate(values)
        for name, values in parts.items()
        if len({value.shape[1:] for value in values}) == 1
    }
    place = {}
    for name in arrays:
        place[name] = np.full(len(x.labels), -1, dtype=np.int64)
        place[name][table_rows[rows[:seen]]] = np.where(
            np.concatenate(there[name]), np.arange(seen), -1
        )
    return Served(arrays, place, steady)


def _same_labels(x: Examination, batch: Any, rows: np.ndarray) -> bool:
    """Whether equal labels of the table's rows are equal in the batch, and different ones
    different.
    """
    own, given = codes_of(np.asarray(x.labels)[rows]), codes_of(x.subject.batch_labels(batch))
    return len(own) == len(given) and bool(
        ((own[:, None] == own) == (given[:, None] == given)).all()
    )
