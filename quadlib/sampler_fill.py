"""How many recordings of each class go into each batch: the counts behind StratifiedBatchSampler, before any recording is chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cells:
    """The non-empty cells of the batches x classes table: batch, class and count of each, sorted by class."""

    batch: np.ndarray
    label: np.ndarray
    count: np.ndarray

    def sizes(self, n_batches: int) -> np.ndarray:
        """Samples per batch, (n_batches,) int64."""
        return np.bincount(self.batch, weights=self.count, minlength=n_batches).astype(np.int64)

    def classes_present(self, n_batches: int) -> np.ndarray:
        """Classes per batch, (n_batches,) int64."""
        return np.bincount(self.batch, minlength=n_batches)


def appearances(draws: np.ndarray, n_batches: int, min_per_class: int) -> np.ndarray:
    """In how many batches each class can be with at least min_per_class draws, at most all of them."""
    return np.minimum(n_batches, draws // min_per_class)


def fill(draws: np.ndarray, n_batches: int, batch_size: int, min_per_class: int, rng: np.random.Generator, *,
         exchange: bool = True) -> Cells:
    """Deals `draws` (n_classes,) samples of each class over the batches.

    A class with at least min_per_class draws for every batch is common: each batch gets the whole part of its share, and
    the remaining single draws go to the emptiest batches. Any other class is rare: it is cut into as many blocks of at least min_per_class as
    it has room for, and the blocks of all rare classes are dealt in rounds, one block a batch and round, the largest to the
    emptiest. A class never has more blocks than there are batches, so it straddles at most two rounds, and one exchange keeps its blocks apart.
    Guarantee: every batch holds as many classes as the others, within one; sizes differ by at most one, or by a block
    where rare classes leave no single draws to level with. Blocks are merged (a class then appears less often) only where batch_size demands it.
    """
    share = draws // n_batches
    common = np.flatnonzero(share >= min_per_class)
    rare = np.flatnonzero((share < min_per_class) & (draws > 0))
    load = np.full(n_batches, share[common].sum(), dtype=np.int64)
    n_blocks = _blocks_that_fit(draws[rare], n_batches, (batch_size - int(load[0])) // min_per_class, min_per_class)
    batch, label, count = _deal_blocks(rare, draws[rare], n_blocks, load, rng)
    level = _level_common(draws[common], share[common], load, min_per_class, rng)
    if exchange:
        _exchange_common(level, draws[common], share[common], load, min_per_class, rng)
    return Cells(np.concatenate([np.tile(np.arange(n_batches), len(common)), batch]),
                 np.concatenate([np.repeat(common, n_batches), label]), np.concatenate([level.ravel(), count]))


def _blocks_that_fit(draws: np.ndarray, n_batches: int, most_per_batch: int, min_per_class: int) -> np.ndarray:
    """Blocks per rare class: as many as min_per_class allows, merged (one at a time, from the most frequent class) where batches would overflow."""
    n_blocks = appearances(draws, n_batches, min_per_class)
    surplus = int(n_blocks.sum()) - n_batches * most_per_batch
    if surplus <= 0:
        return n_blocks
    # lowering the largest first means cutting at a level: the level above which exactly `surplus` blocks stand
    low, high = 1, int(n_blocks.max())
    while low < high:
        level = (low + high) // 2
        if np.maximum(n_blocks - level, 0).sum() <= surplus:
            high = level
        else:
            low = level + 1
    lowered = np.minimum(n_blocks, high)
    rest = surplus - int((n_blocks - lowered).sum())
    at_level = np.flatnonzero((lowered == high) & (lowered > 1))[:rest]
    lowered[at_level] -= 1
    return lowered


def _deal_blocks(labels: np.ndarray, draws: np.ndarray, n_blocks: np.ndarray, load: np.ndarray,
                 rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Deals the rare classes' blocks in rounds; adds them to `load` and returns batch, class and count of each block."""
    n_batches = len(load)
    # classes without larger blocks come first: the first round may be a partial one, and later larger blocks then even it out
    order = np.lexsort((rng.random(len(labels)), draws % np.maximum(n_blocks, 1) > 0))
    labels, draws, n_blocks = labels[order], draws[order], n_blocks[order]
    label = np.repeat(labels, n_blocks)
    first = np.cumsum(n_blocks) - n_blocks
    nth = np.arange(len(label)) - np.repeat(first, n_blocks)
    count = np.repeat(draws // n_blocks, n_blocks) + (nth < np.repeat(draws % n_blocks, n_blocks))
    batch = np.empty(len(label), dtype=np.int64)
    starts = [0, *range(len(label) % n_batches or n_batches, len(label) + 1, n_batches)]
    for start, stop in zip(starts[:-1], starts[1:], strict=True):
        blocks = start + np.lexsort((rng.random(stop - start), -count[start:stop]))
        seats = np.lexsort((rng.random(n_batches), load))[:n_batches]
        if start and label[start] == label[start - 1]:
            earlier = batch[np.flatnonzero(label[:start] == label[start])]
            blocks, seats = _keep_apart(blocks, seats, label, count, label[start], earlier)
        taken = seats[:stop - start]
        batch[blocks] = taken
        load[taken] += count[blocks]
    in_class_order = np.argsort(label, kind="stable")
    return batch[in_class_order], label[in_class_order], count[in_class_order]


def _keep_apart(blocks: np.ndarray, seats: np.ndarray, label: np.ndarray, count: np.ndarray, straddling: int,
                earlier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Moves the straddling class's blocks off the batches where it sits already, preferring exchanges with blocks of the same size."""
    taken = np.zeros(int(seats.max()) + 1, dtype=bool)
    taken[earlier] = True
    own = label[blocks] == straddling
    clash = np.flatnonzero(own & taken[seats])
    free = np.flatnonzero(~own & ~taken[seats])
    size = count[blocks]
    for value in np.unique(size[clash]):
        mine, other = clash[size[clash] == value], free[size[free] == value]
        n = min(len(mine), len(other))
        _exchange(blocks, mine[:n], other[:n])
        clash, free = np.setdiff1d(clash, mine[:n]), np.setdiff1d(free, other[:n])
    _exchange(blocks, clash, free[:len(clash)])
    return blocks, seats


def _exchange(values: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    values[left], values[right] = values[right], values[left]


def _level_common(draws: np.ndarray, share: np.ndarray, load: np.ndarray, min_per_class: int, rng: np.random.Generator) -> np.ndarray:
    """Counts (n_common, n_batches) of the common classes: the share everywhere, single draws to the emptiest batches, the largest class last."""
    n_batches = len(load)
    counts = np.repeat(share[:, None], n_batches, axis=1)
    for row in np.lexsort((rng.random(len(draws)), draws)):
        rest = int(draws[row] - share[row] * n_batches)
        if rest:
            emptiest = np.lexsort((rng.random(n_batches), load))[:rest]
            counts[row, emptiest] += 1
            load[emptiest] += 1
    return counts


def _exchange_common(counts: np.ndarray, draws: np.ndarray, share: np.ndarray, load: np.ndarray, min_per_class: int, rng: np.random.Generator) -> None:
    """A class whose share is a whole number gives one from the fullest batches to the emptiest, and stays within one of it."""
    n_batches = len(load)
    for row in np.flatnonzero((draws == share * n_batches) & (share > min_per_class)):
        order = np.lexsort((rng.random(n_batches), load))
        half = n_batches // 2
        low, high = order[:half], order[::-1][:half]
        pairs = int((load[high] - load[low] >= 2).sum())
        if not pairs:
            break
        counts[row, low[:pairs]] += 1
        counts[row, high[:pairs]] -= 1
        load[low[:pairs]] += 1
        load[high[:pairs]] -= 1
