"""The arrays that an observed loop's variables hold, by the names that lead to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from quadlib.diagnosis.observe.frames import is_own, own_frames
from quadlib.diagnosis.observe.leaves import holds_items

FEWEST_ROWS = 8
MOST_PARTS = 8  # of a tuple or list, that are looked into
MOST_OBJECTS = 5000
MOST_DEPTH = 4
MOST_BYTES = 64 << 20  # of an array, of which the rows of a Subset are taken


def arrays_at_hand(frames: Iterable[FrameType]) -> list[tuple[str, Any]]:
    """(name, array, tensor, table or list of whole numbers) of the variables of the loop's own
    frames, and of what these hold: `data.test.x` is the entry or attribute x of test of data.
    """
    own = own_frames(frames)
    pairs = [pair for f in own for pair in (*f.f_globals.items(), *f.f_locals.items())]
    return arrays_among(pairs)


def arrays_among(variables: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The same of variables, by name."""
    seen: set[int] = set()
    named = [(name, value) for name, value in variables if not name.startswith("__")]
    return [found for name, value in named for found in _arrays(name, value, 0, seen)]


def arrays_within(name: str, value: Any) -> list[tuple[str, Any]]:
    """The same of one object, under its name."""
    return list(_arrays(name, value, 0, set()))


def _arrays(name: str, value: Any, depth: int, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if is_array(value):
        if len(value) >= FEWEST_ROWS:
            yield name, value  # under each of its names
        return
    if depth == MOST_DEPTH or id(value) in seen or len(seen) > MOST_OBJECTS:
        return
    seen.add(id(value))
    if issubclass(type(value), Subset):
        yield from _rows_of(name, value, depth)
        return
    parts = _parts(value)
    for key, part in parts.items():
        yield from _arrays(f"{name}.{key}", part, depth + 1, seen)


def _rows_of(name: str, subset: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Of the arrays of a dataset the rows that a Subset of it holds."""
    rows, total = np.asarray(subset.indices), len(subset.dataset)
    for path, value in _arrays(name, subset.dataset, depth, set()):
        if len(value) == total and getattr(value, "nbytes", 0) <= MOST_BYTES:
            yield path, as_numpy(value)[rows]


def _parts(value: Any) -> Mapping[str, Any]:
    """What an object of the loop's holds, by name; nothing of a library's, but of its datasets."""
    kind = type(value)
    if kind in (tuple, list):
        return {str(k): part for k, part in enumerate(value)} if len(value) <= MOST_PARTS else {}
    if holds_items(value):
        return {key: part for key, part in value.items() if isinstance(key, str)}
    if issubclass(kind, DataLoader):
        return {"dataset": value.dataset}
    if issubclass(kind, (type, nn.Module)) or not (is_own(kind) or issubclass(kind, Dataset)):
        return {}
    return dict(getattr(value, "__dict__", {}))


def is_array(value: Any) -> bool:
    """Whether it is an array of one or more dimensions, a table or column of pandas, or a list of
    whole numbers or of names.
    """
    kind = type(value)
    if kind is list:
        return len(value) >= FEWEST_ROWS and type(value[0]) in (int, str)
    if issubclass(kind, (np.ndarray, Tensor)):
        return bool(value.ndim) and not (issubclass(kind, Tensor) and value.requires_grad)
    return kind.__module__.startswith("pandas") and kind.__name__ in ("DataFrame", "Series")


def as_numpy(value: Any) -> np.ndarray:
    """An array of what `arrays_at_hand` found, of a table its columns of numbers."""
    if isinstance(value, Tensor):
        kept = value.detach().cpu()
        return (kept.float() if kept.dtype == torch.bfloat16 else kept).numpy()
    if type(value).__name__ == "DataFrame":
        return np.asarray(value.select_dtypes("number"))
    return np.asarray(value)
