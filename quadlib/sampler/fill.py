"""How many samples of each class go into each batch, found by dealing: the counts behind
StratifiedBatchSampler, before any sample is chosen.
"""

from __future__ import annotations

import numpy as np

from quadlib.sampler.blocks import deal_blocks, merged
from quadlib.sampler.cells import Cells, Faults, Layout, faults_of
from quadlib.sampler.demand import Demand
from quadlib.sampler.level import exchange_common, keep_proportion, level_common


def best_fill(
    demand: Demand,
    rng: np.random.Generator,
    *,
    exchange: bool,
    tries: int,
    enough: Faults = (0, 0, 0),
    rooms: tuple[int | None, ...] | None = None,
) -> Layout:
    """The best of several fills, stopping at one with no more faults than `enough`.

    Args:
        demand: what the epoch draws.
        rng: decides among all that is equally good.
        exchange: whether common classes whose share is whole may give one from batch to batch.
        tries: fills for each room.
        enough: the faults with which the search ends.
        rooms: see `fill`; by default unmerged, and then merged as far as batch_size demands.
    """
    best: Layout | None = None
    for room in rooms if rooms is not None else (None, merged_room(demand)):
        for _ in range(tries):
            cells = fill(demand, rng, exchange=exchange, room=room)
            faults = faults_of(cells, demand)
            if best is None or faults < best.faults:
                best = Layout(cells, faults, room)
            if best.faults <= enough:
                return best
        if best is not None and best.faults[0] == 0:
            return best
    assert best is not None
    return best


def merged_room(demand: Demand) -> int:
    """How many blocks of rare classes a batch has room for beside the shares of the common ones."""
    shares = int((demand.draws[demand.common] // demand.n_batches).sum())
    return max((demand.batch_size - shares) // demand.min_per_class, 0)


def fill(
    demand: Demand, rng: np.random.Generator, *, exchange: bool = True, room: int | None = None
) -> Cells:
    """Deals the draws of each class over the batches.

    A common class has at least min_per_class draws for every batch: each gets the whole part of its
    share, and the single draws left over go to the emptiest batches. Any other class is rare: it is
    cut into as many blocks of at least min_per_class as it has draws for, and the blocks of all
    rare classes are dealt in rounds, one block a batch and round, the largest to the emptiest. A
    class never has more blocks than there are batches, so it straddles at most two rounds, and one
    exchange keeps its blocks apart.

    Args:
        demand: what the epoch draws.
        rng: decides among all that is equally good.
        exchange: see best_fill.
        room: blocks of rare classes per batch at most: fewer, larger blocks.

    Returns:
        Cells in which every batch holds as many classes as the others, within one; sizes differ by
        at most one, or by a block where rare classes leave no single draws to level with.
    """
    draws, n_batches = demand.draws, demand.n_batches
    common = np.flatnonzero(demand.common)
    rare = np.flatnonzero(~demand.common & (draws > 0))
    share = draws[common] // n_batches
    load = np.full(n_batches, share.sum(), dtype=np.int64)
    n_blocks = demand.appearances[rare]
    if room is not None:
        fewest = np.minimum(-(-draws[rare] // demand.most[rare]), n_blocks)
        n_blocks = merged(n_blocks, np.maximum(fewest, 1), n_batches * room)
    batch, label, count = deal_blocks(rare, draws[rare], n_blocks, load, rng)
    level = level_common(draws[common], share, load, demand.n_draws, rng)
    keep_proportion(level, draws[common], share, load, demand.n_draws)
    if exchange:
        exchange_common(level, draws[common], share, load, demand.min_per_class, rng)
    return Cells(
        np.concatenate([np.tile(np.arange(n_batches), len(common)), batch]),
        np.concatenate([np.repeat(common, n_batches), label]),
        np.concatenate([level.ravel(), count]),
    )
