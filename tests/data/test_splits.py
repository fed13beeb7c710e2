"""assign_splits: whole groups, class shares, what cannot be divided, and the same result every
time.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quadlib.data.samples import SPLITS, Modality, SampleTable, TableError
from quadlib.data.splits import _wanted, assign_splits


def make_table(labels, groups, **columns) -> SampleTable:
    count = len(labels)
    frame = pd.DataFrame(
        {
            "sample_id": [f"r{row}" for row in range(count)],
            "label": [str(label) for label in labels],
            "group": [str(group) for group in groups],
            "split": "",
            "x": np.arange(count),
            **columns,
        }
    )
    return SampleTable(
        frame,
        {"x": Modality("vector", (1,))},
        arrays={"x": np.zeros((count, 1), dtype=np.float32)},
        name="welds",
    )


def counts(table: SampleTable, column: str = "label") -> pd.DataFrame:
    return pd.crosstab(table.frame[column], table.frame["split"]).reindex(
        columns=list(SPLITS), fill_value=0
    )


def sessions(sizes_by_class: dict[str, list[int]]) -> SampleTable:
    labels, groups = [], []
    for label, sizes in sizes_by_class.items():
        for number, size in enumerate(sizes):
            labels += [label] * size
            groups += [f"{label}-{number}"] * size
    return make_table(labels, groups)


recordings = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 11)), min_size=1, max_size=60
)
shares = st.sampled_from(
    [(0.6, 0.2, 0.2), (0.8, 0.0, 0.2), (0.5, 0.25, 0.25), (1.0, 0.0, 0.0), (0.34, 0.33, 0.33)]
)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(recordings, shares, st.sampled_from(["supervised", "one_class"]), st.integers(0, 2**31 - 1))
def test_any_table_is_divided_lawfully_or_refused_with_reasons(rows, fractions, protocol, seed):
    table = make_table(*zip(*rows, strict=True))
    try:
        divided = assign_splits(table, fractions, protocol=protocol, seed=seed)
    except TableError as error:
        assert "cannot be divided" in str(error)
        return
    assert (divided.frame.groupby("group")["split"].nunique() == 1).all()
    assert set(divided.frame["split"]) <= {
        name for name, share in zip(SPLITS, fractions, strict=True) if share
    }
    pd.testing.assert_frame_equal(
        divided.frame.drop(columns="split"), table.frame.drop(columns="split")
    )
    assert divided.class_names == table.class_names
    again = assign_splits(table, fractions, protocol=protocol, seed=seed)
    assert divided.fingerprint == again.fingerprint
    held = counts(divided)
    groups = table.frame.groupby("label")["group"].nunique()
    wanted = [name for name, share in zip(SPLITS, fractions, strict=True) if share]
    if protocol == "one_class":
        assert set(divided.frame["label"][divided.rows("train")]) == {table.class_names[0]}
        return
    for label in table.class_names:
        must = wanted if groups[label] >= len(wanted) else [wanted[0], wanted[-1]]
        assert (held.loc[label, must] > 0).all()


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.lists(st.integers(1, 20), min_size=3, max_size=7), st.integers(0, 1000))
def test_shares_are_the_nearest_that_whole_groups_allow(sizes, seed):
    total, fractions = sum(sizes), np.array([0.6, 0.2, 0.2])
    held = counts(assign_splits(sessions({"a": sizes}), seed=seed)).loc["a"].to_numpy()
    deals = np.array(list(itertools.product(range(3), repeat=len(sizes))))
    filled = np.stack([(deals == split) @ np.array(sizes) for split in range(3)], axis=1)
    errors = (((filled / total - fractions) ** 2).sum(axis=1))[(filled > 0).all(axis=1)]
    assert ((held / total - fractions) ** 2).sum() <= errors.min() + 1e-9


def test_single_recordings_are_divided_to_the_last_one():
    divided = assign_splits(make_table(["a"] * 50 + ["b"] * 10, range(60)))
    assert counts(divided).to_numpy().tolist() == [[30, 10, 10], [6, 2, 2]]


def test_weld_like_sessions_keep_every_class_within_two_percent():
    random = np.random.default_rng(0)
    sizes = {
        f"c{code:02d}": (
            random.multinomial(total - number, random.dirichlet(np.full(number, 3.0))) + 1
        ).tolist()
        for code, (total, number) in enumerate(
            [
                (819, 55),
                (480, 25),
                (320, 19),
                (340, 17),
                (480, 27),
                (160, 9),
                (160, 12),
                (320, 16),
                (160, 9),
                (320, 17),
                (320, 18),
                (161, 12),
            ]
        )
    }
    held = counts(assign_splits(sessions(sizes)))
    assert np.abs(held.div(held.sum(axis=1), axis=0).to_numpy() - [0.6, 0.2, 0.2]).max() < 0.02


def test_groups_of_several_classes_stay_whole_and_balanced():
    random = np.random.default_rng(1)
    table = make_table(random.integers(0, 12, 2000), random.integers(0, 150, 2000))
    held = counts(assign_splits(table))
    assert np.abs(held.div(held.sum(axis=1), axis=0).to_numpy() - [0.6, 0.2, 0.2]).max() < 0.02


def test_the_seed_decides_which_groups_and_the_order_of_rows_does_not():
    table = make_table(["a"] * 30 + ["b"] * 30, np.repeat(range(30), 2))
    one, other = assign_splits(table, seed=1), assign_splits(table, seed=2)
    assert not one.frame["split"].equals(other.frame["split"])
    order = np.random.default_rng(0).permutation(60)
    turned = assign_splits(table.take(order), seed=1)
    assert (
        turned.frame.set_index("sample_id")["split"].to_dict()
        == one.frame.set_index("sample_id")["split"].to_dict()
    )


def test_global_random_state_is_untouched():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assign_splits(sessions({"a": [1, 2, 3, 4]}))
    assert (before == np.random.get_state()[1]).all()  # noqa: NPY002


def test_two_groups_go_to_train_and_test():
    assert counts(assign_splits(sessions({"a": [5, 5, 5, 5], "b": [4, 4]}))).loc["b"].tolist() == [
        4,
        0,
        4,
    ]


def test_every_class_in_one_group_is_named_at_once():
    with pytest.raises(TableError) as error:
        assign_splits(sessions({"a": [5, 5, 5], "b": [7], "c": [3]}))
    assert "2 problems" in str(error.value)
    for text in (
        "'b': all its 7 recording(s) lie in one group",
        "'c': all its 3",
        "train and test",
        'single_session="train"',
    ):
        assert text in str(error.value)


def test_one_class_trains_on_good_alone():
    table = sessions({"a": [4, 4], "good": [6] * 10, "z": [3]})
    held = counts(assign_splits(table, protocol="one_class"))
    assert held.loc["good"].tolist() == [36, 12, 12]
    assert held.loc["a"].tolist() == [0, 4, 4]
    assert held.loc["z"].tolist() == [0, 0, 3]


def test_one_class_divides_the_others_as_val_and_test_stand():
    table = sessions({"good": [1] * 100, "bad": [1] * 40})
    held = counts(assign_splits(table, (0.5, 0.1, 0.4), protocol="one_class"))
    assert held.loc["bad"].tolist() == [0, 8, 32]
    assert held.loc["good"].tolist() == [50, 10, 40]


def test_a_split_without_a_seed_is_that_of_seed_0():
    table = sessions({"a": [1] * 30, "b": [1] * 30})
    plain = assign_splits(table).frame["split"]
    assert plain.equals(assign_splits(table, seed=0).frame["split"])
    assert not plain.equals(assign_splits(table, seed=1).frame["split"])


def test_one_class_never_trains_on_another_class_of_one_session():
    table = sessions({"good": [4] * 10, "bad": [5, 5, 5], "worse": [6]})
    held = counts(assign_splits(table, protocol="one_class", single_session="train"))
    assert held.loc[["bad", "worse"], "train"].tolist() == [0, 0] and held.loc["worse"].sum() == 6


def test_a_class_left_out_is_no_class_of_what_is_left():
    table = sessions({"good": [4] * 10, "bad": [5, 5, 5], "worse": [6]})
    left = assign_splits(table, single_session="drop")
    assert left.class_names == ("bad", "good") and len(left) == 55
    kept = assign_splits(
        replace(table, classes=["good", "bad", "worse", "never"]), single_session="drop"
    )
    assert kept.class_names == ("good", "bad", "never")


def test_large_tables_want_a_class_in_as_many_splits_as_it_has_groups():
    lone = np.array([False, False, False, True])
    wanted = _wanted(np.array([1, 2, 3, 3]), lone, np.array([0.6, 0.2, 0.2]))
    assert wanted.tolist() == [[1, 0, 0], [1, 0, 1], [1, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize("nothing", ["", None, np.nan])
def test_recordings_without_a_session_are_counted(nothing):
    table = make_table("aabb", ["1", "2", "3", "4"])
    table.frame["group"] = table.frame["group"].astype(object)
    table.frame.loc[[1, 2], "group"] = nothing
    with pytest.raises(TableError, match="group: 2 recording"):
        assign_splits(table)


def test_one_class_keeps_mixed_groups_out_of_train():
    table = make_table(["good"] * 8 + ["bad"] * 4, [*"abcdefgh", *"efgh"])
    held = assign_splits(table, protocol="one_class").frame
    assert set(held["label"][held["split"] == "train"]) == {"good"}
    with pytest.raises(TableError, match="also holds another class"):
        assign_splits(make_table(["good"] * 2 + ["bad"] * 2, [*"abab"]), protocol="one_class")


def test_another_column_can_group_and_stratify():
    table = make_table(
        ["a", "b"] * 30,
        range(60),
        welder=[f"w{row // 6}" for row in range(60)],
        joint=["butt"] * 30 + ["fillet"] * 30,
    )
    divided = assign_splits(table, group="welder", stratify="joint")
    assert (divided.frame.groupby("welder")["split"].nunique() == 1).all()
    assert counts(divided, "joint").to_numpy().tolist() == [[18, 6, 6], [18, 6, 6]]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"fractions": (0.5, 0.2, 0.2)}, "add up to 1"),
        ({"fractions": (0.0, 0.5, 0.5)}, "train above 0"),
        ({"group": "grupo"}, "did you mean 'group'"),
        ({"stratify": "nothing"}, "no column 'nothing'"),
        ({"protocol": "oneclass"}, "neither"),
        ({"protocol": "one_class", "fractions": (1.0, 0, 0)}, "val or test"),
        ({"protocol": "one_class", "stratify": "group"}, "leave stratify"),
        ({"single_session": "leave_out"}, "single_session 'leave_out' is neither"),
    ],
)
def test_wrong_arguments_are_explained(arguments, text):
    with pytest.raises(TableError, match=text):
        assign_splits(sessions({"a": [1, 2, 3]}), **arguments)


def test_all_wrong_arguments_are_told_together():
    with pytest.raises(TableError, match="3 problems"):
        assign_splits(
            sessions({"a": [1, 2, 3]}), fractions=(1, 1, 1), group="welder", stratify="joint"
        )
