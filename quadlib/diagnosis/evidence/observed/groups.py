"""Of several columns a row, as a query's passages: which row of the batch brought each column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from quadlib.diagnosis.evidence.observed.collated import items_alone, same_row
from quadlib.diagnosis.evidence.observed.fact import fact
from quadlib.diagnosis.evidence.observed.passes import traced
from quadlib.diagnosis.evidence.observed.rows import compared
from quadlib.diagnosis.observe.record import Fetch, Record
from quadlib.diagnosis.subject import Unavailable

CLEAR = 5  # standard deviations by which one layout is right about more columns than the other


@dataclass(frozen=True)
class Groups:
    """path: the leaf of which each row becomes a column. owner: (m,) the row of the batch whose
    item a column is of. values: that leaf in each traced batch.
    """

    path: str
    owner: np.ndarray
    values: tuple[Tensor, ...]


@fact
def groups(record: Record) -> Groups:
    """Items are read and collated one by one to see whose rows they give; raises Unavailable where
    that does not tell.
    """
    comparison = compared(record)[0]
    n, m = len(comparison.left), len(comparison.right)
    if comparison.targets is None or len(comparison.targets) != n or m % n or m < 2 * n:
        raise Unavailable("no softmax over several columns a row was seen")
    fetches = [
        fetch
        for item in traced(record)
        for fetch in item.fetches
        if fetch.loader >= 0 and fetch.rows is not None and len(fetch.rows) == n
    ]
    path = _leaf_of(fetches[0], m) if fetches else ""
    if not path:
        raise Unavailable("no part of the batch has as many rows as the softmax has columns")
    values = tuple(f.values[path] for f in fetches if len(f.values.get(path, ())) == m)
    together, apart = np.arange(m) // (m // n), np.arange(m) % n
    alone = [parts.get(path) for parts in items_alone(record, fetches[0])]
    if any(part is None for part in alone):
        raise Unavailable("an item alone is not collated as a batch is")
    parts = [part for part in alone if part is not None]
    right = [_right(values[0], parts, owner) for owner in (together, apart)]
    # negatives may be drawn anew, so that of each item its positive alone comes again
    if max(right) < 0.9 * n or max(right) - min(right) < CLEAR * (min(right) + 1) ** 0.5:
        raise Unavailable("whose item a column is of does not show in the items themselves")
    return Groups(path, (together, apart)[int(np.argmax(right))], values)


def _leaf_of(fetch: Fetch, m: int) -> str:
    """The leaf of m rows that differ most."""
    kinds = {
        path: len(value.reshape(m, -1).unique(dim=0))
        for path, value in fetch.values.items()
        if value.ndim >= 2 and len(value) == m
    }
    return max(kinds, key=lambda path: kinds[path], default="")


def _right(columns: Tensor, parts: list[Tensor], owner: np.ndarray) -> int:
    """How many columns are a row of the item that is said to own them."""
    pairs = zip(columns, owner, strict=True)
    return sum(any(same_row(c, row) for row in parts[k]) for c, k in pairs)
