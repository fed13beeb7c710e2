"""Labels: shuffled, noisy, unique, twins, contradictions, maps; hard tasks and views without labels
stay silent.
"""

from __future__ import annotations

import numpy as np
import pytest

from quadlib.data.open import open_source
from quadlib.data.samples import SampleTable
from quadlib.diagnosis.evidence.signature import signature


def shuffled(frame, arrays):
    frame["label"] = np.random.default_rng(3).permutation(frame["label"])


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_labels(make_table, examined, seed):
    def edit(frame, arrays):
        frame["label"] = np.random.default_rng(seed).permutation(frame["label"])

    result = examined(table=make_table(seed=seed, edit=edit))
    assert [root.code for root in result.roots] == ["QL-L01"]
    assert (
        result.roots[0].severity == "warning"
        and result.roots[0].candidates
        and "p = " in result.roots[0].evidence[0]
    )


def test_shuffled_labels_of_measured_data(roots):
    table = open_source("mfeat")
    labels = np.random.default_rng(0).permutation(table.frame["label"])
    assert roots(table=table.with_columns(label=labels)) == ["QL-L01"]


@pytest.mark.parametrize("seed", range(3))
def test_noisy_labels_of_measured_data(roots, seed):
    table, random = open_source("mfeat"), np.random.default_rng(seed)
    labels = table.frame["label"].to_numpy().copy()
    wrong = random.random(len(labels)) < 0.3
    labels[wrong] = random.choice(list(table.class_names), wrong.sum())
    assert roots(table=table.with_columns(label=labels)) == ["QL-L02"]


def test_labels_against_the_class_in_the_id(make_table, examined):
    def edit(frame, arrays):
        frame["sample_id"] = [f"s{row}-{name[-1]}" for row, name in enumerate(frame["label"])]
        frame.loc[::5, "label"] = "class 0"
        for array in arrays.values():
            array[:] = np.random.default_rng(0).normal(size=array.shape)

    result = examined(table=make_table(edit=edit))
    assert [root.code for root in result.roots] == [
        "QL-L02"
    ] and "60 of 400 labels contradict" in result.roots[0].title


def test_a_hard_task_is_silent(make_table, roots):
    """Classes that overlap in both modalities: neighbours disagree with the label often, and with
    each other.
    """
    for seed in range(5):

        def edit(frame, arrays, seed=seed):
            random = np.random.default_rng([seed, 1])
            y = np.arange(len(frame)) % 4
            for array in arrays.values():
                array[:] = np.eye(4)[y] @ random.normal(
                    size=(4, array.shape[1])
                ) * 0.8 + random.normal(size=array.shape)

        assert roots(table=make_table(edit=edit)) == []


def test_an_uninformative_modality_is_silent(make_table, roots):
    def edit(frame, arrays):
        arrays["audio"][:] = np.random.default_rng(0).normal(size=arrays["audio"].shape)

    assert roots(table=make_table(edit=edit)) == []


def test_unique_ids_as_labels(make_table, examined):
    def edit(frame, arrays):
        frame["label"] = frame["sample_id"]

    result = examined(table=make_table(edit=edit))
    assert [root.code for root in result.roots] == ["QL-L04"]
    assert "equals sample_id" in result.roots[0].where and {"QL-S11", "QL-S02"} <= {
        item.code for item in result.roots[0].folded
    }


def test_unique_labels_with_two_views_are_no_fault(roots):
    assert roots(labels=np.arange(64), settings={"n_views": 2}) == []


def test_indices_that_differ_between_splits(make_table, examined):
    def edit(frame, arrays):
        code = frame["label"].str[-1].astype(int)
        frame["class_index"] = np.where(frame["split"] == "train", code, (code + 1) % 4)

    result = examined(table=make_table(edit=edit))
    assert {root.code for root in result.roots} == {
        "QL-L06"
    } and "another index in val than in train" in result.roots[0].title


