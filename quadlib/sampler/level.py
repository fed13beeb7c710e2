"""The common classes: the whole part of their share in every batch, and single draws that bring all
batches to one size.
"""

from __future__ import annotations

import numpy as np


def level_common(
    draws: np.ndarray, share: np.ndarray, load: np.ndarray, n_draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Counts of the common classes, (n_common, n_batches) int64: the share everywhere, and single
    draws that bring `load`, which is changed, to sizes as equal as can be.

    Args:
        draws: draws of each common class, (n_common,) int64.
        share: whole part of draws / n_batches, (n_common,) int64.
        load: samples in each batch so far, the shares included, (n_batches,) int64.
        n_draws: draws of all classes, rare ones included.
        rng: breaks ties.

    Each class in turn, the largest first, gives what its share leaves over, one a batch, to the
    batches in the order of `_giving_order`.

    Example: 7 and 5 draws in 3 batches, beside a block of 2 of a rare class in the first. The
    shares 2 and 1 make loads of 5, 3, 3; the 1 and 2 draws left over can lift them to 5, 5, 4 (or
    5, 4, 5), the goal. The first class has 1 to give: to the second batch, which lacks 2. The other
    class has 2, one each for the second and the third. Counts of 2, 3, 2 and 1, 2, 2 are within one
    of their shares, and with the rare block the sizes are 5, 5, 4.

        >>> counts = level_common(
        ...     np.array([7, 5]), np.array([2, 1]), np.array([5, 3, 3]), 14,
        ...     np.random.default_rng(0),
        ... )
        >>> counts.sum(0).tolist() in ([3, 5, 4], [3, 4, 5])
        True
    """
    counts = np.repeat(share[:, None], len(load), axis=1)
    left_over = draws - share * len(load)
    goal = _levelled(load, int(left_over.sum()), rng)
    largest_first = np.lexsort((rng.random(len(draws)), -draws))
    giving = largest_first[left_over[largest_first] > 0]
    for n_later, row in zip(range(len(giving) - 1, -1, -1), giving, strict=True):
        proportion = draws[row] * goal / n_draws
        order = _giving_order(load, goal, n_later, proportion - share[row], rng)
        chosen = order[: left_over[row]]
        counts[row, chosen] += 1
        load[chosen] += 1
    return counts


def _giving_order(
    load: np.ndarray,
    goal: np.ndarray,
    n_later: int,
    above_share: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """The batches in the order in which a class gives them one draw more than its share.

    By urgency: first those that lack more than the n_later classes to come can give, last those
    that lack nothing; within these, first those so large that the share alone would leave the class
    more than one below its proportion, last those so small that one more would put it above. Then
    by what is lacking; then the largest goal, or where nothing is lacking the smallest load; ties
    at random.
    """
    lacking = goal - load
    urgency = (
        2.0 * ((lacking > n_later).astype(np.int8) - (lacking <= 0))
        + (above_share > 1)
        - (above_share < 0)
    )
    size = np.where(lacking > 0, -goal, load)
    return np.lexsort((rng.random(len(load)), size, -lacking, -urgency))


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


def keep_proportion(
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


def exchange_common(
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
