"""What can be met is met, what cannot is refused with a proof, and the advice is quick and true."""

from __future__ import annotations

import itertools
import time
from functools import lru_cache

import numpy as np
import pytest

from quadlib.sampler import Request, SamplerError, StratifiedBatchSampler
from quadlib.sampler.advice import advised_changes
from quadlib.sampler.exact import decide
from tests.helpers.sampler_laws import broken_laws
from tests.sampler.fuzz import try_requests


def labels_of(sizes: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(sizes)), sizes)


@pytest.mark.parametrize(
    "sizes, batch_size, settings",
    [
        ([33, 46, 55, 16], 6, {}),
        ([10, 11], 9, {"min_classes": 1, "min_per_class": 4}),
        ([5, 41, 5], 24, {}),
        ([23, 4, 4, 3, 2], 8, {"min_per_class": 3, "rare": "drop", "balance": "equal"}),
    ],
)
def test_requests_that_only_one_way_of_dealing_meets(
    sizes: list[int], batch_size: int, settings: dict
) -> None:
    labels = labels_of(sizes)
    sampler = StratifiedBatchSampler(labels, batch_size, **settings)
    for epoch in range(3):
        batches = [batch.tolist() for batch in sampler.plan(epoch).batches]
        assert not broken_laws(batches, labels, batch_size, **settings)


def test_sizes_and_proportions_are_both_met_where_they_can_be() -> None:
    plan = StratifiedBatchSampler(labels_of([5, 41, 5]), 24).plan()
    assert plan.sizes.tolist() == [17, 17, 17]
    assert (np.abs(plan.counts[:, 1] - 41 * 17 / 51) <= 1).all()


def fits(draws: tuple[int, ...], n_batches: int, batch_size: int, least: int, classes: int) -> bool:
    """Whether some batches meet the laws, by trying all of them."""
    options = [[0, *range(least, min(batch_size, n) + 1)] for n in draws]
    batches = [
        batch
        for batch in itertools.product(*options)
        if sum(batch) <= batch_size and sum(count > 0 for count in batch) >= classes
    ]
    batches.sort(key=sum, reverse=True)

    @lru_cache(None)
    def filled(left: tuple[int, ...], n_left: int, first: int) -> bool:
        if not n_left:
            return not any(left)
        return sum(left) <= n_left * batch_size and any(
            all(count <= n for count, n in zip(batches[i], left, strict=True))
            and filled(
                tuple(n - count for count, n in zip(batches[i], left, strict=True)), n_left - 1, i
            )
            for i in range(first, len(batches))
        )

    return filled(draws, n_batches, 0)


