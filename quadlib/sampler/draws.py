"""Which recordings go where: how often each is drawn in an epoch, and the dealing of a class's
recordings over its batches.
"""

from __future__ import annotations

import numpy as np

from quadlib.sampler.fill import Cells


def draws_per_class(
    class_sizes: np.ndarray, batch_size: int, min_per_class: int, rare: str, balance: str
) -> np.ndarray:
    """How many samples of each class an epoch draws, (n_classes,) int64.

    natural: all of them. equal: the same number of every class, as near as distinct samples inside
    a batch allow (a class of n samples can be drawn at most n times the number of batches); N draws
    together. A class below min_per_class is drawn min_per_class times ("oversample"), not at all
    ("drop"), or left as it is for the check to refuse ("error").
    """
    small = class_sizes < min_per_class
    draws = class_sizes.copy()
    if rare == "drop":
        draws[small] = 0
    if balance == "equal" and draws.sum():
        draws = _equal_draws(draws, -(-int(draws.sum()) // batch_size), min_per_class)
    if rare == "oversample":
        draws[small & (class_sizes > 0)] = min_per_class
    return draws


def _equal_draws(class_sizes: np.ndarray, n_batches: int, min_per_class: int) -> np.ndarray:
    """Equal shares of the total, filled up to each class's limit of n_batches times its size, the
    rest shared by the others.
    """
    limit = class_sizes * n_batches
    draws = np.zeros_like(class_sizes)
    left = int(class_sizes.sum())
    for i, label in enumerate(np.argsort(limit, kind="stable")):
        draws[label] = min(int(limit[label]), left // (len(limit) - i))
        left -= int(draws[label])
    # blocks of a class may not outgrow its distinct samples
    n_blocks = np.minimum(n_batches, draws // min_per_class)
    return np.where(
        n_blocks > 0, np.minimum(draws, n_blocks * class_sizes), np.minimum(draws, class_sizes)
    )


def times_drawn(
    codes: np.ndarray, class_sizes: np.ndarray, draws: np.ndarray, seed: int, epoch: int
) -> np.ndarray:
    """How often each sample is drawn in this epoch, (n_samples,) int64: all samples of a class
    equally often, within one.

    The samples drawn once more are a window over a fixed order of the class that moves on with the
    epoch, so that n / (draws mod n) epochs see all of them.
    """
    whole, window = np.divmod(draws, np.maximum(class_sizes, 1))
    times = whole[codes]
    if window.any():
        order = np.random.default_rng([seed]).permutation(len(codes))
        order = order[np.argsort(codes[order], kind="stable")]
        rank = np.empty(len(codes), dtype=np.int64)
        rank[order] = np.arange(len(codes)) - np.repeat(
            np.cumsum(class_sizes) - class_sizes, class_sizes
        )
        offset = (epoch * window) % np.maximum(class_sizes, 1)
        times = times + ((rank - offset[codes]) % class_sizes[codes] < window[codes])
    return times


def deal(
    codes: np.ndarray,
    groups: np.ndarray | None,
    times: np.ndarray,
    cells: Cells,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Fills the cells (sorted by class, then largest first) with samples: returns the sample and
    the batch of every slot, sorted by class.

    A class's samples, copies side by side and sessions together from the largest to the smallest,
    go round its cells one each. Two of the same session are then in one cell only if the session
    has more samples than there are cells, and a cell is of one session only if that session is so
    large that the samples of the others do not suffice for one a cell: no dealing leaves fewer such
    cells. Copies of one sample, no more than cells, never meet.
    """
    order = rng.permutation(len(codes))
    samples = np.repeat(order, times[order]) if (times != 1).any() else order
    if groups is None:
        samples = samples[np.argsort(codes[samples], kind="stable")]
    else:
        samples = samples[np.argsort(_session_rank(codes, groups, rng)[samples], kind="stable")]
    batch = np.repeat(cells.batch, cells.count)
    if groups is None and (times <= 1).all():
        return samples, batch
    turn = np.arange(len(batch)) - np.repeat(np.cumsum(cells.count) - cells.count, cells.count)
    slots = np.argsort(
        np.repeat(cells.label, cells.count) * (int(turn.max()) + 1) + turn, kind="stable"
    )
    dealt = np.empty_like(samples)
    dealt[slots] = samples
    return dealt, batch


def _session_rank(codes: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Per sample, the place of its session within its class: classes in order, in each the largest
    session first, ties at random.
    """
    found, inverse, size = np.unique(
        codes * (int(groups.max()) + 1) + groups, return_inverse=True, return_counts=True
    )
    order = np.lexsort((rng.random(len(found)), -size, found // (int(groups.max()) + 1)))
    rank = np.empty(len(found), dtype=np.int64)
    rank[order] = np.arange(len(found))
    return rank[inverse]
