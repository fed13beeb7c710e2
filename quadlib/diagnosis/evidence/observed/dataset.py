"""The data behind the loaders that were seen: items are read through a copy, leaf by leaf."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, Subset

from quadlib.diagnosis.evidence.observed.fact import fact
from quadlib.diagnosis.evidence.observed.labels import labels
from quadlib.diagnosis.evidence.observed.passes import batches
from quadlib.diagnosis.observe.record import Fetch, Record
from quadlib.diagnosis.subject import Unavailable

MOST_ROWS = 1024
MOST_BYTES = 48 << 20
MOST_DEPTH = 5
POOLED = 0.1  # share of a stream's rows that another stream holds too


@dataclass(frozen=True)
class Items:
    """Items of a dataset. rows: which. arrays: path -> (n, ...) of every leaf that all items have
    in one shape. label: the path of the label, None where no leaf is what the loss was given.
    """

    rows: np.ndarray
    arrays: Mapping[str, np.ndarray]
    label: str | None
    whole: bool

    @property
    def streams(self) -> dict[str, np.ndarray]:
        """Leaves of more than one number."""
        return {p: a for p, a in self.arrays.items() if a.ndim >= 2 and p != self.label}

    @property
    def labels(self) -> np.ndarray:
        if self.label is None:
            raise Unavailable("no leaf of the dataset's items is the label that the loss was given")
        return self.arrays[self.label]


def from_a_pool(items: Items) -> bool:
    """Whether streams of an item hold what those of other items hold in another stream: pairs and
    triplets are drawn so, and which of them go together is no matter of rows.
    """
    kept: dict[tuple[Any, ...], list[set[bytes]]] = {}
    for array in items.streams.values():
        if array.dtype.kind == "f":
            rows = {row.tobytes() for row in array}
            kept.setdefault((array.shape[1:], array.dtype), []).append(rows)
    return any(
        len(one & other) >= POOLED * min(len(one), len(other)) and one != other
        for group in kept.values()
        for k, one in enumerate(group)
        for other in group[:k]
    )


def training_loader(record: Record) -> Any:
    """The loader whose batches are trained on."""
    places = [fetch.loader for fetch in batches(record) if fetch.loader >= 0]
    if not places:
        raise Unavailable("no loader was seen")
    return record.loaders[max(set(places), key=places.count)]


@fact
def training_items(record: Record) -> Items:
    """Items of the training loader's dataset; raises Unavailable where it cannot be read by row."""
    loader = training_loader(record)
    rows, arrays, whole = read(loader.dataset)
    return Items(rows, arrays, _label_path(record, loader, rows, arrays), whole)


def other_items(record: Record, dataset: Any) -> Items:
    """Items of a dataset that is not trained on, read once; their label is where training has it.
    Raises Unavailable as `training_items` does.
    """

    def other(record: Record) -> Items:
        rows, arrays, whole = read(dataset)
        label = training_items(record).label
        return Items(rows, arrays, label if label in arrays else None, whole)

    other.__name__ = f"other_items {id(dataset)}"
    return fact(other)(record)


def read(dataset: Any) -> tuple[np.ndarray, dict[str, np.ndarray], bool]:
    """Rows, leaf arrays, and whether every row was read, of a dataset within a budget of rows and
    bytes; random states are as they were afterwards.
    """
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        raise Unavailable("the dataset is a stream, which cannot be read by row")
    try:
        n = len(dataset)
    except TypeError as error:
        raise Unavailable("the dataset has no length") from error
    rows = np.unique(np.linspace(0, max(n - 1, 0), min(n, MOST_ROWS)).astype(int))
    leaves: dict[str, list[np.ndarray]] = {}
    size, taken = 0, 0
    with same_randomness():
        source = light_copy(dataset)
        order = np.random.default_rng(0).permutation(rows) if n > MOST_ROWS else rows
        for row in order:
            item = dict(_leaves(source[int(row)], "", 0))
            if taken and set(item) != set(leaves):
                raise Unavailable("the dataset's items differ in what they hold")
            for path, value in item.items():
                leaves.setdefault(path, []).append(value)
                size += value.nbytes
            taken += 1
            if size > MOST_BYTES:
                break
    arrays = {
        path: np.stack(values)
        for path, values in leaves.items()
        if len({(value.shape, value.dtype) for value in values}) == 1
    }
    return np.asarray(order[:taken]), arrays, taken == n


