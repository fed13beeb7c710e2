"""What is read as a label, what is unlabelled, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from quadlib.loss.labels import class_codes, read_labels

NAN = float("nan")
READ = [
    ([3, 1, 3, -1], [1, 0, 1, -1], ("1", "3")),
    ([[3], [1], [3], [-1]], [1, 0, 1, -1], ("1", "3")),
    (torch.tensor([[3], [1], [3], [-1]]), [1, 0, 1, -1], ("1", "3")),
    (torch.tensor([7, 250, 7], dtype=torch.uint8), [0, 1, 0], ("7", "250")),
    (np.array([2**64 - 1, 3], dtype=np.uint64), [1, 0], ("3", str(2**64 - 1))),
    ([10, 2, 2**53, 2**53 + 1], [1, 0, 2, 3], ("2", "10", str(2**53), str(2**53 + 1))),
    ([2**70, 1], [1, 0], ("1", str(2**70))),
    ([2**63, None, 1], [1, -1, 0], ("1", str(2**63))),
    ([1000, None, 200, 30], [2, -1, 1, 0], ("30", "200", "1000")),
    ([True, False], [1, 0], ("False", "True")),
    (["pore", None, "crack", NAN, pd.NA, "-1"], [1, -1, 0, -1, -1, -1], ("crack", "pore")),
    (np.array([["pore"], [None]], dtype=object), [0, -1], ("pore",)),
    ([0, 1, NAN, None], [0, 1, -1, -1], ("0", "1")),
    (pd.Series([10, 2, None], dtype="Int64"), [1, 0, -1], ("2", "10")),
    (pd.Series([True, None], dtype="boolean"), [0, -1], ("1",)),
    (pd.Series(["b", None, "a"]), [1, -1, 0], ("a", "b")),
    (pd.Categorical(["b", None, "a"]), [1, -1, 0], ("a", "b")),
    ([], [], ()),
]


@pytest.mark.parametrize("labels, codes, names", READ)
def test_one_label_per_sample(labels: Any, codes: list[int], names: tuple[str, ...]) -> None:
    assert class_codes(labels)[0].tolist() == codes and class_codes(labels)[1] == names
    assert class_codes(labels)[0].dtype == np.int64


def test_the_unlabelled_value_is_a_setting() -> None:
    assert class_codes([0, 1, -1], unlabelled=0)[0].tolist() == [-1, 1, 0]
    assert class_codes(torch.tensor([0, 1, -1]), unlabelled=0)[0].tolist() == [-1, 1, 0]
    assert class_codes([0, 1, -1], unlabelled=None)[0].tolist() == [1, 2, 0]
    assert class_codes(torch.tensor([0, 1, -1]), unlabelled=None)[0].tolist() == [1, 2, 0]
    assert class_codes(["a", "unknown"], unlabelled="unknown")[0].tolist() == [0, -1]


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor, lambda rows: rows])
@pytest.mark.parametrize("one", [1, True])
def test_several_labels_per_sample(convert: Any, one: Any) -> None:
    several = [[one, type(one)(0)], [one, one], [type(one)(0), type(one)(0)]]
    values, missing = read_labels(convert(several))
    assert values.tolist() == [[True, False], [True, True], [False, False]]
    assert missing.tolist() == [False, False, True]
    with pytest.raises(ValueError, match="one per sample"):
        class_codes(convert(several))


@pytest.mark.parametrize(
    "labels, error, part",
    [
        ([0.0, 1.0], TypeError, "large floats run together"),
        (np.array([0.0, 1.0, NAN]), TypeError, r"NaN: row 2 \(1 of 3\)"),
        (np.full(9, NAN), TypeError, r"rows 0, 1, 2, 3, 4, ... \(9 of 9\)"),
        (torch.tensor([0.0, 1.0]), TypeError, r"labels\.long\(\)"),
        ([0.5, None], TypeError, "large floats"),
        (torch.tensor([[0, 1], [4, 2]]), ValueError, r"from 0 to 4 in row 1 \(1 of 2\)"),
        (np.array([[0, 1], [-1, 2]]), ValueError, "from -1 to 2 in row 1"),
        (torch.rand(3, 4), TypeError, "bool or integers 0 and 1"),
        (np.array([["a", "b"]]), TypeError, "bool or integers 0 and 1"),
        ([[0, 1], [2]], ValueError, "unequal length"),
        (np.zeros((2, 2, 2), dtype=int), ValueError, r"shape \(2, 2, 2\)"),
        (5, ValueError, r"shape \(\)"),
    ],
)
def test_what_could_mean_two_things_is_refused(
    labels: Any, error: type[Exception], part: str
) -> None:
    with pytest.raises(error, match=part):
        read_labels(labels)
