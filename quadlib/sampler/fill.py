"""How many recordings of each class go into each batch: the counts behind StratifiedBatchSampler,
before any recording is chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cells:
    """The non-empty cells of the batches x classes table: batch, class and count of each, sorted by
    class.
    """

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
    """In how many batches each class can be with at least min_per_class draws, at most all of
    them.
    """
    return np.minimum(n_batches, draws // min_per_class)


@dataclass(frozen=True)
class Layout:
    """Cells that meet the laws but for their faults: samples above batch_size, and how much further
    apart than one the sizes are.
    """

    cells: Cells
    faults: tuple[int, int]
    merged: bool


def best_fill(
    draws: np.ndarray,
    n_batches: int,
    batch_size: int,
    min_per_class: int,
    rng: np.random.Generator,
    *,
    exchange: bool,
    tries: int,
    enough: tuple[int, int] = (0, 0),
    merged: bool | None = None,
) -> Layout:
    """The best of several fills, stopping at one with no more faults than `enough`; merged says
    whether blocks are merged, None tries both, unmerged first.
    """
    best: Layout | None = None
    for merge in (False, True) if merged is None else (merged,):
        for _ in range(tries):
            cells = fill(
                draws, n_batches, batch_size, min_per_class, rng, exchange=exchange, merge=merge
            )
            sizes = cells.sizes(n_batches)
            faults = (
                int(np.maximum(sizes - batch_size, 0).sum()),
                max(int(sizes.max() - sizes.min()) - 1, 0),
            )
            if best is None or faults < best.faults:
                best = Layout(cells, faults, merge)
            if best.faults <= enough:
                return best
        if best is not None and best.faults[0] == 0:
            return best
    assert best is not None
    return best


def fill(
    draws: np.ndarray,
    n_batches: int,
    batch_size: int,
    min_per_class: int,
    rng: np.random.Generator,
    *,
    exchange: bool = True,
    merge: bool = False,
) -> Cells:
    """Deals `draws` (n_classes,) samples of each class over the batches.

    A class with at least min_per_class draws for every batch is common: each batch gets the whole
    part of its share, and the remaining single draws go to the emptiest batches. Any other class is
    rare: it is cut into as many blocks of at least min_per_class as it has room for, and the blocks
    of all rare classes are dealt in rounds, one block a batch and round, the largest to the
    emptiest. A class never has more blocks than there are batches, so it straddles at most two
    rounds, and one exchange keeps its blocks apart. Guarantee: every batch holds as many classes as
    the others, within one; sizes differ by at most one, or by a block where rare classes leave no
    single draws to level with. merge: fewer, larger blocks, so that no batch is given more than fit
    in batch_size.
    """
    share = draws // n_batches
    common = np.flatnonzero(share >= min_per_class)
    rare = np.flatnonzero((share < min_per_class) & (draws > 0))
    load = np.full(n_batches, share[common].sum(), dtype=np.int64)
    n_blocks = appearances(draws[rare], n_batches, min_per_class)
    if merge:
        n_blocks = _merged(n_blocks, n_batches * ((batch_size - int(load[0])) // min_per_class))
    batch, label, count = _deal_blocks(rare, draws[rare], n_blocks, load, rng)
    level = _level_common(draws[common], share[common], load, int(draws.sum()), rng)
    _keep_proportion(level, draws[common], share[common], load, int(draws.sum()))
    if exchange:
        _exchange_common(level, draws[common], share[common], load, min_per_class, rng)
    return Cells(
        np.concatenate([np.tile(np.arange(n_batches), len(common)), batch]),
        np.concatenate([np.repeat(common, n_batches), label]),
        np.concatenate([level.ravel(), count]),
    )


def _merged(n_blocks: np.ndarray, most: int) -> np.ndarray:
    """At most `most` blocks in all: one block after the other is merged away from the class that
    has the most.
    """
    surplus = int(n_blocks.sum()) - most
    if surplus <= 0:
        return n_blocks
    # lowering the largest first means cutting at a level: the level above which exactly `surplus`
    # blocks stand
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


def _deal_blocks(
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
    in_class_order = np.argsort(label, kind="stable")
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
    for value in np.unique(size[clash]):
        mine, other = clash[size[clash] == value], free[size[free] == value]
        n = min(len(mine), len(other))
        _exchange(blocks, mine[:n], other[:n])
        clash, free = np.setdiff1d(clash, mine[:n]), np.setdiff1d(free, other[:n])
    _exchange(blocks, clash, free[: len(clash)])
    return blocks, seats


def _exchange(values: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    values[left], values[right] = values[right], values[left]


def _level_common(
    draws: np.ndarray, share: np.ndarray, load: np.ndarray, n_draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Counts (n_common, n_batches) of the common classes: the share everywhere, and single draws
    that bring `load` to equal sizes.

    A class gives its single draws to the batches that lack most; first to those so large, and last
    to those so small, that its count would else be more than one from its proportion of that very
    batch.
    """
    n_batches = len(load)
    counts = np.repeat(share[:, None], n_batches, axis=1)
    rest = draws - share * n_batches
    goal = _levelled(load, int(rest.sum()), rng)
    giving = [row for row in np.lexsort((rng.random(len(draws)), -draws)) if rest[row]]
    for later, row in zip(range(len(giving) - 1, -1, -1), giving, strict=True):
        lacking = goal - load
        proportion = draws[row] * goal / n_draws
        # a batch that lacks more than the later classes can give comes first, one that lacks
        # nothing last
        urgency = (
            2.0 * ((lacking > later).astype(np.int8) - (lacking <= 0))
            + (proportion > share[row] + 1)
            - (proportion < share[row])
        )
        chosen = np.lexsort(
            (rng.random(n_batches), np.where(lacking > 0, -goal, load), -lacking, -urgency)
        )[: rest[row]]
        counts[row, chosen] += 1
        load[chosen] += 1
    return counts