def root_rows(dataset: Any) -> tuple[Any, np.ndarray | None]:
    """The dataset at the end of a chain of Subsets, and which of its rows the chain leaves."""
    rows: np.ndarray | None = None
    while isinstance(dataset, Subset):
        indices = np.asarray(dataset.indices)
        rows = indices if rows is None else indices[rows]
        dataset = dataset.dataset
    return dataset, rows


def evaluation_loaders(record: Record) -> list[Any]:
    """Loaders beside the training one: iterated without gradients, or at hand in the loop."""
    training = training_loader(record)
    trained = {id(record.loaders[fetch.loader]) for fetch in batches(record) if fetch.loader >= 0}
    return [
        item
        for item in (*record.loaders, *record.bystanders)
        if item is not training and id(item) not in trained
    ]


def _label_path(
    record: Record, loader: Any, rows: np.ndarray, arrays: Mapping[str, np.ndarray]
) -> str | None:
    """The leaf whose values are the labels that the batches gave for the same rows."""
    try:
        known = labels(record)
    except Unavailable:
        return None
    place = {int(row): k for k, row in enumerate(rows)}
    pairs = [
        (place[row], value)
        for values, numbers in zip(known.values, known.rows, strict=True)
        if numbers is not None and len(numbers) == len(values)
        for row, value in zip(numbers, values.tolist(), strict=True)
        if row in place
    ]
    single = {path: a for path, a in arrays.items() if a.ndim == 1 and a.dtype.kind in "iu"}
    if not pairs:
        return None
    where, expected = (np.array(column) for column in zip(*pairs, strict=True))
    return next((p for p, a in single.items() if np.array_equal(a[where], expected)), None)


def _leaves(value: Any, path: str, depth: int) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(value, Tensor):
        yield (
            path,
            value.detach().cpu().float().numpy()
            if value.dtype == torch.bfloat16
            else (value.detach().cpu().numpy()),
        )
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        yield path, value
    elif isinstance(value, (bool, int, float, np.generic)):
        yield path, np.asarray(value)
    elif depth == MOST_DEPTH:
        return
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}[{key!r}]", depth + 1)
    elif isinstance(value, (tuple, list)):
        for place, item in enumerate(value):
            yield from _leaves(item, f"{path}[{place}]", depth + 1)
    elif is_dataclass(value) and not isinstance(value, type):
        for entry in fields(value):
            yield from _leaves(getattr(value, entry.name), f"{path}.{entry.name}", depth + 1)


def light_copy(dataset: Any) -> Any:
    """A copy whose arrays are shared, so that reading it moves no counter or generator of the
    dataset's own.
    """
    shared = {id(part): part for part in _arrays_of(dataset, 0)}
    try:
        return copy.deepcopy(dataset, shared)
    except Exception as error:  # a dataset may hold open files, locks or anything
        raise Unavailable(f"the dataset cannot be copied: {type(error).__name__}") from error


def _arrays_of(value: Any, depth: int) -> Iterator[Any]:
    if isinstance(value, (Tensor, np.ndarray)):
        yield value
    elif depth < MOST_DEPTH:
        parts = value.values() if isinstance(value, Mapping) else value
        if isinstance(value, (Mapping, tuple, list)):
            for part in parts:
                yield from _arrays_of(part, depth + 1)
        elif hasattr(value, "__dict__"):
            for part in vars(value).values():
                yield from _arrays_of(part, depth + 1)


@contextmanager
def same_randomness() -> Iterator[None]:
    """The random states of Python, numpy and torch are afterwards as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


def rows_read_twice(fetches: list[Fetch]) -> list[int]:
    """Rows that stand more than once in one batch."""
    repeated: list[int] = []
    for fetch in fetches:
        numbers, counts = np.unique(fetch.rows or (), return_counts=True)
        repeated += numbers[counts > 1].tolist()
    return repeated
