"""The loss against pytorch-metric-learning's, and against NT-Xent as lightly writes it: values and
gradients in float64 over random and edge batches.

Where both define a value they agree. The differences, each held by a test below:

- One class in the batch: theirs is 0, ours the loss, ln(N - 1) or more.
- Theirs leaves anchors whose loss is exactly 0 out of the mean, ours those without a positive.
- Their CrossBatchMemory takes the batch up before the loss, so that it holds a batch less of the
  past, and gives no gradient to the batch's rows as positives and negatives of others.
- Their NTXentLoss averages over positive pairs, each with itself as the only positive below; ours
  has all positives below. With one positive each the two are one.
- Labels that are floats, and one view without labels, are errors of ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from pytorch_metric_learning.losses import CrossBatchMemory as PeerMemory
from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss
from pytorch_metric_learning.losses import SupConLoss as PeerLoss
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from quadlib.loss import CrossBatchMemory, SupConLoss

CASES = 200


def batches(n_cases: int, seed: int) -> Iterator[tuple[Tensor, Tensor, float, torch.Generator]]:
    """Rows that ask for a gradient, labels and a temperature: few and many rows, classes and
    dimensions, equal, opposite and tiny rows among them.
    """
    for case in range(n_cases):
        generator = torch.Generator().manual_seed(seed * 10_000 + case)
        n, n_classes, dim = (
            int(torch.randint(low, high, (), generator=generator))
            for low, high in ((3, 40), (2, 9), (2, 20))
        )
        rows = torch.randn(n, dim, generator=generator, dtype=torch.float64)
        kind = case % 5
        if kind == 1:
            rows[: n // 2] = rows[0]
        elif kind == 2:
            rows[1] = -rows[0]
        elif kind == 3:
            rows *= 10.0 ** torch.randint(-5, 5, (n, 1), generator=generator)
        labels = torch.randint(0, n_classes, (n,), generator=generator)
        labels[:2] = torch.tensor([0, 1])  # more than one class
        labels[2] = 0  # and one positive pair
        temperature = (0.05, 0.1, 0.5, 1.0)[case % 4]
        yield rows.requires_grad_(), labels, temperature, generator


def agree(ours: Tensor, theirs: Tensor, *inputs: Tensor) -> None:
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-9, abs=1e-12)
    for gradient, wanted in zip(
        torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True
    ):
        assert torch.allclose(gradient, wanted, rtol=1e-6, atol=1e-9 * wanted.abs().max() + 1e-12)


@pytest.mark.parametrize("form", ["auto", "direct"])
def test_supcon(form: str) -> None:
    for rows, labels, temperature, _ in batches(CASES, 1):
        ours = SupConLoss(temperature, form=form)(rows, labels)  # type: ignore[arg-type]
        agree(ours, PeerLoss(temperature)(rows, labels), rows)


def test_against_other_embeddings() -> None:
    for rows, labels, temperature, generator in batches(CASES, 2):
        m = int(torch.randint(2, 50, (), generator=generator))
        others = torch.randn(m, rows.shape[1], generator=generator, dtype=torch.float64)
        others.requires_grad_()
        other_labels = torch.randint(0, 9, (m,), generator=generator)
        other_labels[:2] = torch.tensor([0, 1])
        ours = SupConLoss(temperature)(rows, labels, against=(others, other_labels))
        theirs = PeerLoss(temperature)(rows, labels, ref_emb=others, ref_labels=other_labels)
        agree(ours, theirs, rows, others)


def test_ignored_pairs_are_pairs_left_out_of_their_indices() -> None:
    for rows, labels, temperature, generator in batches(CASES, 3):
        n = len(rows)
        groups = torch.randint(0, 4, (n,), generator=generator)
        groups[:3] = torch.arange(3)
        counted = groups[:, None] != groups
        same = labels[:, None] == labels
        indices = (*torch.where(counted & same), *torch.where(counted & ~same))
        # an anchor that keeps positives alone has a loss of theirs too
        theirs = PeerLoss(temperature)(rows, labels, indices)
        agree(SupConLoss(temperature)(rows, labels, ignore=groups), theirs, rows)


def test_two_views_without_labels() -> None:
    for rows, _, temperature, generator in batches(CASES, 4):
        other = torch.randn(rows.shape, generator=generator, dtype=torch.float64).requires_grad_()
        ours = SupConLoss(temperature)(torch.stack([rows, other], 1))
        agree(ours, SelfSupervisedLoss(PeerLoss(temperature))(rows, other), rows, other)
        ours = SupConLoss(temperature)(torch.stack([rows, other], 1))
        theirs = SelfSupervisedLoss(NTXentLoss(temperature))(rows, other)
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-9)


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Chen et al. 2020 as lightly writes it: cross-entropy of each row over the 2N - 1 others, its
    other view being the class.
    """
    rows = normalize(torch.cat([first, second]))
    n = len(first)
    logits = (rows @ rows.T / temperature)[~torch.eye(2 * n, dtype=torch.bool)].view(2 * n, -1)
    return cross_entropy(logits, torch.cat([torch.arange(n) + n - 1, torch.arange(n)]))


