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
