"""The laws of the batches, judged from the indices alone."""

from __future__ import annotations

from collections import Counter

import numpy as np


def broken_laws(
    batches: list[list[int]],
    labels: np.ndarray,
    batch_size: int,
    *,
    min_classes: int = 2,
    min_per_class: int = 2,
    rare: str = "error",
    balance: str = "natural",
    world_size: int = 1,
) -> list[str]:
    """Every law that one epoch of one process breaks, in words."""
    broken = []
    sizes = np.bincount(labels)
    small = sizes < min_per_class
    repeated = small & (sizes > 0) & (rare == "oversample")
    dropped = small & (rare == "drop")
    drawn = Counter(index for batch in batches for index in batch)
    kept = int(sizes[~dropped].sum() + (min_per_class - sizes[repeated]).sum())
    total = sum(drawn.values())
    if balance == "natural":
        expected = {i: 1 for i in range(len(labels)) if not dropped[labels[i]]}
        once = {i: n for i, n in drawn.items() if not repeated[labels[i]]}
        if once != {i: n for i, n in expected.items() if not repeated[labels[i]]}:
            broken.append("a sample is not drawn exactly once")
    else:
        for label in np.flatnonzero(~dropped & ~repeated & (sizes > 0)):
            times = [drawn[i] for i in np.flatnonzero(labels == label)]
            if max(times) - min(times) > 1:
                broken.append(f"samples of class {label} are drawn {min(times)} to {max(times)}")
    if total != kept:
        broken.append(f"{total} draws, not {kept}")
    if len(batches) != -(-total // batch_size):
        broken.append(f"{len(batches)} batches for {total} draws")
    for number, batch in enumerate(batches):
        counts = np.bincount(labels[batch], minlength=len(sizes))
        again = [i for i, n in Counter(batch).items() if n > 1 and not repeated[labels[i]]]
        if not max(world_size, 1) <= len(batch) <= batch_size:
            broken.append(f"batch {number} holds {len(batch)}")
        if (counts > 0).sum() < min_classes:
            broken.append(f"batch {number} holds {(counts > 0).sum()} classes")
        if counts[counts > 0].min() < min_per_class:
            broken.append(f"batch {number} holds {counts[counts > 0].min()} of a class")
        if again:
            broken.append(f"batch {number} holds {again} more than once")
    return broken
