from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quadlib.data.large_splits import deal_large
from quadlib.data.samples import Modality, SampleTable, TableError
from quadlib.data.splits import _is_large, assign_splits


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


@pytest.mark.parametrize("seed", range(8))
def test_groups_of_very_unequal_size_are_still_in_every_split(seed):
    """Three sessions a class, of which one has most of the class: its share alone would put two of
    them, or all, into one split.
    """
    sizes = [3, 90, 5, 5, 80, 10, 1, 1, 60, 7, 2]
    groups = np.repeat(np.arange(len(sizes)), sizes)
    classes = np.repeat([0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3], sizes)
    wanted = np.array([[1, 0, 0], [1, 1, 1], [1, 1, 1], [1, 1, 1]], dtype=bool)
    share, random = np.array([0.6, 0.2, 0.2]), np.random.default_rng(seed)
    split = deal_large(groups, classes, share, wanted, random)
    assert [set(split[a:b]) for a, b in ((0, 1), (1, 4), (4, 7), (7, 11))] == [
        {0},
        {0, 1, 2},
        {0, 1, 2},
        {0, 1, 2},
    ]


def table_of(classes: np.ndarray, groups: np.ndarray) -> SampleTable:
    rows = np.arange(len(classes))
    frame = pd.DataFrame(
        {
            "sample_id": rows.astype(str),
            "label": [f"c{code}" for code in classes],
            "group": [f"s{code}" for code in groups],
            "split": "",
            "x": rows,
        }
    )
    arrays = {"x": np.zeros((len(rows), 1), dtype=np.float32)}
    return SampleTable(frame, {"x": Modality("vector", (1,))}, arrays=arrays)


def test_many_mixed_sessions_are_dealt_by_the_quick_way_near_their_shares():
    classes = np.repeat(np.arange(300), 20)
    groups = np.random.default_rng(0).integers(0, 3000, len(classes))
    assert _is_large(*(pd.factorize(codes)[0] for codes in (groups, classes)), 3000, 300)
    table = assign_splits(table_of(classes, groups))
    frame = table.frame
    assert frame.groupby("group")["split"].nunique().max() == 1
    assert frame.groupby("label")["split"].nunique().min() == 3
    assert len(table.rows("train")) / len(table) == pytest.approx(0.6, abs=0.01)


def test_interchangeable_sessions_are_searched_however_many_they_are():
    classes = np.tile(np.arange(10), 100_000)
    groups = np.arange(len(classes))
    assert not _is_large(groups[:400_000], classes[:400_000], 400_000, 10)


def test_a_class_of_one_session_is_refused_in_a_large_table_too():
    classes = np.append(np.repeat(np.arange(2500), 3), [2500, 2500])
    groups = np.append(np.arange(7500), [7500, 7500])
    with pytest.raises(TableError, match=r"c2500: each lies in one group.*single_session="):
        assign_splits(table_of(classes, groups))
    alone = assign_splits(table_of(classes, groups), single_session="train").frame
    assert set(alone["split"][alone["label"] == "c2500"]) == {"train"}
