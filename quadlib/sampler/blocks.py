"""The blocks of rare classes: cut as small as the laws allow, dealt one a batch and round."""

from __future__ import annotations

import numpy as np

from quadlib.sampler.cells import stable_order


def merged(n_blocks: np.ndarray, fewest: np.ndarray, most: int) -> np.ndarray:
    """At most `most` blocks in all, where `fewest` of each class allow it: one block after the
    other is merged away from the class that has the most.
    """
    surplus = int(n_blocks.sum()) - most
    if surplus <= 0:
        return n_blocks
    surplus = min(surplus, int((n_blocks - fewest).sum()))
    # lowering the largest first means cutting at a level: the lowest above which no more than
    # `surplus` blocks stand
    low, high = 0, int(n_blocks.max())
    while low < high:
        level = (low + high) // 2
        if np.maximum(n_blocks - np.maximum(level, fewest), 0).sum() <= surplus:
            high = level
        else:
            low = level + 1
    lowered: np.ndarray = np.minimum(n_blocks, np.maximum(high, fewest))
    left = surplus - int((n_blocks - lowered).sum())
    lowered[np.flatnonzero((lowered == high) & (lowered > fewest))[:left]] -= 1
    return lowered


def deal_blocks(
    labels: np.ndarray,
    draws: np.ndarray,
    n_blocks: np.ndarray,
    load: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Deals the rare classes' blocks in rounds; adds them to `load` and returns batch, class and
    count of each block.
    """
    n_batches = len(load)
    # classes without larger blocks come first: the first round may be a partial one, and later
    # larger blocks then even it out
    order = np.lexsort((rng.random(len(labels)), draws % np.maximum(n_blocks, 1) > 0))
    labels, draws, n_blocks = labels[order], draws[order], n_blocks[order]
    label = np.repeat(labels, n_blocks)
    first = np.cumsum(n_blocks) - n_blocks
    nth = np.arange(len(label)) - np.repeat(first, n_blocks)
    count = np.repeat(draws // n_blocks, n_blocks) + (nth < np.repeat(draws % n_blocks, n_blocks))
    batch = np.empty(len(label), dtype=np.int64)
    starts = [0, *range(len(label) % n_batches or n_batches, len(label) + 1, n_batches)]
    for start, stop in zip(starts[:-1], starts[1:], strict=True):
        blocks = start + np.argsort(rng.random(stop - start) - count[start:stop])
        seats = np.argsort(load + rng.random(n_batches))
        if start and label[start] == label[start - 1]:
            earlier = batch[np.flatnonzero(label[:start] == label[start])]
            blocks, seats = _keep_apart(blocks, seats, label, count, label[start], earlier)
        taken = seats[: stop - start]
        batch[blocks] = taken
        load[taken] += count[blocks]
    in_class_order = stable_order(label)
    return batch[in_class_order], label[in_class_order], count[in_class_order]


def _keep_apart(
    blocks: np.ndarray,
    seats: np.ndarray,
    label: np.ndarray,
    count: np.ndarray,
    straddling: int,
    earlier: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Moves the straddling class's blocks off the batches where it sits already, preferring
    exchanges with blocks of the same size.
    """
    taken = np.zeros(int(seats.max()) + 1, dtype=bool)
    taken[earlier] = True
    own = label[blocks] == straddling
    clash = np.flatnonzero(own & taken[seats])
    free = np.flatnonzero(~own & ~taken[seats])
    size = count[blocks]
    clash_left, free_left = np.ones(len(clash), dtype=bool), np.ones(len(free), dtype=bool)
    for value in np.flatnonzero(np.bincount(size[clash])):
        mine, other = np.flatnonzero(size[clash] == value), np.flatnonzero(size[free] == value)
        n = min(len(mine), len(other))
        _exchange(blocks, clash[mine[:n]], free[other[:n]])
        clash_left[mine[:n]] = free_left[other[:n]] = False
    clash, free = clash[clash_left], free[free_left]
    _exchange(blocks, clash, free[: len(clash)])
    return blocks, seats


def _exchange(values: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    values[left], values[right] = values[right], values[left]
