"""The cross-batch memory: first in first out, no copy of oneself, exact after reset and after
restoring.
"""

from __future__ import annotations

import pytest
import torch
from oracle import supcon_oracle
from torch import Tensor

from quadlib.loss import SupConLoss
from quadlib.loss.memory import CrossBatchMemory


def batches(n: int, size: int = 7, dim: int = 4) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(size, dim, generator=generator, dtype=torch.float64),
            torch.randint(0, 3, (size,), generator=generator),
        )
        for _ in range(n)
    ]


@pytest.mark.parametrize("form", ["tiles", "direct"])
@pytest.mark.parametrize("variant", ["out", "in"])
def test_the_loss_is_that_of_the_batch_against_batch_and_memory(form: str, variant: str) -> None:
    loss = SupConLoss(0.2, variant=variant, form=form, memory=CrossBatchMemory(10, 4).double())  # type: ignore[arg-type]
    seen: list[tuple[Tensor, Tensor]] = []
    for rows, labels in batches(5):
        given, again = rows.clone().requires_grad_(), rows.clone().requires_grad_()
        keys = torch.cat([past for past, _ in seen])[-10:] if seen else None
        key_codes = torch.cat([past for _, past in seen])[-10:] if seen else None
        expected = supcon_oracle(again, labels, 0.2, variant, keys, key_codes)
        value = loss(given, labels)
        assert value.item() == pytest.approx(expected.item(), rel=1e-10)
        found, want = torch.autograd.grad(value, given)[0], torch.autograd.grad(expected, again)[0]
        assert (found - want).norm() <= 1e-10 * want.norm()
        seen.append((rows, labels))
    assert len(loss.memory) == 10


def test_only_training_steps_enter() -> None:
    loss = SupConLoss(memory=CrossBatchMemory(10, 4))
    rows, labels = batches(1)[0]
    loss.detail(rows, labels)
    with torch.no_grad():
        loss(rows, labels)
    loss.eval()(rows, labels)
    assert len(loss.memory) == 0
    loss.train()(rows, labels)
    assert len(loss.memory) == 7


def test_an_anchor_never_meets_an_older_copy_of_itself() -> None:
    memory = CrossBatchMemory(20, 4)
    memory.push(torch.eye(4), torch.tensor([0, 0, 1, 1]), torch.tensor([5, 6, 7, 8]))
    rows, codes = memory.keys(without=torch.tensor([6, 8, 99, -1]))
    assert torch.equal(rows, torch.eye(4)[[0, 2]]) and codes.tolist() == [0, 1]
    memory.push(torch.eye(4)[:1], torch.tensor([2]), torch.tensor([0]))
    assert memory.keys(without=torch.tensor([0]))[1].tolist() == [0, 0, 1, 1]


def test_first_in_first_out_reset_and_restore() -> None:
    memory, again = CrossBatchMemory(5, 4), CrossBatchMemory(5, 4)
    for rows, labels in batches(3, size=3):
        memory.push(rows, labels)
    kept = torch.nn.functional.normalize(
        torch.cat([rows for rows, _ in batches(3, size=3)])[-5:].float(), dim=1
    )
    assert torch.allclose(memory.keys()[0], kept)
    memory.push(torch.ones(9, 4), torch.arange(9))
    assert memory.keys()[1].tolist() == [4, 5, 6, 7, 8]
    again.load_state_dict(memory.state_dict())
    assert all(
        torch.equal(left, right) for left, right in zip(memory.keys(), again.keys(), strict=True)
    )
    memory.reset()
    new = CrossBatchMemory(5, 4).state_dict()
    assert all(torch.equal(value, new[name]) for name, value in memory.state_dict().items())