def test_a_class_missing_from_val_moves_the_indices_behind_it(make_table, examined):
    table = make_table()
    frame = table.frame[
        (table.frame["split"] == "train")
        | ((table.frame["label"] != "class 1") & (table.frame["split"] == "val"))
    ]
    labels = np.empty(len(frame), dtype=int)
    for split in ("train", "val"):
        own = (frame["split"] == split).to_numpy()
        labels[own] = np.unique(frame["label"][own], return_inverse=True)[1]
    result = examined(table=frame.reset_index(drop=True), labels=labels)
    assert [root.code for root in result.roots] == ["QL-L06"]
    right = frame["label"].str[-1].astype(int).to_numpy()
    assert examined(table=frame.reset_index(drop=True), labels=right).ok


def test_labels_taken_before_the_table_was_sorted(make_table, examined):
    table = make_table()
    labels = np.sort(table.codes)
    assert examined(table=table.frame, labels=labels).roots[0].code == "QL-L12"


def test_a_modality_that_is_called_y_is_no_index_of_classes(make_table, roots):
    table = make_table()
    frame = table.frame.rename(columns={"sensor": "y"})
    modalities = {("y" if n == "sensor" else n): m for n, m in table.modalities.items()}
    arrays = {("y" if n == "sensor" else n): a for n, a in table.arrays.items()}
    assert roots(table=SampleTable(frame, modalities, arrays=arrays)) == []


def test_equal_recordings_with_two_labels(make_table, examined):
    def edit(frame, arrays):
        for array in arrays.values():
            array[1] = array[0]

    result = examined(table=make_table(edit=edit))
    assert [root.code for root in result.roots if root.severity != "note"] == ["QL-L10"]
    assert "r0000 (class 0) and r0001 (class 1)" in result.roots[-1].where + result.roots[0].where


@pytest.mark.parametrize(
    "twins",
    [
        ("crack", "Crack"),
        ("crack", "crack "),
        ("burn_through", "burn through"),
        ("01", "1"),
        ("2", "2.0"),
    ],
)
def test_label_twins(roots, twins):
    assert roots(labels=[*twins, "good"] * 8) == ["QL-L11"]


def test_classes_that_begin_alike_are_no_twins(roots):
    assert roots(labels=["porosity", "porosity_w_ep", "00", "01", "10"] * 8) == []


@pytest.mark.parametrize(
    "labels", [[], ["a", None, "b"] * 8, ["a", float("nan")] * 8, ["a", ""] * 8, ["a"] * 32]
)
def test_labels_that_are_not_there(examined, labels):
    result = examined(labels=np.array(labels, dtype=object))
    assert [root.code for root in result.roots] == ["QL-L13"]


def test_unlabelled_and_two_views_are_no_fault(roots):
    assert roots(labels=[-1] * 32) == []
    assert roots(labels=[0] * 32, settings={"n_views": 2}) == []


def test_signature_of_independent_things_is_uniform():
    """p below 0.05 about as often as it says; the same numbers for the same seed."""
    low = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        seen = signature(
            {"a": random.normal(size=(60, 5)), "b": random.normal(size=(60, 3))},
            random.integers(0, 3, 60),
            permutations=99,
        )
        low += (
            (seen.labels["a"].p <= 0.05)
            + (seen.pairs["a", "b"].p <= 0.05)
            + (seen.within["a", "b"].p <= 0.05)
        )
    assert low <= 20  # 9 expected of 180
    assert signature({"a": np.eye(40)}, np.arange(40) % 2) == signature(
        {"a": np.eye(40)}, np.arange(40) % 2
    )


def test_signature_skips_absent_and_constant_rows():
    random = np.random.default_rng(0)
    values = random.normal(size=(80, 4))
    absent = values + 0.1
    absent[::2] = np.nan
    seen = signature(
        {"a": values, "b": absent, "flat": np.ones((80, 3)), "rare": np.full((80, 2), np.nan)},
        random.integers(0, 4, 80),
    )
    assert (
        set(seen.labels) == {"a", "b"}
        and seen.pairs["a", "b"].n == 40
        and seen.pairs["a", "b"].p <= 0.01
    )
    with pytest.raises(ValueError, match="a has 3 rows"):
        signature({"a": np.ones((3, 2))}, [0, 1])
