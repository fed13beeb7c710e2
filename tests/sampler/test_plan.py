"""The plan tells what batches hold, of any sampler, without reading a sample."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from quadlib.loss.bounds import floor
from quadlib.sampler import StratifiedBatchSampler
from quadlib.sampler.plan import BatchPlan, PlanError


class Unreadable(Dataset):
    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> None:
        raise AssertionError("a sample was read")


LABELS = np.array(list("aaaabbbbcccd"))


def test_counts_positives_negatives_and_lone_anchors() -> None:
    plan = BatchPlan.draw(BatchSampler(SequentialSampler(LABELS), 5, drop_last=False), LABELS)
    assert plan.class_names == ("a", "b", "c", "d") and len(plan) == 3
    assert plan.counts.tolist() == [[4, 1, 0, 0], [0, 3, 2, 0], [0, 0, 1, 1]]
    assert [p.tolist() for p in plan.positives()] == [[3, 3, 3, 3, 0], [2, 2, 2, 1, 1], [0, 0]]
    assert [n.tolist() for n in plan.negatives()] == [[1, 1, 1, 1, 4], [2, 2, 2, 3, 3], [1, 1]]
    assert plan.lone_anchors.tolist() == [1, 0, 2]
    assert plan.floor(0.1)[0] == pytest.approx(floor(list("aaaab"), 0.1)) and math.isnan(
        plan.floor(0.1)[2]
    )
    assert plan.collapse()[0] == pytest.approx(math.log(4)) and plan.collapse(2)[
        0
    ] == pytest.approx(math.log(9))
    assert plan.summary()["lone_anchors"].tolist() == [1, 0, 2]


def test_a_loader_is_read_without_a_sample() -> None:
    sampler = BatchSampler(
        RandomSampler(Unreadable(), generator=torch.Generator()), 4, drop_last=True
    )
    loader = DataLoader(Unreadable(), batch_sampler=sampler)
    plan = BatchPlan.draw(loader, torch.tensor([0, 1, 2] * 4), ["x", "y", "z"])
    assert (
        plan.sizes.tolist() == [4, 4, 4]
        and plan.class_names == ("x", "y", "z")
        and not len(plan.unseen)
    )
    assert BatchPlan.draw(DataLoader(Unreadable(), batch_size=5), LABELS).sizes.tolist() == [
        5,
        5,
        2,
    ]
    assert BatchPlan.draw(
        DataLoader(Unreadable(), batch_size=None, sampler=sampler), LABELS
    ).sizes.tolist() == [4, 4, 4]


def test_a_note_says_that_only_a_part_was_inspected() -> None:
    sampler = BatchSampler(SequentialSampler(LABELS), 4, drop_last=False)
    assert (
        BatchPlan.draw(sampler, LABELS).notes
        == BatchPlan.draw(sampler, LABELS, max_batches=9).notes
        == ()
    )
    assert BatchPlan.draw(iter(list(sampler)), LABELS).notes == ()
    assert BatchPlan.draw(sampler, LABELS, max_batches=2).notes == (
        "inspected the first 2 batches",
    )
    assert BatchPlan.draw(itertools.cycle([[0, 1]]), LABELS).notes == (
        "inspected the first 24 batches",
    )


def test_repeats_and_unseen() -> None:
    plan = BatchPlan.draw([[0, 0, 1], [2, 3, 4]], LABELS)
    assert (
        plan.repeats.tolist() == [1, 0]
        and plan.unseen.tolist() == list(range(5, 12))
        and plan.times_seen[0] == 2
    )


def test_endless_samplers_end() -> None:
    plan = BatchPlan.draw(([i % 12, (i + 1) % 12] for i in itertools.count()), LABELS)
    assert len(plan) == 24 and not len(plan.unseen)
    assert len(BatchPlan.draw(([] for _ in itertools.count()), LABELS)) == 48
    assert len(BatchPlan.draw(([0] for _ in itertools.count()), LABELS, max_batches=7)) == 7


def test_sessions() -> None:
    plan = BatchPlan.draw([[0, 1, 4, 5], [2, 3, 6, 8]], LABELS, groups=[1, 1, 1, 2] + [1, 2] * 4)
    assert plan.without_other_session.tolist() == [2, 0]
    with pytest.raises(PlanError, match="groups="):
        _ = BatchPlan.draw([[0]], LABELS).without_other_session


def test_wrong_indices_and_labels_are_refused() -> None:
    with pytest.raises(PlanError, match="batch 1 asks for sample 12, but there are 12 labels"):
        BatchPlan.draw([[0, 1], [2, 12]], LABELS)
    with pytest.raises(PlanError, match="none of the class names"):
        BatchPlan.draw([[0]], LABELS, ["a", "b"])
    with pytest.raises(PlanError, match="reach from 0 to 3"):
        BatchPlan.draw([[0]], [0, 3], ["a", "b"])
    with pytest.raises(PlanError, match="floats"):
        BatchPlan.draw([[0]], [0.0, float("nan")])
    with pytest.raises(PlanError, match="shape"):
        BatchPlan.draw([[0]], [[0, 1]])


def test_empty_plan() -> None:
    plan = BatchPlan.draw([], LABELS)
    assert plan.counts.shape == (0, 4) and plan.positives() == [] and len(plan.summary()) == 0


def test_a_plan_of_the_stratified_sampler_equals_its_draw() -> None:
    sampler = StratifiedBatchSampler(LABELS[:8], 4)
    drawn = BatchPlan.draw(sampler, LABELS[:8])
    assert (drawn.counts == sampler.plan().counts).all() and not drawn.notes


def test_unlabelled_samples_are_no_class() -> None:
    for labels in (["a", "a", None, "b"], ["a", "a", float("nan"), "b"]):
        plan = BatchPlan.draw([[0, 1, 2, 3]], labels)
        assert plan.class_names == ("a", "b") and plan.codes.tolist() == [0, 0, -1, 1]
        assert plan.counts.tolist() == [[2, 1]] and plan.sizes.tolist() == [4]
        assert plan.positives()[0].tolist() == [1, 1, 0, 0]
        assert plan.negatives()[0].tolist() == [2, 2, 3, 3]
        assert plan.lone_anchors.tolist() == [1] and plan.summary()["size"].tolist() == [4]
        # in the denominator of the others an unlabelled sample is a class of its own
        assert plan.floor(0.1)[0] == pytest.approx(floor(list("aabc"), 0.1))
    assert BatchPlan.draw([[0, 1]], torch.tensor([[3], [-1]])).codes.tolist() == [0, -1]
    named = BatchPlan.draw([[0, 1, 2]], [1, -1, 0], ["x", "y"], groups=["s", "s", "t"])
    assert named.codes.tolist() == [1, -1, 0] and named.without_other_session.tolist() == [0]
    with pytest.raises(PlanError, match="1 of 2 groups are missing"):
        BatchPlan.draw([[0]], [0, 1], groups=["s", None])
