"""The laws of the batches, over class sizes from balanced to Zipf, 2 to 1,000 classes, and batches
of any size.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quadlib.sampler import SamplerError, StratifiedBatchSampler

LAWFUL = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@st.composite
def class_sizes(draw: st.DrawFn, most_classes: int = 1000) -> np.ndarray:
    """Sizes of 2 to most_classes classes, from equal to Zipf, each at least 2."""
    n_classes = draw(st.one_of(st.integers(2, 12), st.integers(2, most_classes)))
    largest = draw(st.integers(2, 120))
    slope = draw(st.sampled_from([0.0, 0.3, 0.7, 1.0, 1.5]))
    sizes = np.maximum(2, (largest / np.arange(1, n_classes + 1) ** slope)).astype(int)
    noise = np.random.default_rng(draw(st.integers(0, 999))).integers(
        0, draw(st.integers(1, 6)), n_classes
    )
    return sizes + noise


def labels_of(sizes: np.ndarray) -> np.ndarray:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(1).permutation(labels)


def test_twelve_balanced_classes() -> None:
    sampler = StratifiedBatchSampler(np.repeat(np.arange(12), 48), 32)
    plan = sampler.plan()
    assert len(sampler) == 18 and plan.sizes.tolist() == [32] * 18
    assert plan.counts.min() >= 2 and plan.counts.max() <= 4
    half = StratifiedBatchSampler(np.repeat(np.arange(12), 48), 16).plan()
    assert len(half) == 36 and set(half.sizes) == {16} and set(half.counts.ravel()) == {0, 2}


@LAWFUL
@given(
    sizes=class_sizes(),
    batch_size=st.integers(4, 300),
    min_per_class=st.sampled_from([1, 2, 2, 2]),
    epoch=st.integers(0, 5),
)
def test_the_laws(sizes: np.ndarray, batch_size: int, min_per_class: int, epoch: int) -> None:
    labels = labels_of(sizes)
    try:
        sampler = StratifiedBatchSampler(labels, batch_size, min_per_class=min_per_class)
    except SamplerError as error:
        assert "would do" in str(error)
        return
    sampler.set_epoch(epoch)
    batches = list(sampler)
    n_batches = -(-len(labels) // batch_size)
    assert len(sampler) == len(batches) == n_batches
    assert sorted(index for batch in batches for index in batch) == list(range(len(labels)))
    counts = np.stack([np.bincount(labels[batch], minlength=len(sizes)) for batch in batches])
    lengths = counts.sum(1)
    assert lengths.max() <= batch_size
    assert (counts > 0).sum(1).min() >= 2 and counts[counts > 0].min() >= min_per_class
    common = sizes // n_batches >= min_per_class
    assert (np.abs(counts[:, common] - sizes[common] / n_batches) <= 1).all()
    in_batches, most = (counts > 0).sum(0), np.minimum(n_batches, sizes // min_per_class)
    assert (in_batches <= most).all()
    if (in_batches == most).all():
        assert lengths.max() - lengths.min() <= (1 if common.all() else min_per_class)
    if common.all():
        assert (np.abs(counts - np.outer(lengths, sizes) / len(labels)) <= 1 + 1e-9).all()


@LAWFUL
@given(sizes=class_sizes(60), batch_size=st.integers(8, 64), world_size=st.integers(1, 4))
def test_ranks_together_are_the_one_process_batch(
    sizes: np.ndarray, batch_size: int, world_size: int
) -> None:
    labels = labels_of(sizes)
    try:
        ranks = [
            StratifiedBatchSampler(labels, batch_size, seed=3, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        whole = StratifiedBatchSampler(labels, batch_size, seed=3)
    except SamplerError:
        return
    for batch, *shards in zip(whole, *ranks, strict=True):
        assert sorted(sum(shards, [])) == sorted(batch)
        assert max(map(len, shards)) - min(map(len, shards)) <= 1
        counts = np.stack([np.bincount(labels[shard], minlength=len(sizes)) for shard in shards])
        assert (counts.max(0) - counts.min(0) <= 1).all()
        if len(batch) >= 2 * world_size:
            assert ((counts > 0).sum(1) >= 2).all() or np.bincount(labels[batch]).max() >= len(
                batch
            ) - 2 * world_size


@LAWFUL
@given(sizes=class_sizes(40), batch_size=st.integers(8, 64), epoch=st.integers(0, 3))
def test_equal_balance_draws_classes_alike_and_never_twice_in_a_batch(
    sizes: np.ndarray, batch_size: int, epoch: int
) -> None:
    labels = labels_of(sizes)
    try:
        plan = StratifiedBatchSampler(labels, batch_size, balance="equal").plan(epoch)
    except SamplerError:
        return
    assert plan.repeats.sum() == 0 and plan.sizes.max() <= batch_size
    assert plan.counts[plan.counts > 0].min() >= 2 and (plan.counts > 0).sum(1).min() >= 2
    for label in range(len(sizes)):
        seen = plan.times_seen[labels == label]
        assert seen.max() - seen.min() <= 1
    drawn, limit = plan.counts.sum(0), sizes * len(plan)
    free = (
        drawn < np.minimum(limit, drawn.max()) - 2
    )  # two short at most, where blocks do not come out even
    assert not (free & (sizes >= 4)).any()


def test_equal_balance_sees_every_sample_within_the_epochs_it_takes() -> None:
    labels = np.repeat([0, 1, 2], [10, 40, 200])
    sampler = StratifiedBatchSampler(labels, 25, balance="equal")
    seen = sum(sampler.plan(epoch).times_seen for epoch in range(3))
    assert (seen > 0).all() and np.ptp(sampler.plan(0).counts.sum(0)) <= 1


@LAWFUL
@given(
    sizes=class_sizes(20),
    batch_size=st.integers(6, 64),
    n_groups=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_an_anchor_finds_a_positive_from_another_session_where_the_data_allow_it(
    sizes: np.ndarray, batch_size: int, n_groups: int, seed: int
) -> None:
    labels = labels_of(sizes)
    rng = np.random.default_rng(seed)
    groups = np.minimum(
        rng.integers(0, n_groups, len(labels)), rng.integers(0, n_groups, len(labels))
    )
    try:
        plan = StratifiedBatchSampler(labels, batch_size, groups=groups).plan()
    except SamplerError:
        return
    alone = 0
    for label in range(len(sizes)):
        largest = np.bincount(groups[labels == label]).max()
        cells = int((plan.counts[:, label] > 0).sum())
        # each sample of another session can help one cell
        alone_cells = max(0, cells - (sizes[label] - largest))
        alone += alone_cells
    single = sum(
        len(set(groups[batch[labels[batch] == label]])) == 1
        for batch in plan.batches
        for label in set(labels[batch])
    )
    assert single == alone
    assert (plan.without_other_session.sum() > 0) == (alone > 0)


@LAWFUL
@given(sizes=class_sizes(30), batch_size=st.integers(6, 64), stop=st.integers(0, 50))
def test_state_continues_exactly(sizes: np.ndarray, batch_size: int, stop: int) -> None:
    labels = labels_of(sizes)
    try:
        sampler = StratifiedBatchSampler(labels, batch_size, seed=5)
    except SamplerError:
        return
    sampler.set_epoch(2)
    whole, following = list(sampler), list(sampler)
    stop = min(stop, len(whole))
    sampler.set_epoch(2)
    iterator = iter(sampler)
    consumed = [next(iterator) for _ in range(stop)]
    state = sampler.state_dict() if stop else sampler.state_dict(position=0)
    again = StratifiedBatchSampler(labels, batch_size, seed=5)
    again.load_state_dict(state)
    again.set_epoch(2)
    assert again.state_dict() == state
    assert consumed + list(again) == whole and list(again) == following


def test_batches_are_a_function_of_seed_and_epoch_and_leave_the_global_generators_alone() -> None:
    labels = [f"class {i % 7}" for i in range(200)]
    random.seed(0)
    before = (np.random.get_state()[1].copy(), torch.get_rng_state(), random.getstate())  # noqa: NPY002
    one, two = (
        StratifiedBatchSampler(labels, 20, seed=1),
        StratifiedBatchSampler(labels, 20, seed=1),
    )
    list(one)
    for epoch in (3, 0):
        one.set_epoch(epoch)
        two.set_epoch(epoch)
        assert list(one) == list(two) == [batch.tolist() for batch in one.plan(epoch).batches]
    two.set_epoch(1)
    one.set_epoch(0)
    assert list(one) != list(two)
    one.set_epoch(0)
    assert list(one) != list(StratifiedBatchSampler(labels, 20, seed=2))
    assert (np.random.get_state()[1] == before[0]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])
    assert random.getstate() == before[2]


def test_a_state_of_other_batches_is_refused() -> None:
    state = StratifiedBatchSampler([0, 0, 1, 1] * 5, 10, seed=1).state_dict()
    with pytest.raises(SamplerError, match="batch_size was 10, here it is 4"):
        StratifiedBatchSampler([0, 0, 1, 1] * 5, 4, seed=1).load_state_dict(state)


def test_world_size_may_change_between_saving_and_loading() -> None:
    labels = np.repeat(np.arange(4), 16)
    two = StratifiedBatchSampler(labels, 16, world_size=2, rank=1)
    iterator = iter(two)
    next(iterator)
    one = StratifiedBatchSampler(labels, 16)
    whole = list(one)
    one.set_epoch(0)
    one.load_state_dict(two.state_dict())
    assert list(one) == whole[1:]


@pytest.mark.parametrize(
    "labels, arguments, parts",
    [
        (
            [0] * 10 + [1],
            {"batch_size": 4},
            ["class 1 (1) below min_per_class=2", "rare='drop'|No single|rare='oversample'"],
        ),
        ([0] * 10, {"batch_size": 4}, ["1 class", "min_classes=2", "min_classes=1"]),
        ([0, 0, 1, 1] * 4, {"batch_size": 3}, ["above batch_size=3", "batch_size=4"]),
        (
            [0] * 1000 + [1] * 2,
            {"batch_size": 32},
            ["32 batches need 2 classes each", "0 (1000)", "class 1 (2)", "batch_size=1002"],
        ),
        (
            [0, 0, 1, 1] * 8,
            {"batch_size": 4, "world_size": 5},
            ["world_size=5", "batch_size=5|world_size=4"],
        ),
        (
            [0, 0, 0, 1, 1, 1] * 1,
            {"batch_size": 5},
            ["2 batches need 2 classes each", "batch_size=6"],
        ),
        (
            [0] * 5 + [1] * 5 + [2] * 5,
            {"batch_size": 8, "min_classes": 3, "min_per_class": 3},
            ["min_classes=3 times min_per_class=3 is 9", "batch_size=|min_"],
        ),
        ([], {}, ["there are no labels"]),
        (
            [0, 0, 1, 1],
            {"batch_size": 0, "rank": 2, "rare": "ignore", "balance": "some"},
            ["batch_size is 0", "rare is 'ignore'", "balance is 'some'"],
        ),
        ([0, 0, 1, 1], {"rank": 2, "world_size": 2}, ["rank is 2 with world_size 2"]),
        ([0, 1] * 20, {"batch_size": 4, "world_size": 5}, ["world_size=4"]),
        ([0, 1] * 20, {"batch_size": 4, "world_size": 6}, ["world_size=4"]),
        ([0, 0, 1, 1], {"groups": [1, 2]}, ["groups has 2 entries for 4 labels"]),
    ],
)
def test_what_cannot_be_met_names_classes_numbers_and_the_smallest_change(
    labels: list, arguments: dict, parts: list[str]
) -> None:
    with pytest.raises(SamplerError) as caught:
        StratifiedBatchSampler(labels, **arguments)
    text = str(caught.value)
    assert all(any(option in text for option in part.split("|")) for part in parts), text


def test_the_change_that_is_advised_works() -> None:
    labels = [0] * 50 + [1] * 30 + [2] * 7
    with pytest.raises(SamplerError, match="batch_size=(\\d+)") as caught:
        StratifiedBatchSampler(labels, 6, min_classes=3)
    advised = int(str(caught.value).split("batch_size=")[-1].split(";")[0].rstrip("."))
    StratifiedBatchSampler(labels, advised, min_classes=3)
    with pytest.raises(SamplerError):
        StratifiedBatchSampler(labels, advised - 1, min_classes=3)


def test_rare_classes_are_dropped_or_repeated_and_the_plan_says_so() -> None:
    labels = ["a"] * 20 + ["b"] * 20 + ["c"]
    dropped = StratifiedBatchSampler(labels, 10, rare="drop").plan()
    assert (
        dropped.unseen.tolist() == [40]
        and "c (1)" in dropped.notes[0]
        and "left out" in dropped.notes[0]
    )
    repeated = StratifiedBatchSampler(labels, 11, rare="oversample").plan()
    assert (
        repeated.times_seen[40] == 2
        and repeated.repeats.sum() == 1
        and "repeated" in repeated.notes[0]
    )


@pytest.mark.slow
def test_a_million_labels_in_a_thousand_classes() -> None:
    labels = np.random.default_rng(0).integers(0, 1000, 1_000_000)
    plan = StratifiedBatchSampler(labels, 32).plan()
    assert (
        len(plan) == 31_250 and set(plan.sizes) == {32} and plan.counts[plan.counts > 0].min() >= 2
    )
    assert (plan.times_seen == 1).all()
