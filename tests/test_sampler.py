"""The laws of the batches."""

from __future__ import annotations

import numpy as np

from quadlib.sampler import StratifiedBatchSampler


def test_twelve_balanced_classes() -> None:
    sampler = StratifiedBatchSampler(np.repeat(np.arange(12), 48), 32)
    plan = sampler.plan()
    assert len(sampler) == 18 and plan.sizes.tolist() == [32] * 18
    assert plan.counts.min() >= 2 and plan.counts.max() <= 4
    assert sorted(np.concatenate(plan.batches)) == list(range(576))
