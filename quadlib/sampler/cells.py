"""The table of batches and classes, its non-empty cells, and how far it is from the laws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quadlib.sampler.demand import Demand


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


def stable_order(values: np.ndarray) -> np.ndarray:
    """The stable argsort of whole numbers from 0, in linear time where they are below 65,536."""
    narrow = values.astype(np.uint16) if values.max(initial=0) < 2**16 else values
    return np.argsort(narrow, kind="stable")


Faults = tuple[int, int, int]


def faults_of(cells: Cells, demand: Demand) -> Faults:
    """How far the cells are from the laws, the gravest first: samples above batch_size; how much
    further apart than one the sizes are; counts of common classes that are more than one from
    their proportion of the batch.
    """
    sizes = cells.sizes(demand.n_batches)
    common = demand.common[cells.label]
    proportion = (
        demand.draws[cells.label[common]] * sizes[cells.batch[common]] / max(demand.n_draws, 1)
    )
    return (
        int(np.maximum(sizes - demand.batch_size, 0).sum()),
        max(int(sizes.max() - sizes.min()) - 1, 0),
        int((np.abs(cells.count[common] - proportion) > 1 + 1e-9).sum()),
    )


@dataclass(frozen=True)
class Layout:
    """Cells, and how they came about.

    Args:
        cells: the table.
        faults: see faults_of.
        room: blocks of rare classes per batch at most, where blocks were merged; None where not.
        repeatable: whether dealing anew gives other cells that are as good; otherwise every epoch
            takes these, in another order.
    """

    cells: Cells
    faults: Faults
    room: int | None
    repeatable: bool = True