def _levelled(load: np.ndarray, n_units: int, rng: np.random.Generator) -> np.ndarray:
    """The loads after n_units more, one after the other to the emptiest batch, ties at random."""
    n_batches = len(load)
    order = np.argsort(load + rng.random(n_batches))
    ascending = load[order]
    needed = ascending * np.arange(1, n_batches + 1) - np.cumsum(ascending)
    filled = int(np.searchsorted(needed, n_units, side="right"))
    level, left = divmod(n_units + int(ascending[:filled].sum()), filled)
    goal = load.copy()
    goal[order[:filled]] = level
    goal[order[:left]] += 1
    return goal


def _keep_proportion(
    counts: np.ndarray, draws: np.ndarray, share: np.ndarray, load: np.ndarray, n_draws: int
) -> None:
    """Trades single draws between two classes and two batches until each count is within one of its
    proportion of that batch, sizes unchanged.
    """
    more = counts > share[:, None]
    off = counts - draws[:, None] * load / n_draws
    for row, batch in np.argwhere(np.abs(off) > 1 + 1e-9)[
        :1000
    ]:  # more would cost more than they are worth
        sign = 1 if off[row, batch] > 0 else -1
        if sign * off[row, batch] <= 1 + 1e-9:
            continue
        has = more if sign > 0 else ~more
        rows = np.flatnonzero(~has[:, batch] & (sign * off[:, batch] <= 0))
        batches = np.flatnonzero(~has[row] & (sign * off[row] <= 0))
        trades = np.argwhere(has[np.ix_(rows, batches)] & (sign * off[np.ix_(rows, batches)] >= 0))
        if len(trades):
            other_row, other_batch = rows[trades[0, 0]], batches[trades[0, 1]]
            for i, j, change in (
                (row, batch, -sign),
                (other_row, other_batch, -sign),
                (row, other_batch, sign),
                (other_row, batch, sign),
            ):
                counts[i, j] += change
                off[i, j] += change
                more[i, j] = ~more[i, j]


def _exchange_common(
    counts: np.ndarray,
    draws: np.ndarray,
    share: np.ndarray,
    load: np.ndarray,
    min_per_class: int,
    rng: np.random.Generator,
) -> None:
    """A class whose share is a whole number gives one from the fullest batches to the emptiest, and
    stays within one of it.
    """
    n_batches = len(load)
    for row in np.flatnonzero((draws == share * n_batches) & (share > min_per_class)):
        order = np.argsort(load + rng.random(n_batches))
        half = n_batches // 2
        low, high = order[:half], order[::-1][:half]
        pairs = int((load[high] - load[low] >= 2).sum())
        if not pairs:
            break
        counts[row, low[:pairs]] += 1
        counts[row, high[:pairs]] -= 1
        load[low[:pairs]] += 1
        load[high[:pairs]] -= 1
