from __future__ import annotations

import numpy as np
import pytest

from quadlib.data.large_splits import deal_large


@pytest.mark.parametrize("together", [1, 4])
def test_every_class_keeps_its_shares_and_no_group_is_cut(together):
    classes = np.tile(np.arange(50), 10)
    groups = np.arange(500) // together
    split = deal_large(
        groups,
        classes,
        np.array([0.6, 0.2, 0.2]),
        np.ones((50, 3), dtype=bool),
        np.random.default_rng(0),
    )
    counts = np.zeros((50, 3), dtype=int)
    np.add.at(counts, (classes, split[groups]), 1)
    assert (counts > 0).all() and abs(counts - [6, 2, 2]).max() <= (0 if together == 1 else 2)


def test_a_class_of_few_groups_is_where_it_has_to_be():
    classes = np.array([0, 0, 0, 1, 1, 2])
    wanted = np.array([[1, 1, 1], [1, 0, 1], [1, 0, 0]], dtype=bool)
    split = deal_large(
        np.arange(6), classes, np.array([0.6, 0.2, 0.2]), wanted, np.random.default_rng(0)
    )
    assert sorted(split[:3]) == [0, 1, 2] and sorted(split[3:5]) == [0, 2] and split[5] == 0