def test_what_a_memory_cannot_use_is_refused() -> None:
    loss = SupConLoss(memory=CrossBatchMemory(5, 3))
    with pytest.raises(TypeError, match="integer labels"):
        loss(torch.eye(3), ["a", "a", "b"])
    with pytest.raises(ValueError, match="embedding_dim=3"):
        loss(torch.eye(4), [0, 0, 1, 1])
    with pytest.raises(ValueError, match="at least 1"):
        CrossBatchMemory(0, 3)


def test_unlabelled_entries_are_negatives_of_all() -> None:
    loss = SupConLoss(0.2, memory=CrossBatchMemory(9, 4).double())
    loss(torch.eye(4, dtype=torch.float64), torch.tensor([-1, -1, 0, 0]))
    rows = torch.ones(2, 4, dtype=torch.float64)
    assert loss.detail(rows, torch.tensor([-1, 0])).positives.tolist() == [0, 2]


def test_a_batch_that_is_not_finite_is_not_taken_up() -> None:
    loss = SupConLoss(0.2, memory=CrossBatchMemory(10, 4).double())
    for step, (rows, labels) in enumerate(batches(4)):
        if step == 1:
            rows[3] = torch.nan
        assert loss(rows, labels).isfinite() == (step != 1)
    assert loss.memory.batches_skipped == 1 and len(loss.memory) == 10
    assert loss.memory.keys()[0].isfinite().all()


@pytest.mark.parametrize("unlabelled", [-1, 0, 2])
def test_unlabelled_rows_of_any_value_meet_no_positive(unlabelled: int) -> None:
    loss = SupConLoss(0.2, unlabelled=unlabelled, memory=CrossBatchMemory(20, 4).double())
    rows, labels = batches(1)[0]
    loss(rows, torch.full_like(labels, unlabelled))
    loss(torch.stack([rows, rows], 1), labels)
    detail = loss.detail(rows[:3], torch.tensor([unlabelled, -1, 1]))
    assert detail.positives.tolist() == [0, 0, 2 * int((labels == 1).sum())]


def test_views_without_labels_may_fill_a_memory_but_not_follow_labels() -> None:
    loss = SupConLoss(0.2, memory=CrossBatchMemory(30, 4).double())
    (rows, labels), (more, _) = batches(2)
    views = torch.stack([rows, more], 1)
    loss(views)
    assert loss.detail(views).positives.tolist() == [1] * 14
    loss(rows, labels)
    for call in (loss, loss.detail):
        with pytest.raises(ValueError, match="the memory holds labelled embeddings"):
            call(views)


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize(
    "arguments, error, part",
    [
        ({"labels": torch.eye(7, dtype=torch.bool)}, ValueError, "one label per sample"),
        ({"mask": torch.eye(7)}, ValueError, "one label per sample"),
        ({"labels": list("aabbccd")}, TypeError, "integer labels"),
        ({"labels": [0] * 7, "ignore": [0] * 7}, ValueError, "neither with against"),
        ({"labels": [0] * 7, "against": (torch.eye(4), [0] * 4)}, ValueError, "neither with"),
    ],
)
def test_forward_and_detail_refuse_alike(
    filled: bool, arguments: dict, error: type[Exception], part: str
) -> None:
    loss = SupConLoss(memory=CrossBatchMemory(10, 4).double())
    rows, labels = batches(1)[0]
    if filled:
        loss(rows, labels)
    for call in (loss, loss.detail):
        with pytest.raises(error, match=part):
            call(rows, **arguments)


@pytest.mark.parametrize("variant", ["out", "in"])
@pytest.mark.parametrize("form", ["auto", "direct"])
def test_detail_is_the_value_with_a_memory(variant: str, form: str) -> None:
    memory = CrossBatchMemory(10, 4).double()
    loss = SupConLoss(0.2, variant=variant, form=form, memory=memory)  # type: ignore[arg-type]
    for rows, labels in batches(4):
        weights = torch.arange(7) + 1.0
        detail = loss.detail(rows, labels, weights=weights)
        assert loss(rows, labels, weights=weights).item() == pytest.approx(detail.value, rel=1e-12)
