"""Draws of common classes: sums that trades must keep, and who is given a draw first."""

from __future__ import annotations

import numpy as np
import pytest

from quadlib.sampler.level import _giving_order, exchange_common, keep_proportion


@pytest.mark.parametrize("seed", range(3))
def test_trades_bring_counts_to_their_proportion_and_keep_every_sum(seed: int) -> None:
    """A class of half of all samples has its single draws in the small batches, where they put it
    above its proportion; four others have theirs in the large ones.
    """
    first = np.random.default_rng(seed).permutation(np.arange(12) < 6)
    share = np.array([20, 3, 3, 3, 3])
    counts = share[:, None] + np.array([~first, first, first, first, first])
    draws, load = counts.sum(1), counts.sum(0)
    proportion = draws[:, None] * load / load.sum()
    assert np.abs(counts - proportion).max() > 1
    keep_proportion(counts, draws, share, load, int(load.sum()))
    assert np.abs(counts - proportion).max() <= 1
    assert (counts.sum(1) == draws).all() and (counts.sum(0) == load).all()
    assert set((counts - share[:, None]).ravel()) == {0, 1}


def test_batches_that_lack_nothing_are_given_last() -> None:
    order = _giving_order(
        load=np.array([2, 3, 0]),
        goal=np.array([3, 3, 3]),
        n_later=5,
        above_share=np.array([-0.1, 1.1, 0.5]),
        rng=np.random.default_rng(0),
    )
    assert order.tolist() == [2, 0, 1]


def test_a_class_of_whole_shares_moves_samples_from_full_batches_to_empty_ones() -> None:
    counts, load = np.full((2, 6), 4), np.array([12, 12, 12, 8, 8, 8])
    others = load - counts.sum(0)
    exchange_common(counts, np.array([24, 24]), np.array([4, 4]), load, 2, np.random.default_rng(0))
    assert (counts.sum(1) == 24).all() and (load == others + counts.sum(0)).all()
    assert np.abs(counts - 4).max() == 1 and load.tolist() == [10] * 6
