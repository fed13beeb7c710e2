"""Epochs without set_epoch, states at every point, and labels that are missing."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from quadlib.sampler import SamplerError, StratifiedBatchSampler

LABELS = np.repeat(np.arange(4), 10)


class Indices(Dataset):
    def __len__(self) -> int:
        return len(LABELS)

    def __getitem__(self, index: int) -> int:
        return index


def test_each_iteration_is_the_next_epoch_unless_one_is_chosen() -> None:
    sampler = StratifiedBatchSampler(LABELS, 8)
    expected = [[batch.tolist() for batch in sampler.plan(epoch).batches] for epoch in range(5)]
    assert [list(sampler) for _ in range(3)] == expected[:3]
    assert [batch.tolist() for batch in sampler.plan().batches] == expected[3]
    sampler.set_epoch(1)
    assert [list(sampler), list(sampler)] == expected[1:3]
    assert all(expected[0] != other for other in expected[1:])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_plain_loader_sees_other_batches_in_every_epoch(workers: int) -> None:
    sampler = StratifiedBatchSampler(LABELS, 8)
    loader = DataLoader(Indices(), batch_sampler=sampler, num_workers=workers)
    epochs = [[batch.tolist() for batch in loader] for _ in range(3)]
    for epoch, batches in enumerate(epochs):
        assert batches == [batch.tolist() for batch in sampler.plan(epoch).batches]


@pytest.mark.parametrize("layout", [{}, {"layout": "pk", "classes_per_batch": 2}])
def test_a_state_continues_as_if_nothing_had_been_interrupted(layout: dict) -> None:
    settings = {"samples_per_class": 4, **layout} if layout else {"batch_size": 8}
    uninterrupted = StratifiedBatchSampler(LABELS, seed=3, **settings)
    following = [list(uninterrupted) for _ in range(3)]
    for consumed in range(len(following[0]) + 1):
        sampler = StratifiedBatchSampler(LABELS, seed=3, **settings)
        batches = iter(sampler)
        first = [next(batches) for _ in range(consumed)]
        resumed = StratifiedBatchSampler(LABELS, seed=3, **settings)
        resumed.load_state_dict(copy.deepcopy(sampler.state_dict()))
        assert first + list(resumed) == following[0]
        assert [list(resumed), list(resumed)] == following[1:]


def test_after_the_last_batch_the_state_is_that_of_the_next_epoch() -> None:
    sampler = StratifiedBatchSampler(LABELS, 8)
    list(sampler)
    state = sampler.state_dict()
    assert (state["epoch"], state["position"]) == (1, 0)
    # a loader with workers has fetched all, the training step has not
    assert sampler.state_dict(position=3) == {**state, "epoch": 0, "position": 3}
    resumed = StratifiedBatchSampler(LABELS, 8)
    resumed.load_state_dict(sampler.state_dict(position=3))
    assert list(resumed) == [batch.tolist() for batch in sampler.plan(0).batches[3:]]
    resumed.load_state_dict(state)
    assert list(resumed) == list(sampler)


def test_unlabelled_samples_are_refused_or_left_out_but_never_a_class() -> None:
    labels = ["a"] * 8 + [None] * 3 + ["b"] * 8
    with pytest.raises(SamplerError, match="3 of 19 samples are unlabelled.*unlabelled='drop'"):
        StratifiedBatchSampler(labels, 8)
    sampler = StratifiedBatchSampler(labels, 8, unlabelled="drop", groups=[0, 1] * 9 + [0])
    plan = sampler.plan()
    assert plan.class_names == ("a", "b") and plan.unseen.tolist() == [8, 9, 10]
    assert plan.sizes.tolist() == [8, 8] and "3 of 19 samples unlabelled" in plan.notes[0]
    assert sorted(i for batch in sampler for i in batch) == [*range(8), *range(11, 19)]
    with pytest.raises(SamplerError, match="6 of 18"):
        StratifiedBatchSampler(np.array([0, 1, -1] * 6)[:, None], 8)
    with pytest.raises(SamplerError, match="unlabelled is 'keep'"):
        StratifiedBatchSampler(labels, 8, unlabelled="keep")


def test_a_batch_size_that_is_not_the_truth_is_not_shown() -> None:
    even = StratifiedBatchSampler(LABELS, 8)
    assert even.batch_size == 8 and set(even.plan().sizes) == {8}
    for sampler in (
        StratifiedBatchSampler(LABELS, 15),
        StratifiedBatchSampler(LABELS, 8, rank=1, world_size=2),
    ):
        assert not hasattr(sampler, "batch_size")
    assert not hasattr(even, "drop_last")
    with pytest.raises(SamplerError, match="use_distributed_sampler=False"):
        getattr(StratifiedBatchSampler(LABELS, 8, world_size=2), "drop_last", False)
