"""The labels of the observed batches: what reaches the loss as such, never a guess by position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from quadlib.diagnosis.evidence.observed.fact import fact
from quadlib.diagnosis.evidence.observed.passes import batches, reached, traced
from quadlib.diagnosis.observe.record import Backward, Fetch, Record
from quadlib.diagnosis.subject import Unavailable


@dataclass(frozen=True)
class Labels:
    """mark: the leaf that they are. values: one array a batch. rows: the dataset's rows of each
    batch, None where they have no numbers. proven: a saved target or mask of the loss is theirs.
    """

    mark: str
    values: tuple[np.ndarray, ...]
    rows: tuple[tuple[int, ...] | None, ...]
    proven: bool

    @property
    def all(self) -> np.ndarray:
        return np.concatenate(self.values)


@fact
def labels(record: Record) -> Labels:
    """Whole numbers, one a row, that reach the loss, and not as the rows of an embedding's table;
    raises Unavailable where there are none.
    """
    candidates: dict[str, list[tuple[Fetch, np.ndarray]]] = {}
    for fetch in batches(record):
        for leaf in fetch.leaves:
            mark = fetch.mark(leaf.path)
            whole = len(leaf.shape) == 1 and not leaf.is_float and leaf.path in fetch.values
            if not whole or mark not in reached(record) or leaf.dtype == "bool":
                continue
            values = fetch.values[leaf.path].numpy()
            if fetch.loader < 0 and _columns_of_rows(record, values):
                continue
            if fetch.rows is None or tuple(values.tolist()) != fetch.rows or len(values) < 2:
                candidates.setdefault(mark, []).append((fetch, values))
    first = [item.backward for item in traced(record)]
    candidates = {
        mark: kept
        for mark, kept in candidates.items()
        if mark not in record.looked_up or _are_targets(first[0], kept[0][1])
    }
    if not candidates:
        raise Unavailable("no labels reach the loss; declare them with labels=")
    proven = [mark for mark, kept in candidates.items() if _proves(first[0], kept[0][1])]
    mark = proven[0] if proven else min(candidates, key=lambda m: _variety(candidates[m]))
    kept = candidates[mark]
    return Labels(
        mark,
        tuple(values for _, values in kept),
        tuple(fetch.rows for fetch, _ in kept),
        bool(proven),
    )


def by_class_columns(record: Record) -> bool:
    """Whether the targets of a softmax are the labels, or number the same classes otherwise, so
    that a class has a column of its own.
    """
    try:
        own = labels(record)
    except Unavailable:
        return False
    comparison = traced(record)[0].backward.comparison
    if comparison is None or comparison.targets is None:
        return False
    targets, first = comparison.targets.long(), torch.as_tensor(own.values[0]).long()
    if targets.shape != first.shape or torch.equal(targets, first):
        return targets.shape == first.shape
    same = first[:, None] == first
    return len(first.unique()) < len(first) and torch.equal(targets[:, None] == targets, same)


def _columns_of_rows(record: Record, values: np.ndarray) -> bool:
    """Whether numbers that a loss's module was handed are the columns of the rows' own positives,
    as zeros are in front of a queue: made for the loss, and no labels.
    """
    comparison = traced(record)[0].backward.comparison
    if comparison is None or comparison.by != "product" or comparison.targets is None:
        return False
    own = torch.as_tensor(values)
    counted = not own.any() or torch.equal(own, torch.arange(len(own)).to(own.dtype))
    return counted and torch.equal(comparison.targets.to(own.dtype), own)


def _variety(kept: list[tuple[Fetch, np.ndarray]]) -> float:
    values = np.concatenate([values for _, values in kept])
    return len(np.unique(values)) / max(len(values), 1)


def _proves(backward: Backward, values: np.ndarray) -> bool:
    """Whether the loss kept these labels as its targets, or a mask made of them."""
    comparison = backward.comparison
    if comparison is None:
        return False
    if _are_targets(backward, values):
        return True
    own = torch.as_tensor(values)
    mask = comparison.mask
    if mask is not None and mask.shape[0] != mask.shape[1]:  # one column a class
        return len(mask) == len(values) and torch.equal(mask.int().argmax(1), own.long())
    return mask is not None and mask_layout(mask, values) is not None


def _are_targets(backward: Backward, values: np.ndarray) -> bool:
    comparison, own = backward.comparison, torch.as_tensor(values)
    if comparison is None or comparison.targets is None:
        return False
    return torch.equal(comparison.targets.to(own.dtype), own)


def mask_layout(mask: torch.Tensor, values: np.ndarray) -> str | None:
    """How the rows of a mask of positives belong to labels: "blocks" (view after view),
    "interleaved" (the views of a row together); None where the mask is not theirs.
    """
    views, left = divmod(len(mask), max(len(values), 1))
    if left or not views:
        return None
    off = ~torch.eye(len(mask), dtype=torch.bool)
    own = torch.as_tensor(values)
    for name, tiled in (
        ("blocks", own.repeat(views)),
        ("interleaved", own.repeat_interleave(views)),
    ):
        if torch.equal((tiled[:, None] == tiled)[off], mask.bool()[off]):
            return name
    return None