def test_small_requests_are_decided_as_by_trying_all_batches() -> None:
    rng = np.random.default_rng(0)
    met = 0
    for _ in range(150):
        least, classes = int(rng.integers(1, 4)), int(rng.integers(1, 3))
        batch_size = int(rng.integers(max(2, least * classes), 10))
        sizes = rng.integers(least, 14, int(rng.integers(2, 5))).tolist()
        n_batches = -(-sum(sizes) // batch_size)
        expected = fits(tuple(sizes), n_batches, batch_size, least, classes)
        settings = {"min_classes": classes, "min_per_class": least}
        demand = Request(batch_size, **settings).demand(np.array(sizes))
        assert (decide(demand, ideal=False) is not False) == expected
        try:
            StratifiedBatchSampler(labels_of(sizes), batch_size, **settings)
        except SamplerError as error:
            assert not expected and "no proof" not in str(error)
        else:
            assert expected
            met += 1
    assert 50 < met < 150


def test_a_refusal_says_whether_it_is_proved() -> None:
    with pytest.raises(SamplerError, match="proved: an exact program has no solution"):
        StratifiedBatchSampler(labels_of([3, 3, 5]), 4, min_classes=1)
    with pytest.raises(SamplerError, match="this is no proof"):
        StratifiedBatchSampler(labels_of([3] * 40), 4, min_classes=1)


@pytest.mark.parametrize(
    "sizes, settings",
    [
        (
            [47] * 10 + [49] * 9 + [45],
            {"batch_size": 4, "min_classes": 1},
        ),
        ([900, 30, 26], {"batch_size": 8}),
        ([7] * 136 + [4], {"batch_size": 5, "min_per_class": 3, "min_classes": 1}),
        ([478, 478], {"batch_size": 478, "min_classes": 3}),
    ],
)
def test_advice_on_956_labels_takes_less_than_a_second(sizes: list[int], settings: dict) -> None:
    labels = labels_of(sizes)
    assert len(labels) == 956
    begin = time.process_time()
    with pytest.raises(SamplerError, match="would do"):
        StratifiedBatchSampler(labels, **settings)
    assert time.process_time() - begin < 1


def test_every_change_advised_works() -> None:
    labels = labels_of([900, 30, 26])
    with pytest.raises(SamplerError) as caught:
        StratifiedBatchSampler(labels, 8)
    for change in str(caught.value).split("would do: ")[1].rstrip(".").split("; "):
        name, value = change.split("=")
        settings = {"batch_size": 8, name: value.strip("'") if "'" in value else int(value)}
        StratifiedBatchSampler(labels, **settings)


def test_random_requests_break_no_law_and_every_refusal_says_what_it_is() -> None:
    outcome = try_requests(150, seed=7)
    assert not outcome.broken and not outcome.unsaid
    assert outcome.counts["met"] > 70 and outcome.counts["refused, the reason is the proof"] > 20


@pytest.mark.parametrize("min_classes, fewest", [(1, [3, 2, 1]), (3, [5, 3, 1]), (4, [9, 5, 2])])
def test_a_class_must_be_in_as_many_batches_as_the_others_leave_it_room(
    min_classes: int, fewest: list[int]
) -> None:
    demand = Request(batch_size=8, min_classes=min_classes).demand(np.array([17, 10, 4]))
    assert demand.fewest_blocks.tolist() == fewest
    one_a_batch = Request(batch_size=4, min_classes=1, min_per_class=1, balance="equal")
    assert one_a_batch.demand(np.array([1, 9])).fewest_blocks.tolist() == [3, 2]


def test_equal_balance_draws_as_many_as_there_are_samples() -> None:
    for sizes, batch_size, least in (
        ([23, 4, 4, 3], 8, 3),
        ([10, 40, 200], 25, 2),
        ([3, 5, 3, 3, 2, 2, 4], 8, 2),
    ):
        demand = Request(batch_size, min_per_class=least, balance="equal").demand(np.array(sizes))
        assert demand.n_draws == sum(sizes)
        assert np.ptp(demand.draws) <= 2 or (demand.draws <= demand.n_batches * demand.most).all()


@pytest.mark.parametrize(
    ("sizes", "request_", "changes"),
    [
        ([6, 6, 1], {"batch_size": 8}, ["min_per_class=1", "rare='drop'", "rare='oversample'"]),
        ([12, 12], {"batch_size": 6, "min_classes": 3}, ["min_classes=2"]),
        (
            [9, 9, 9],
            {"batch_size": 6, "min_per_class": 3, "min_classes": 3},
            ["batch_size=9", "min_per_class=1", "min_classes=1"],
        ),
        (
            [6, 6],
            {"batch_size": 4, "world_size": 2, "rare": "drop", "balance": "equal"},
            ["batch_size=5", "min_per_class=1", "min_classes=1", "world_size=1"],
        ),
    ],
)
def test_the_smallest_change_of_each_kind_is_advised(sizes, request_, changes):
    assert advised_changes(np.array(sizes), Request(**request_)) == changes


def test_a_class_is_in_as_many_batches_as_its_samples_need():
    """Of 8, two other classes of 2 each leave room for 4 of a class; of few samples, for all."""
    demand = Request(batch_size=8, min_classes=3).demand(np.array([20, 4, 3]))
    assert demand.fewest_blocks.tolist() == [5, 1, 1]
    assert demand.appearances.tolist() == [4, 2, 1]


def test_a_batch_holds_32_where_nobody_asks():
    assert StratifiedBatchSampler(np.arange(96) % 4).batch_size == Request().batch_size == 32
