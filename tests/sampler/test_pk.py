"""layout="pk": exactly P classes with K samples each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quadlib.sampler import SamplerError, StratifiedBatchSampler

SIZES = st.lists(st.integers(1, 40), min_size=2, max_size=30)


def pk(sizes: list[int], p: int, k: int, **arguments: object) -> StratifiedBatchSampler:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    return StratifiedBatchSampler(
        labels, layout="pk", classes_per_batch=p, samples_per_class=k, **arguments
    )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    sizes=SIZES,
    p=st.integers(2, 8),
    k=st.integers(2, 6),
    drop_last=st.booleans(),
    rare=st.sampled_from(["drop", "oversample"]),
    balance=st.sampled_from(["natural", "equal"]),
    epoch=st.integers(0, 4),
)
def test_exactly_p_classes_with_k_distinct_samples_each(
    sizes: list[int], p: int, k: int, drop_last: bool, rare: str, balance: str, epoch: int
) -> None:
    try:
        sampler = pk(sizes, p, k, drop_last=drop_last, rare=rare, balance=balance)
    except SamplerError as error:
        assert "class(es) with enough samples" in str(error) or "can be filled" in str(error)
        return
    plan = sampler.plan(epoch)
    assert len(sampler) == len(plan) and (plan.sizes == p * k).all() and sampler.batch_size == p * k
    assert ((plan.counts > 0).sum(1) == p).all() and set(plan.counts.ravel()) <= {0, k}
    small = np.array(sizes) < k
    assert rare == "oversample" or not plan.counts[:, small].any()
    for batch in plan.batches:
        distinct = [i for i in batch if not small[plan.codes[i]]]
        assert len(set(distinct)) == len(distinct)
    enough = ~small[plan.codes]
    if balance == "natural":
        seen = plan.times_seen[enough]
        assert seen.max() <= 1 if drop_last else seen.min() >= 1
    else:
        blocks = (plan.counts > 0).sum(0)[~small if rare == "drop" else slice(None)]
        assert np.ptp(blocks) <= 1


def test_what_is_left_out_changes_from_epoch_to_epoch() -> None:
    sampler = pk([9, 9, 9, 9, 9], 2, 4, drop_last=True)
    seen = sum(sampler.plan(epoch).times_seen for epoch in range(10))
    assert (seen > 0).all() and len(sampler) == 5


def test_classes_meet_in_many_combinations() -> None:
    plan = pk([48] * 12, 6, 4).plan()
    assert len(plan) == 24 and (plan.times_seen == 1).all()
    assert len({tuple(np.flatnonzero(row)) for row in plan.counts}) > 12


@pytest.mark.parametrize(
    "arguments, parts",
    [
        ({"classes_per_batch": 2}, ["samples_per_class is None"]),
        (
            {"classes_per_batch": 1, "samples_per_class": 1},
            ["classes_per_batch=1 is below min_classes=2", "samples_per_class=1 is below"],
        ),
        (
            {"classes_per_batch": 2, "samples_per_class": 2, "batch_size": 32},
            ["batch_size=32 with layout='pk', but 2 x 2 samples are 4"],
        ),
        (
            {"classes_per_batch": 4, "samples_per_class": 9},
            ["class 2 (8) below samples_per_class=9", "samples_per_class=8", "3 class(es)"],
        ),
    ],
)
def test_wrong_requests_say_what_would_do(arguments: dict, parts: list[str]) -> None:
    labels = np.repeat(np.arange(3), [10, 9, 8])
    with pytest.raises(SamplerError) as caught:
        StratifiedBatchSampler(labels, layout="pk", **arguments)
    assert all(part in str(caught.value) for part in parts), caught.value


def test_arguments_of_the_other_layout_are_refused() -> None:
    with pytest.raises(SamplerError, match="classes_per_batch=2, drop_last=True without layout"):
        StratifiedBatchSampler([0, 1] * 9, classes_per_batch=2, drop_last=True)
    with pytest.raises(SamplerError, match="layout is 'PK'"):
        StratifiedBatchSampler([0, 1] * 9, layout="PK")


def test_ranks_share_every_batch() -> None:
    whole = pk([20] * 6, 3, 4)
    ranks = [pk([20] * 6, 3, 4, rank=rank, world_size=2) for rank in range(2)]
    for batch, *shards in zip(whole, *ranks, strict=True):
        assert sorted(sum(shards, [])) == sorted(batch)
        assert all(
            (np.bincount(whole.codes[shard], minlength=6) % 2 == 0).all() for shard in shards
        )


def test_the_state_names_the_layout() -> None:
    state = pk([20] * 6, 3, 4).state_dict()
    with pytest.raises(SamplerError, match="classes_per_batch was 3, here it is 2"):
        pk([20] * 6, 2, 4).load_state_dict(state)
