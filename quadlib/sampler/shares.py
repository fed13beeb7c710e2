"""How often each class is drawn in an epoch."""

from __future__ import annotations

import numpy as np


def draws_per_class(
    class_sizes: np.ndarray, batch_size: int, min_per_class: int, rare: str, balance: str
) -> np.ndarray:
    """How many samples of each class an epoch draws, (n_classes,) int64.

    natural: all of them. equal: as many as natural in all, of every class the same number, as near
    as blocks of at least min_per_class distinct samples allow. A class below
    min_per_class is drawn min_per_class times ("oversample"), not at all ("drop"), or left as it is
    for the check to refuse ("error").
    """
    small = class_sizes < min_per_class
    draws = class_sizes.copy()
    if rare == "drop":
        draws[small] = 0
    if rare == "oversample":
        draws[small & (class_sizes > 0)] = min_per_class
    total = int(draws.sum())
    shared = np.flatnonzero(~small)
    if balance == "equal" and len(shared):
        left = total - int(draws[small].sum())
        n_batches = -(-total // batch_size)
        draws[shared] = _equal_shares(class_sizes[shared], left, n_batches, min_per_class)
    return draws


def _equal_shares(
    class_sizes: np.ndarray, total: int, n_batches: int, min_per_class: int
) -> np.ndarray:
    """Equal shares of the total, each of which can be cut into at most n_batches blocks of
    min_per_class to class_sizes: a class of 3 samples in blocks of 3 can be drawn 3, 6, 9 ...
    times. Where an equal share cannot, all shares stay as near to it as the total allows.
    """
    limit = class_sizes * n_batches
    shares = np.zeros_like(class_sizes)
    left = total
    for i, label in enumerate(np.argsort(limit, kind="stable")):
        shares[label] = max(min(int(limit[label]), left // (len(limit) - i)), 0)
        left -= int(shares[label])
    if _can_be_cut(shares, class_sizes, n_batches, min_per_class).all():
        return shares
    for reach in range(1, 4 * min_per_class + 1):
        steps = np.arange(-reach, reach + 1)
        steps = steps[np.argsort(np.abs(steps), kind="stable")]
        possible = _can_be_cut(
            shares[:, None] + steps, class_sizes[:, None], n_batches, min_per_class
        )
        chosen = _steps_that_cancel([steps[row].tolist() for row in possible])
        if chosen is not None:
            return np.asarray(shares + np.array(chosen))
    return class_sizes  # each once: the draws of balance="natural", which can always be cut


def _can_be_cut(
    draws: np.ndarray, class_sizes: np.ndarray, n_batches: int, min_per_class: int
) -> np.ndarray:
    """Whether `draws` are some number of blocks, each of min_per_class to class_sizes."""
    fewest_blocks = -(-draws // class_sizes)
    most_blocks = np.minimum(n_batches, draws // min_per_class)
    return np.asarray((draws > 0) & (fewest_blocks <= most_blocks))


def _steps_that_cancel(options: list[list[int]]) -> list[int] | None:
    """One step of each list such that all together are 0, early ones preferred; None where there
    are none.
    """
    if not all(options):
        return None
    offset = max(0, -min(map(min, options)))
    reachable = [1]  # bit i of reachable[n]: the first n steps can sum to i - n * offset
    for steps in options:
        sums = 0
        for step in steps:
            sums |= reachable[-1] << (step + offset)
        reachable.append(sums)
    goal = offset * len(options)
    if not reachable[-1] >> goal & 1:
        return None
    chosen: list[int] = []
    for steps, before in zip(reversed(options), reversed(reachable[:-1]), strict=True):
        step = next(s for s in steps if s + offset <= goal and before >> (goal - s - offset) & 1)
        chosen.append(step)
        goal -= step + offset
    return chosen[::-1]
