"""Of several columns a row, as a query's passages: which row of the batch brought each column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from quadlib.diagnosis.evidence.observed.dataset import (
    light_copy,
    same_randomness,
    training_loader,
)
from quadlib.diagnosis.evidence.observed.fact import fact
from quadlib.diagnosis.evidence.observed.passes import traced
from quadlib.diagnosis.evidence.observed.rows import compared
from quadlib.diagnosis.observe.leaves import tensors_in
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
    parts = _items(record, fetches[0], path)
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


def _items(record: Record, fetch: Fetch, path: str) -> list[Tensor]:
    """The leaf of each row of a batch, collated alone."""
    loader = training_loader(record)
    with same_randomness():
        source = light_copy(loader.dataset)
        try:
            batches = [loader.collate_fn([source[row]]) for row in fetch.rows or ()]
        except Exception as error:  # a dataset's own code may raise anything
            raise Unavailable(f"an item cannot be read again: {type(error).__name__}") from error
    parts = [dict(tensors_in(batch)).get(path) for batch in batches]
    if any(part is None for part in parts):
        raise Unavailable("an item alone is not collated as a batch is")
    return [part.detach().cpu() for part in parts if part is not None]


def _right(columns: Tensor, parts: list[Tensor], owner: np.ndarray) -> int:
    """How many columns are a row of the item that is said to own them."""
    pairs = zip(columns, owner, strict=True)
    return sum(any(same_row(c, row) for row in parts[k]) for c, k in pairs)


def same_row(one: Tensor, other: Tensor) -> bool:
    """Whether two rows hold the same, the longer one padded with one value."""
    if one.ndim > 1 or other.ndim > 1:
        return torch.equal(one, other)
    short, long = sorted((one, other), key=len)
    rest = long[len(short) :]
    return torch.equal(short, long[: len(short)]) and len(rest.unique()) <= 1
