"""Which samples go where: how often each is drawn in an epoch, and the dealing of a class's samples
over its batches.
"""

from __future__ import annotations

import numpy as np

from quadlib.sampler.cells import Cells, stable_order


def times_drawn(
    codes: np.ndarray, class_sizes: np.ndarray, draws: np.ndarray, seed: int, epoch: int
) -> np.ndarray:
    """How often each sample is drawn in this epoch, (n_samples,) int64: all samples of a class
    equally often, within one.

    The samples drawn once more are a window over a fixed order of the class that moves on with the
    epoch, so that n / (draws mod n) epochs see all of them.
    """
    whole, window = np.divmod(draws, np.maximum(class_sizes, 1))
    times: np.ndarray = whole[codes]
    if window.any():
        order = np.random.default_rng([seed]).permutation(len(codes))
        order = order[stable_order(codes[order])]
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

    That is so where a class's cells are of one size, within one. Where they are not, the rounds
    that not all cells take part in come first, so that the second promise still holds. Where then
    samples are drawn more than once, they fill one cell after the other, all of them before any
    comes again: no cell holds one twice, and sessions are not spread.
    """
    order = rng.permutation(len(codes))
    repeated = bool((times > 1).any())
    samples = np.repeat(order, times[order]) if (times != 1).any() else order
    if groups is None:
        samples = samples[stable_order(codes[samples])]
    else:
        samples = samples[stable_order(_session_rank(codes, groups, rng)[samples])]
    batch = np.repeat(cells.batch, cells.count)
    if groups is None and not repeated:
        return samples, batch
    label = np.repeat(cells.label, cells.count)
    turn = np.arange(len(batch)) - np.repeat(np.cumsum(cells.count) - cells.count, cells.count)
    uneven = _uneven_classes(cells, int(codes.max()) + 1)
    if uneven.any():
        again = uneven & (np.bincount(codes[times > 1], minlength=len(uneven)) > 0)
        turn[uneven[label]] = turn.max() - turn[uneven[label]]  # the round of all cells comes last
        turn[again[label]] = 0  # cell after cell
        samples = _in_rounds(samples, codes, times, again)
    slots = np.argsort(label * (int(turn.max()) + 1) + turn, kind="stable")
    dealt = np.empty_like(samples)
    dealt[slots] = samples
    return dealt, batch


def _uneven_classes(cells: Cells, n_classes: int) -> np.ndarray:
    """Which classes have cells whose counts are more than one apart, (n_classes,) bool."""
    largest = np.zeros(n_classes, dtype=np.int64)
    smallest = np.full(n_classes, np.iinfo(np.int64).max)
    np.maximum.at(largest, cells.label, cells.count)
    np.minimum.at(smallest, cells.label, cells.count)
    return np.asarray(largest > np.minimum(smallest, largest) + 1)


def _in_rounds(
    samples: np.ndarray, codes: np.ndarray, times: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """The drawn samples, of which those of the chosen classes come in rounds: each once, those that
    are drawn most often first, before any comes again.
    """
    order = np.argsort(samples, kind="stable")
    copy = np.empty(len(samples), dtype=np.int64)
    in_order = samples[order]
    first = np.flatnonzero(np.r_[True, in_order[1:] != in_order[:-1]])
    copy[order] = np.arange(len(samples)) - np.repeat(first, np.diff(np.r_[first, len(samples)]))
    own = chosen[codes[samples]]
    round_of = np.where(own, copy, 0)
    often = np.where(own, -times[samples], 0)
    return samples[np.lexsort((often, round_of, codes[samples]))]


def _session_rank(codes: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Per sample, the place of its session within its class: classes in order, in each the largest
    session first, ties at random.
    """
    sessions, inverse, size = np.unique(
        codes * (int(groups.max()) + 1) + groups, return_inverse=True, return_counts=True
    )
    order = np.lexsort((rng.random(len(sessions)), -size, sessions // (int(groups.max()) + 1)))
    rank = np.empty(len(sessions), dtype=np.int64)
    rank[order] = np.arange(len(sessions))
    return rank[inverse]
