"""A layout that meets the laws: dealt, or searched for, or decided exactly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.sampler.blocks import deal_blocks, merged
from quadlib.sampler.cells import Cells, Layout, faults_of
from quadlib.sampler.demand import Demand, Request
from quadlib.sampler.exact import Placement, decide
from quadlib.sampler.fill import best_fill
from quadlib.sampler.places import counts_for, even_goal

SMALL_TABLE = 20_000  # batches x classes that are cheap to deal again
MOST_PLACES = 100_000  # above it one maximum flow takes longer than a second


def find_layout(
    class_sizes: np.ndarray, request: Request, *, thorough: bool = True
) -> tuple[Layout | None, bool]:
    """A layout that meets every law, or None and whether that is proved.

    Args:
        class_sizes: samples of each class, (n_classes,).
        request: the settings.
        thorough: False looks only as long as an advice may take, and proves nothing.
    """
    demand = request.demand(class_sizes)
    natural = request.balance == "natural"
    small = demand.n_batches * len(demand.draws) <= SMALL_TABLE
    # where few batches and classes leave little choice, the order in which they are dealt decides
    tries = 1 if not small else 32 if thorough else 2
    dealt = best_fill(demand, np.random.default_rng([0]), exchange=natural, tries=tries)
    lawful = is_lawful(dealt.cells, demand, request.world_size)
    if lawful and (dealt.faults == (0, 0, 0) or not thorough or not natural):
        return dealt, False
    if lawful:
        return _improved(dealt, demand, request), False
    searched = _searched(demand, request, 24 if thorough else 4)
    if searched is not None or not thorough:
        return searched, False
    placed = decide(demand, ideal=False, fewest_samples=request.world_size)
    if not isinstance(placed, Placement):
        # with balance="equal" other draws, a little less equal, might still do
        return None, placed is False and natural
    return _counted(placed.batch, placed.label, demand, request), False


def is_lawful(cells: Cells, demand: Demand, world_size: int) -> bool:
    """Whether the cells meet every law that a batch must meet."""
    sizes = cells.sizes(demand.n_batches)
    return bool(
        sizes.max() <= demand.batch_size
        and sizes.min() >= world_size
        and cells.classes_present(demand.n_batches).min() >= demand.min_classes
        and (cells.count >= demand.min_per_class).all()
        and (cells.count <= demand.most[cells.label]).all()
    )


def _improved(dealt: Layout, demand: Demand, request: Request) -> Layout:
    """Sizes one apart and common classes in proportion, where that can be decided; else as
    dealt.
    """
    placed = decide(demand, ideal=True)
    if not isinstance(placed, Placement):
        return dealt
    cells = counts_for(placed.batch, placed.label, demand, placed.sizes, proportional=True)
    if cells is None or not is_lawful(cells, demand, request.world_size):
        return dealt
    return Layout(cells, faults_of(cells, demand), None, repeatable=False)


def _searched(demand: Demand, request: Request, tries: int) -> Layout | None:
    """Places dealt with more and more blocks merged, each with the best counts for it."""
    rng = np.random.default_rng([0])
    for batch, label in _places(demand, tries, rng):
        layout = _counted(batch, label, demand, request)
        if layout is not None:
            return layout
    return None


def _counted(
    batch: np.ndarray, label: np.ndarray, demand: Demand, request: Request
) -> Layout | None:
    """The places with counts that make sizes one apart and common classes proportional, or else
    sizes alone, or else none above batch_size.
    """
    even = even_goal(batch, demand)
    full = np.full(demand.n_batches, demand.batch_size, dtype=np.int64)
    for goal, proportional in ((even, True), (even, False), (full, False)):
        cells = counts_for(batch, label, demand, goal, proportional=proportional)
        if cells is not None and is_lawful(cells, demand, request.world_size):
            return Layout(cells, faults_of(cells, demand), None, repeatable=False)
    return None


def _places(
    demand: Demand, tries: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batch and class of each place: common classes everywhere, blocks of the rare ones dealt in
    rounds, from as many as fit to as few as min_classes allows.
    """
    common = np.flatnonzero(demand.common)
    rare = np.flatnonzero(~demand.common & (demand.draws > 0))
    n_batches, blocks = demand.n_batches, demand.appearances[rare]
    fewest = np.minimum(np.maximum(demand.fewest_blocks[rare], 1), blocks)
    room = (demand.batch_size // demand.min_per_class - len(common)) * n_batches
    most = min(room, int(blocks.sum()))
    least = max(int(fewest.sum()), (demand.min_classes - len(common)) * n_batches)
    if most < least or most + len(common) * n_batches > MOST_PLACES:
        return
    for number in np.linspace(most, least, tries).astype(np.int64):
        n_blocks = merged(blocks, fewest, int(number))
        load = np.zeros(n_batches, dtype=np.int64)
        batch, label, _ = deal_blocks(rare, demand.draws[rare], n_blocks, load, rng)
        all_batches = np.concatenate([np.tile(np.arange(n_batches), len(common)), batch])
        labels = np.concatenate([np.repeat(common, n_batches), label])
        order = np.argsort(labels, kind="stable")
        yield all_batches[order], labels[order]
