"""In which order the parts of a batch hold its items: each item is collated alone, and found."""

from __future__ import annotations

import random

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
from quadlib.diagnosis.observe.leaves import tensors_in
from quadlib.diagnosis.observe.record import Fetch, Leaf, Record
from quadlib.diagnosis.subject import Unavailable

MOST_ROWS = 512
FOUND = 0.9  # share of the rows that must be found, as they are where nothing is drawn at random


@fact
def places(record: Record) -> dict[str, tuple[Leaf, np.ndarray]]:
    """Path -> its leaf, and (n, n) whether the row at each place equals each item of the first
    batch, items first; of the parts in which items come again when they are read again. Raises
    Unavailable where items cannot be read alone, or fewer than two parts tell.
    """
    fetches = [f for item in traced(record) for f in item.fetches if f.loader >= 0 and f.rows]
    if not fetches or len(fetches[0].rows or ()) > MOST_ROWS:
        raise Unavailable("no batch was seen whose rows have numbers in the dataset")
    fetch = fetches[0]
    rows = fetch.rows or ()
    alone, again = items_alone(record, fetch), items_alone(record, fetch, seed=1)
    found = {}
    for leaf in fetch.leaves:
        values = fetch.values.get(leaf.path)
        if values is None or not values.ndim or len(values) != len(rows):
            continue
        parts = [part.get(leaf.path) for part in alone]
        if any(part is None or not part.ndim or len(part) != 1 for part in parts):
            continue
        items = [part[0] for part in parts if part is not None]
        others = [part[leaf.path][0] for part in again if leaf.path in part]
        if len(items) != len(others) or not all(map(torch.equal, items, others)):
            continue  # drawn anew each time: an equal value tells no item
        equal = np.array([[same_row(value, item) for value in values] for item in items])
        if equal.any(1).mean() >= FOUND:
            found[leaf.path] = (leaf, equal)
    if len(found) < 2:
        raise Unavailable("fewer than two parts of a batch tell which item a row is of")
    return found


def items_alone(
    record: Record, fetch: Fetch, *, seed: int | None = None
) -> list[dict[str, Tensor]]:
    """The leaves of each item of a batch, read again and collated alone; seed: of what is drawn
    there, else the generators go on from where they are.
    """
    loader = training_loader(record)
    with same_randomness():
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            torch.manual_seed(seed)
        source = light_copy(loader.dataset)
        try:
            batches = [loader.collate_fn([source[row]]) for row in fetch.rows or ()]
        except Exception as error:  # a dataset's own code may raise anything
            raise Unavailable(f"an item cannot be read again: {type(error).__name__}") from error
    return [{p: t.detach().cpu() for p, t in tensors_in(batch)} for batch in batches]


def same_row(one: Tensor, other: Tensor) -> bool:
    """Whether two rows hold the same, the longer one padded with one value."""
    if not one.ndim or one.shape[1:] != other.shape[1:] or one.ndim != other.ndim:
        return torch.equal(one, other)
    short, long = sorted((one, other), key=len)
    rest = long[len(short) :].flatten()
    return torch.equal(short, long[: len(short)]) and bool((rest == rest[:1]).all())
