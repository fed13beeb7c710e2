"""Batches of exactly P classes with K samples each: how many such blocks of each class an epoch
has, and where they go.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quadlib.sampler.blocks import deal_blocks
from quadlib.sampler.cells import Cells
from quadlib.sampler.demand import Demand, SamplerError
from quadlib.sampler.reasons import named


@dataclass(frozen=True)
class PkRequest:
    """classes_per_batch classes with samples_per_class samples each; see StratifiedBatchSampler.

    Example:
        >>> request = PkRequest(classes_per_batch=2, samples_per_class=4)
        >>> request.demand(np.array([8, 8, 10]), ("a", "b", "c")).draws.tolist()
        [8, 12, 12]
        >>> request = PkRequest(classes_per_batch=2, samples_per_class=4, drop_last=True)
        >>> request.demand(np.array([8, 8, 10]), ("a", "b", "c")).draws.tolist()
        [8, 8, 8]
    """

    classes_per_batch: int
    samples_per_class: int
    drop_last: bool = False
    rare: str = "error"
    balance: str = "natural"

    def demand(
        self, class_sizes: np.ndarray, class_names: tuple[str, ...], epoch: int = 0
    ) -> Demand:
        """How often each class is drawn, and into how many batches; their number is the same in
        every epoch.

        Args:
            class_sizes: samples of each class, (n_classes,) int64.
            class_names: for the error.
            epoch: which of several equal classes have a block more or less turns with it.

        Raises:
            SamplerError: where a class is too small, or there are too few.
        """
        each, per_batch = self.samples_per_class, self.classes_per_batch
        small = (class_sizes < each) & (class_sizes > 0)
        usable = (class_sizes > 0) & ~(small if self.rare == "drop" else np.zeros_like(small))
        problems = []
        if self.rare == "error" and small.any():
            problems.append(
                f"{named(class_sizes, class_names, small)} below samples_per_class={each}; "
                f"samples_per_class={int(class_sizes[class_sizes > 0].min())}, rare='drop' or "
                "rare='oversample' would do"
            )
        if usable.sum() < per_batch:
            problems.append(
                f"{int(usable.sum())} class(es) with enough samples, but "
                f"classes_per_batch={per_batch}; at most {int(usable.sum())} would do"
            )
        if problems:
            raise SamplerError("\n".join(problems))
        blocks, n_batches = _blocks(np.where(usable, class_sizes, 0), self, epoch)
        if n_batches == 0:
            raise SamplerError(
                f"no batch of {per_batch} classes x {each} samples can be filled without "
                "repetition; drop_last=False repeats samples"
            )
        return Demand(
            blocks * each,
            np.maximum(class_sizes, np.where(small, each, 0)),
            n_batches,
            each * per_batch,
            per_batch,
            each,
        )


def _blocks(class_sizes: np.ndarray, request: PkRequest, epoch: int) -> tuple[np.ndarray, int]:
    """How many batches hold each class, (n_classes,) int64, and the number of batches."""
    each, per_batch = request.samples_per_class, request.classes_per_batch
    present = class_sizes > 0
    if request.drop_last:
        whole = np.maximum(class_sizes // each, present)
    else:
        whole = -(-class_sizes // each)
    if request.balance == "equal":
        # as many batches as the samples fill, each class in as many of them as any other
        filled = int(class_sizes.sum()) / (each * per_batch)
        n_batches = int(filled) if request.drop_last else int(np.ceil(filled))
        none = np.zeros_like(class_sizes)
        return _filled_up(none, present, n_batches, per_batch, epoch), n_batches
    if request.drop_last:
        n_batches = _most_batches(whole, per_batch)
        return _cut_down(np.minimum(whole, n_batches), n_batches * per_batch, epoch), n_batches
    n_batches = max(int(whole.max()), -(-int(whole.sum()) // per_batch))
    return _filled_up(whole, present, n_batches, per_batch, epoch), n_batches


def _most_batches(blocks: np.ndarray, per_batch: int) -> int:
    """The most batches that blocks of per_batch different classes fill."""
    low, high = 0, int(blocks.sum()) // per_batch
    while low < high:
        n_batches = (low + high + 1) // 2
        if np.minimum(blocks, n_batches).sum() >= n_batches * per_batch:
            low = n_batches
        else:
            high = n_batches - 1
    return low


def _cut_down(blocks: np.ndarray, total: int, epoch: int) -> np.ndarray:
    """`total` blocks: the classes with the most give some up."""
    blocks = blocks.copy()
    while (surplus := int(blocks.sum()) - total) > 0:
        largest = np.flatnonzero(blocks == blocks.max())
        below = blocks[blocks < blocks.max()]
        step = int(blocks.max() - (below.max() if len(below) else 0))
        if step * len(largest) <= surplus:
            blocks[largest] -= step
        else:
            blocks[largest] -= surplus // len(largest)
            some = surplus % len(largest)
            blocks[np.roll(largest, -epoch * some)[:some]] -= 1
    return blocks


def _filled_up(
    blocks: np.ndarray, present: np.ndarray, n_batches: int, per_batch: int, epoch: int
) -> np.ndarray:
    """n_batches * per_batch blocks: the classes with the fewest get more, none above n_batches."""
    limit = np.where(present, n_batches, 0)
    missing = n_batches * per_batch - int(blocks.sum())
    if missing <= 0:
        return blocks
    low, high = 0, n_batches
    while low < high:  # the lowest level up to which filling takes at least what is missing
        level = (low + high) // 2
        if (np.maximum(blocks, np.minimum(level, limit)) - blocks).sum() >= missing:
            high = level
        else:
            low = level + 1
    lifted: np.ndarray = np.maximum(blocks, np.minimum(high, limit))
    too_many = int(lifted.sum()) - int(blocks.sum()) - missing
    top = np.flatnonzero((lifted == high) & (lifted > blocks))
    lifted[np.roll(top, -epoch * too_many)[:too_many]] -= 1
    return lifted


def pk_cells(demand: Demand, rng: np.random.Generator) -> Cells:
    """The blocks dealt in rounds: min_classes different classes a batch, classes mixed anew by
    `rng`.
    """
    labels = np.flatnonzero(demand.draws)
    draws = demand.draws[labels]
    load = np.zeros(demand.n_batches, dtype=np.int64)
    return Cells(*deal_blocks(labels, draws, draws // demand.min_per_class, load, rng))