def nt_xent_with_bank(first: Tensor, second: Tensor, bank: Tensor, temperature: float) -> Tensor:
    """The same with a memory bank (M, D): a row's negatives are the bank alone."""
    first, second, bank = normalize(first), normalize(second), normalize(bank)
    positive = (first * second).sum(1, keepdim=True)
    logits = torch.cat([positive, first @ bank.T], 1) / temperature
    return cross_entropy(logits, torch.zeros(len(first), dtype=torch.int64))


def test_nt_xent_of_lightly() -> None:
    for rows, _, temperature, generator in batches(CASES, 5):
        second = torch.randn(rows.shape, generator=generator, dtype=torch.float64)
        second.requires_grad_()
        ours = SupConLoss(temperature)(torch.stack([rows, second], 1))
        agree(ours, nt_xent(rows, second, temperature), rows, second)


def test_nt_xent_of_lightly_with_a_bank() -> None:
    for rows, _, temperature, generator in batches(CASES, 6):
        n, m = len(rows), int(torch.randint(1, 30, (), generator=generator))
        second = torch.randn(rows.shape, generator=generator, dtype=torch.float64)
        second.requires_grad_()
        bank = torch.randn(m, rows.shape[1], generator=generator, dtype=torch.float64)
        others = torch.cat([second, bank])
        labels = torch.cat([torch.arange(n), torch.full((m,), -1)])
        ignored = torch.cat([~torch.eye(n, dtype=torch.bool), torch.zeros(n, m).bool()], 1)
        ours = SupConLoss(temperature)(
            rows, torch.arange(n), against=(others, labels), ignore=ignored
        )
        agree(ours, nt_xent_with_bank(rows, second, bank, temperature), rows, second)


def test_memory_that_holds_a_batch_less() -> None:
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        n, size = 6, (12, 20, 60)[seed % 3]
        ours = SupConLoss(0.2, memory=CrossBatchMemory(size - n, 4).double())
        theirs = PeerMemory(PeerLoss(0.2), embedding_size=4, memory_size=size)
        for _ in range(7):
            rows = torch.randn(n, 4, generator=generator, dtype=torch.float64)
            labels = torch.randint(0, 3, (n,), generator=generator)
            labels[:3] = torch.tensor([0, 1, 0])
            assert ours(rows, labels).item() == pytest.approx(theirs(rows, labels).item(), rel=1e-9)


def test_what_differs() -> None:
    rows, labels, temperature, _ = next(batches(1, 7))
    one_class = torch.zeros(len(rows), dtype=torch.int64)
    assert PeerLoss(temperature)(rows, one_class).item() == 0
    assert SupConLoss(temperature)(rows, one_class) >= math.log(len(rows) - 1)
    # three of four anchors have no rival within 2/T, and their losses round to 0
    pairs = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    codes = torch.tensor([0, 0, 1, 1])
    assert SupConLoss(0.01)(pairs, codes).item() == pytest.approx(math.log(3) / 4)
    assert PeerLoss(0.01)(pairs, codes).item() == pytest.approx(math.log(3))
    # three positives each: a pair's own positive is the only one below in their NT-Xent
    points, threes = torch.eye(6, dtype=torch.float64), torch.tensor([0, 0, 0, 1, 1, 1])
    assert NTXentLoss(1.0)(points, threes).item() == pytest.approx(math.log(4))
    assert SupConLoss(1.0)(points, threes).item() == pytest.approx(math.log(5))
