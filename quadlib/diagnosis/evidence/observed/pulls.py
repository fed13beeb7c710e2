"""Where a step against the loss's gradient takes the compared rows: to their positives or away."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from quadlib.diagnosis.evidence.observed.fact import fact
from quadlib.diagnosis.evidence.observed.labels import labels, mask_layout
from quadlib.diagnosis.evidence.observed.passes import Pass, traced
from quadlib.diagnosis.evidence.observed.rows import partners
from quadlib.diagnosis.observe.graph import Comparison
from quadlib.diagnosis.observe.record import Record
from quadlib.diagnosis.subject import Unavailable

SAME_ROW = 0.999  # cosine of a module's output with the compared row that is made of it
FEWEST_ANCHORS = 8


@fact
def pulls(record: Record) -> list[Tensor]:
    """Of each traced pass, (anchors,) the cosine between a row's step against the gradient and the
    way to its positives rather than to the other rows: above 0, they are drawn together.

    Raises Unavailable where the rows' positives or their gradients are not known.
    """
    judged = [_pulls(record, item) for item in traced(record)]
    usable = [item for item in judged if item is not None and len(item) >= FEWEST_ANCHORS]
    if not usable:
        raise Unavailable("the gradient by rows whose positives are known was not seen")
    return usable


def _pulls(record: Record, item: Pass) -> Tensor | None:
    comparison = item.backward.comparison
    if comparison is None or not item.rows:
        return None
    width = comparison.left.shape[1]
    parts = [part for part in item.rows if part.rows.shape[1] == width]
    if not parts:
        return None
    rows = normalize(torch.cat([part.rows for part in parts]), dim=1)
    gradient = torch.cat([part.gradient for part in parts])
    anchors, others = _sides(comparison, rows)
    if anchors is None or others is None:
        return None
    positive = _positives(record, item, comparison, len(parts), (len(rows), len(others)))
    if positive is None:
        return None
    itself = torch.eye(*positive.shape, dtype=torch.bool) if others is rows else None
    negative = ~positive if itself is None else ~positive & ~itself
    usable = positive.any(1) & negative.any(1) & (gradient.norm(dim=1) > 0)
    way = _mean(positive, others) - _mean(negative, others)
    way = way - (way * rows).sum(1, keepdim=True) * rows
    return torch.nn.functional.cosine_similarity(-gradient, way, dim=1)[usable]


def _sides(comparison: Comparison, rows: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The rows that move, and what they are compared with: each other, or the other side."""
    left, right = normalize(comparison.left, dim=1), normalize(comparison.right, dim=1)
    if comparison.same or _holds(rows, left) and _holds(rows, right):
        return rows, rows
    if len(rows) == len(left) and _holds(rows, left):
        return rows, right
    if len(rows) == len(right) and _holds(rows, right):
        return rows, left
    return None, None


def _holds(rows: Tensor, side: Tensor) -> bool:
    """Whether each row of a side is one of these rows."""
    return bool(((side @ rows.T).amax(1) > SAME_ROW).all())


def _positives(
    record: Record, item: Pass, comparison: Comparison, n_parts: int, shape: tuple[int, int]
) -> Tensor | None:
    """(n, m) which of the others are positives of which row; None where that is not known."""
    n, m = shape
    if n != m:
        mask = comparison.mask
        return mask.bool() if mask is not None and tuple(mask.shape) == shape else None
    itself = torch.eye(n, dtype=torch.bool)
    codes = _codes(record, item)
    if codes is not None and n % len(codes) == 0:
        views = n // len(codes)
        layout = "blocks" if views == 1 or views == n_parts else None
        if layout is None and comparison.mask is not None:
            layout = mask_layout(comparison.mask, codes.numpy())
        if layout is not None:
            rows = codes.repeat(views) if layout == "blocks" else codes.repeat_interleave(views)
            return (rows[:, None] == rows) & ~itself
    place = np.arange(n)
    if n_parts == 2 and n % 2 == 0:
        own: np.ndarray | None = (place + n // 2) % n
    else:
        own = partners(comparison) if comparison.same and len(comparison.left) == n else None
    if own is None:
        return None
    return torch.zeros(n, n, dtype=torch.bool).index_put(
        (torch.as_tensor(place), torch.as_tensor(own)), torch.tensor(True)
    )


def _codes(record: Record, item: Pass) -> Tensor | None:
    """The labels of the pass's batch, where they reach the loss."""
    try:
        mark = labels(record).mark
    except Unavailable:
        return None
    return next(
        (
            fetch.values[leaf.path]
            for fetch in item.fetches
            for leaf in fetch.leaves
            if fetch.mark(leaf.path) == mark and leaf.path in fetch.values
        ),
        None,
    )


def _mean(chosen: Tensor, rows: Tensor) -> Tensor:
    return chosen.float() @ rows / chosen.sum(1, keepdim=True).clamp(min=1)
