"""Pairs that labels alone do not say: other embeddings, ignored pairs, graded positives, weights
and denominators, in every form against the oracle, values and gradients.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from oracle import pairs_oracle, supcon_oracle
from torch import Tensor

from quadlib.loss import SupConLoss
from quadlib.loss.tiles import tile_loss

OPTIONS = list(
    itertools.product(
        ("out", "in"), ("all", "negatives"), ("none", "groups"), (False, True), (0.02, 0.2)
    )
)


def batch(n: int, dim: int = 6, classes: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows (n, dim), labels, groups and weights (n,); some weights are 0, some rows unlabelled."""
    generator = torch.Generator().manual_seed(n)
    rows = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    labels = torch.randint(-1, classes, (n,), generator=generator)
    groups = torch.randint(-1, max(2, n // 3), (n,), generator=generator)
    weights = torch.rand(n, generator=generator, dtype=torch.float64)
    return rows, labels, groups, torch.where(weights < 0.2, 0.0, weights)


def same(left: Tensor, right: Tensor) -> Tensor:
    """Equal and not -1."""
    return (left[:, None] == right) & (left[:, None] >= 0)


def agree(value: Tensor, expected: Tensor, inputs: tuple[Tensor, ...]) -> None:
    assert value.item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-9)
    found = torch.autograd.grad(value, inputs, allow_unused=True, materialize_grads=True)
    wanted = torch.autograd.grad(
        expected, inputs, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    for gradient, want in zip(found, wanted, strict=True):
        assert torch.allclose(gradient, want, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("n", [2, 3, 9, 25])
@pytest.mark.parametrize("variant, denominator, grouped, weighted, temperature", OPTIONS)
def test_a_batch_against_itself(
    n: int, variant: Any, denominator: Any, grouped: str, weighted: bool, temperature: float
) -> None:
    rows, labels, groups, weights = batch(n)
    rows.requires_grad_()
    scale = torch.tensor(temperature, dtype=torch.float64, requires_grad=True)
    compared = ~torch.eye(n, dtype=torch.bool)
    if grouped == "groups":
        compared &= ~same(groups, groups)
    importance = weights if weighted else None
    positives = same(labels, labels)
    expected = pairs_oracle(
        rows, rows, compared, positives, scale, variant, denominator, importance
    )
    alone = torch.arange(n)
    codes, cells = (torch.where(part < 0, -2 - alone, part) for part in (labels, groups))
    for tile, kept_bytes in ((None, 2**20), (4, 2**20), (4, 0)):
        value = tile_loss(
            rows,
            codes,
            scale,
            variant,
            denominator=denominator,
            groups=cells if grouped == "groups" else None,
            importance=importance,
            tile=tile,
            kept_bytes=kept_bytes,
        ).value
        agree(value, expected, (rows, scale))
    ignores: list[Any] = [None]
    if grouped == "groups":
        text = [None if group < 0 else f"session {group}" for group in groups.tolist()]
        ignores = [groups, text, groups[:, None], same(groups, groups)]
    for form, ignore in itertools.product(("auto", "direct"), ignores):
        loss = SupConLoss(temperature, variant=variant, denominator=denominator, form=form)
        value = loss(rows, labels, ignore=ignore, weights=importance)
        agree(value, expected, (rows,))
        detail = loss.detail(rows, labels, ignore=ignore, weights=importance)
        assert detail.value == pytest.approx(value.item(), rel=1e-12, abs=1e-12)
        assert torch.equal(detail.positives, (compared & positives).sum(1))


@pytest.mark.parametrize("n, m", [(1, 1), (2, 7), (9, 4), (25, 30)])
@pytest.mark.parametrize("variant", ["out", "in"])
@pytest.mark.parametrize("denominator", ["all", "negatives"])
@pytest.mark.parametrize("weighted", [False, True])
def test_anchors_against_other_embeddings(
    n: int, m: int, variant: Any, denominator: Any, weighted: bool
) -> None:
    rows, labels, _, weights = batch(n)
    others, other_labels, _, _ = batch(m + 100)
    others, other_labels = others[:m].requires_grad_(), other_labels[:m]
    rows.requires_grad_()
    scale = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    importance = weights if weighted else None
    everything = torch.ones(n, m, dtype=torch.bool)
    positives = same(labels, other_labels)
    expected = pairs_oracle(
        rows, others, everything, positives, scale, variant, denominator, importance
    )
    ignored = torch.arange(n)[:, None] % 3 == torch.arange(m) % 3
    without = pairs_oracle(
        rows, others, ~ignored, positives, scale, variant, denominator, importance
    )
    codes = torch.where(labels < 0, -2 - torch.arange(n), labels)
    for tile, kept_bytes in ((None, 2**20), (4, 2**20), (4, 0)):
        value = tile_loss(
            rows,
            codes,
            scale,
            variant,
            denominator=denominator,
            keys=others,
            key_codes=torch.where(other_labels < 0, -99, other_labels),
            alone=True,
            importance=importance,
            tile=tile,
            kept_bytes=kept_bytes,
        ).value
        agree(value, expected, (rows, others, scale))
    for form in ("auto", "direct"):
        loss = SupConLoss(0.2, variant=variant, denominator=denominator, form=form)
        arguments = {"against": (others, other_labels), "weights": importance}
        agree(loss(rows, labels, **arguments), expected, (rows, others))
        agree(loss(rows, labels, ignore=ignored, **arguments), without, (rows, others))
        masked = loss(rows, mask=positives, against=(others, None), weights=importance)
        agree(masked, expected, (rows, others))
        assert loss.detail(rows, labels, **arguments).value == pytest.approx(expected.item())


def test_against_without_labels_pairs_row_with_row() -> None:
    rows, others = batch(8)[0], batch(9)[0][:8]
    cosines = torch.nn.functional.normalize(rows) @ torch.nn.functional.normalize(others).T
    wanted = torch.nn.functional.cross_entropy(cosines / 0.1, torch.arange(8))
    assert SupConLoss(0.1)(rows, against=(others, None)).item() == pytest.approx(wanted.item())
    two_views = torch.stack([others, others], 1)
    value = SupConLoss(0.1)(rows, against=(two_views, None)).item()
    assert value == pytest.approx(wanted.item() + math.log(2))
    with pytest.raises(ValueError, match="8 samples against 7"):
        SupConLoss(0.1)(rows, against=(others[:7], None))


def test_strings_are_the_same_class_on_both_sides() -> None:
    rows, others = batch(4)[0], batch(9)[0][:3]
    value = SupConLoss(0.1)(rows, ["b", "a", "c", None], against=(others, ["a", "b", None]))
    same_value = SupConLoss(0.1)(rows, [1, 0, 2, -1], against=(others, [0, 1, -1]))
    assert value.item() == pytest.approx(same_value.item(), rel=1e-12)
    with pytest.raises(TypeError, match="strings on one side"):
        SupConLoss(0.1)(rows, [1, 0, 2, 3], against=(others, ["a", "b", "c"]))


@pytest.mark.parametrize("variant", ["out", "in"])
@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_graded_positives(variant: Any, denominator: Any) -> None:
    rows, labels, groups, weights = batch(12)
    rows.requires_grad_()
    generator = torch.Generator().manual_seed(5)
    mask = torch.rand(12, 12, generator=generator) * same(labels, labels)
    compared = ~torch.eye(12, dtype=torch.bool) & ~same(groups, groups)
    loss = SupConLoss(0.1, variant=variant, denominator=denominator)
    expected = pairs_oracle(rows, rows, compared, mask, 0.1, variant, denominator, weights)
    agree(loss(rows, mask=mask, ignore=groups, weights=weights), expected, (rows,))
    agree(loss(rows, mask=7 * mask, ignore=groups, weights=weights), expected, (rows,))


def test_own_views_are_never_ignored() -> None:
    rows, labels, groups, _ = batch(14)
    views = torch.stack([rows, rows.flip(0)], 1)
    stacked = torch.cat([views[:, 0], views[:, 1]]).requires_grad_()
    sample, labels2, groups2 = (part.repeat(2) for part in (torch.arange(14), labels, groups))
    own_views = sample[:, None] == sample
    compared = ~torch.eye(28, dtype=torch.bool) & (~same(groups2, groups2) | own_views)
    positives = same(labels2, labels2) | own_views
    expected = pairs_oracle(stacked, stacked, compared, positives, 0.1, "out", "all")
    for ignore in (groups, same(groups, groups), same(groups, groups).fill_diagonal_(True)):
        value = SupConLoss(0.1)(stacked, labels, ignore=ignore, n_views=2)
        agree(value, expected, (stacked,))


def test_weights_of_classes_are_weights_of_their_samples() -> None:
    rows, labels, _, _ = batch(20)
    by_class = {0: 1.0, 1: 2.5, 2: 0.0}
    each = torch.tensor([by_class.get(label, 1.0) for label in labels.tolist()])
    expected = SupConLoss(0.1)(rows, labels, weights=each).item()
    names = ["none" if label < 0 else f"class {label}" for label in labels.tolist()]
    named = {f"class {label}": weight for label, weight in by_class.items()}
    value = SupConLoss(0.1)(rows, labels, weights=by_class)
    text = SupConLoss(0.1, unlabelled="none")(rows, names, weights=named)
    assert value.item() == pytest.approx(expected) == text.item()
    with pytest.raises(ValueError, match="no entry for class 2; it has 0, 1"):
        SupConLoss(0.1)(rows, labels, weights={0: 1.0, 1: 1.0})


def test_the_decoupled_loss_of_two_views_is_that_of_its_paper() -> None:
    first, second = (torch.nn.functional.normalize(batch(n)[0][:8]) for n in (8, 9))
    cosines = first @ first.T / 0.1
    crossed = first @ second.T / 0.1
    others = ~torch.eye(8, dtype=torch.bool)
    negatives = torch.cat([cosines[others].view(8, 7), crossed[others].view(8, 7)], 1)
    wanted = negatives.logsumexp(1) - crossed.diagonal()
    detail = SupConLoss(0.1, denominator="negatives").detail(torch.stack([first, second], 1))
    assert torch.allclose(detail.per_anchor[:8], wanted)
    assert detail.collapse == pytest.approx(math.log(14))
    assert math.isnan(detail.floor) and math.isnan(detail.progress)


@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_equal_embeddings_sit_on_the_collapse_value(denominator: Any) -> None:
    rows, labels, groups, weights = batch(25)
    loss = SupConLoss(0.1, denominator=denominator)
    for extras in ({}, {"ignore": groups}, {"weights": weights, "ignore": groups}):
        detail = loss.detail(torch.ones_like(rows), labels, **extras)
        assert detail.value == pytest.approx(detail.collapse, rel=1e-9)
    detail = loss.detail(torch.ones_like(rows), labels, against=(torch.ones(7, 6), labels[:7]))
    if denominator == "all":
        assert detail.value == pytest.approx(math.log(7)) == detail.collapse


@pytest.mark.parametrize("n_rows", [500, 1000])
def test_large_batches_agree_in_float32(n_rows: int) -> None:
    rows, labels, groups, weights = (part.float() for part in batch(n_rows, 16, 7))
    labels, groups = labels.long(), groups.long()
    for variant, denominator in itertools.product(("out", "in"), ("all", "negatives")):
        values, gradients = [], []
        for form in ("auto", "direct"):
            wide = rows.double() if form == "direct" else rows.clone()
            wide.requires_grad_()
            loss = SupConLoss(0.07, variant=variant, denominator=denominator, form=form)  # type: ignore[arg-type]
            value = loss(wide, labels, ignore=groups, weights=weights)
            values.append(value.item())
            gradients.append(torch.autograd.grad(value, wide)[0].double())
        assert values[0] == pytest.approx(values[1], rel=1e-5)
        assert (gradients[0] - gradients[1]).norm() <= 1e-4 * gradients[1].norm()


ROWS = batch(4)[0]


@pytest.mark.parametrize(
    "arguments, error, part",
    [
        ({"mask": -torch.ones(4, 4)}, ValueError, r"negative, infinite or NaN in rows 0, 1, 2, 3"),
        ({"mask": torch.full((4, 4), math.nan)}, ValueError, "mask has values"),
        ({"mask": np.full((4, 4), math.inf)}, ValueError, "mask has values"),
        ({"labels": [0, 0, 1, 1], "weights": [1, -1, 1, 1]}, ValueError, r"row 1 \(1 of 4\)"),
        ({"labels": [0, 0, 1, 1], "weights": [1, 1]}, ValueError, r"weights of shape \(2,\)"),
        ({"labels": [0, 0, 1, 1], "ignore": [1, 1]}, ValueError, "2 groups for 4 samples"),
        ({"labels": [0, 0, 1, 1], "ignore": torch.eye(4)}, TypeError, "bool pairs"),
        (
            {"labels": [0, 0, 1, 1], "ignore": torch.eye(3, dtype=torch.bool)},
            ValueError,
            r"ignore of shape \(3, 3\)",
        ),
        ({"labels": [0, 0, 1, 1], "against": ROWS}, TypeError, r"\(embeddings, labels\)"),
        ({"labels": [0, 0, 1, 1], "against": (ROWS, None)}, ValueError, "pass both"),
        ({"labels": [0, 0, 1, 1], "against": (ROWS[:, :3], [0] * 4)}, ValueError, "3 dimensions"),
        ({"labels": [0, 0, 1, 1], "against": (ROWS, [0] * 3)}, ValueError, "3 labels of against"),
        (
            {"labels": [0] * 4, "against": (ROWS, [0] * 4), "ignore": [0] * 4},
            ValueError,
            r"\(N, M\) bool pairs",
        ),
        ({"labels": torch.eye(4).bool(), "weights": {0: 1.0}}, ValueError, "one label per sample"),
    ],
)
def test_what_does_not_fit_is_refused(
    arguments: dict[str, Any], error: type[Exception], part: str
) -> None:
    with pytest.raises(error, match=part):
        SupConLoss()(ROWS, **arguments)


def test_the_plain_oracle_is_the_pairs_oracle() -> None:
    rows, labels, _, _ = batch(9)
    compared = ~torch.eye(9, dtype=torch.bool)
    for variant in ("out", "in"):
        plain = supcon_oracle(rows, labels, 0.1, variant)
        pairs = pairs_oracle(rows, rows, compared, labels[:, None] == labels, 0.1, variant, "all")
        assert plain.item() == pytest.approx(pairs.item(), rel=1e-12)


@pytest.mark.parametrize("form", ["auto", "direct"])
def test_anchors_without_negatives_leave_a_loss_over_negatives(form: Any) -> None:
    rows = torch.randn(6, 4, requires_grad=True)
    value = SupConLoss(0.1, denominator="negatives", form=form)(rows, torch.zeros(6).long())
    value.backward()
    assert value.item() == 0 and not rows.grad.any()
