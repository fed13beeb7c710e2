"""Vectors whose far values are softened: the middle half sets the scale, and order is kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quadlib.data.normalise import Normaliser
from quadlib.data.samples import Modality

ROWS = np.arange(300)


@pytest.fixture
def values():
    random = np.random.default_rng(0)
    columns = [random.standard_t(2, 500), random.normal(5, 2, 500), random.integers(0, 2, 500)]
    return np.column_stack([*columns, np.full(500, 7)]).astype(np.float32)


def fit(values, soft=True, rows=ROWS):
    present = np.ones((len(values), 1), bool)
    return Normaliser.fit({"a": values}, present, {"a": Modality("vector", (4,))}, rows, soft=soft)


def test_train_has_mean_zero_and_deviation_one(values):
    inputs = fit(values).apply("a", values)[ROWS]
    assert inputs.dtype == np.float32
    assert inputs.mean(axis=0) == pytest.approx(0, abs=1e-5)
    assert inputs.std(axis=0) == pytest.approx([1, 1, 1, 0], abs=1e-4)


def test_a_far_value_does_not_set_the_scale_and_order_is_kept(values):
    far = values.copy()
    far[0, 0] = 1e6
    soft, plain = (fit(far, soft).apply("a", far) for soft in (True, False))
    assert plain[1:300, 0].std() < 1e-3 < 0.5 < soft[1:300, 0].std()
    assert soft[0, 0] < 15
    order = np.argsort(far[:, 0], kind="stable")
    assert (np.diff(soft[order, 0]) >= 0).all()


def test_a_normal_feature_stays_about_as_it_is(values):
    soft, plain = (fit(values, soft).apply("a", values)[:, 1] for soft in (True, False))
    assert np.corrcoef(soft, plain)[0, 1] > 0.98


def test_a_large_offset_and_a_constant_are_no_trouble(values):
    moved = values.astype(np.float64) * 1e-3 + 1e3
    inputs = fit(moved.astype(np.float32)).apply("a", moved.astype(np.float32))
    assert np.isfinite(inputs).all() and (inputs[:, 3] == 0).all()


def test_the_scale_is_that_of_train_alone_and_comes_back_exactly(values, tmp_path):
    fitted = fit(values)
    changed = values.copy()
    changed[300:] = 99
    inputs = fitted.apply("a", values)
    assert (fit(changed).apply("a", values) == inputs).all()
    torch.save(fitted.state_dict(), tmp_path / "scale.pt")
    state = torch.load(tmp_path / "scale.pt", weights_only=True)
    assert (Normaliser.from_state_dict(state).apply("a", values) == inputs).all()
    # a checkpoint that knows no softening has none
    older = {"a": {name: state["a"][name] for name in ("mean", "std")}}
    assert not Normaliser.from_state_dict(older).middles
