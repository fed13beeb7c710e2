"""The conformance values of the loss, its invariances, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from quadlib import bounds
from quadlib.loss import SupConLoss


def points(*degrees: float) -> Tensor:
    """Unit vectors in the plane, float64."""
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angle.cos(), angle.sin()], 1)


SIX, SIX_LABELS = points(0, 10, 20, 50, 60, 80), [0, 0, 0, 1, 1, 2]
VIEWS, VIEW_LABELS = torch.stack([points(0, 30, 100, 200), points(5, 40, 90, 215)], 1), [0, 0, 1, 2]


@pytest.mark.parametrize(
    "temperature, value",
    [(0.07, 0.6314057807), (0.1, 0.7200604451), (0.5, 1.2572937285), (1.0, 1.4140892883)],
)
def test_reference_values(temperature: float, value: float) -> None:
    assert float(SupConLoss(temperature)(SIX, SIX_LABELS)) == pytest.approx(value, abs=1e-10)
    assert float(SupConLoss(temperature)(3 * SIX, SIX_LABELS)) == pytest.approx(value, abs=1e-10)


def test_inner_variant_is_below_the_outer() -> None:
    assert float(SupConLoss(0.1, variant="in")(SIX, SIX_LABELS)) == pytest.approx(
        0.7099687233, abs=1e-10
    )


def test_lone_anchors_leave_the_mean_and_are_counted() -> None:
    detail = SupConLoss(0.1).detail(SIX, SIX_LABELS)
    assert float(detail.per_anchor.mean()) == pytest.approx(0.6000503709, abs=1e-10)
    assert detail.positives.tolist() == [2, 2, 2, 1, 1, 0]
    assert detail.used.tolist() == [True] * 5 + [False] and detail.n_used == 5
    assert float(detail.per_anchor[detail.used].mean()) == pytest.approx(detail.value)


@pytest.mark.parametrize(
    "temperature, both, one, unlabelled",
    [
        (0.1, 0.7147499439, 0.6889559933, 0.2110205906),
        (0.5, 0.8995242610, 0.8758370879, 0.7987783904),
    ],
)
def test_two_views(temperature: float, both: float, one: float, unlabelled: float) -> None:
    loss = SupConLoss(temperature)
    assert float(loss(VIEWS, VIEW_LABELS)) == pytest.approx(both, abs=1e-10)
    assert float(loss(VIEWS)) == pytest.approx(unlabelled, abs=1e-10)
    assert float(loss.detail(VIEWS, VIEW_LABELS).per_anchor[:4].mean()) == pytest.approx(
        one, abs=1e-10
    )
    stacked = torch.cat([VIEWS[:, 0], VIEWS[:, 1]])
    assert float(loss(stacked, VIEW_LABELS, n_views=2)) == pytest.approx(both, abs=1e-10)
    assert float(loss(VIEWS, mask=torch.eye(4))) == pytest.approx(unlabelled, abs=1e-10)


def test_equal_embeddings_sit_on_the_plateau_without_gradient() -> None:
    rows = torch.ones(16, 4, dtype=torch.float64, requires_grad=True)
    value = SupConLoss(0.1)(rows, [0, 1] * 8)
    value.backward()
    assert value.item() == pytest.approx(math.log(15)) and float(rows.grad.norm()) < 1e-12


@pytest.mark.parametrize(
    "temperature, value",
    [
        (0.5, 2.7586236757),
        (0.1, 10.6931698803),
        (0.07, 14.9788617787),
        (0.02, 50.6931471806),
        (0.01, 100.6931471806),
        (0.005, 200.6931471806),
    ],
)
@pytest.mark.parametrize(
    "dtype, tolerance",
    [(torch.float64, 1e-10), (torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 1e-2)],
)
def test_low_temperatures_stay_finite(
    temperature: float, value: float, dtype: torch.dtype, tolerance: float
) -> None:
    rows = points(0, 180, 90, 270).to(dtype).requires_grad_()
    loss = SupConLoss(temperature)(rows, [0, 0, 1, 1])
    loss.backward()
    assert loss.item() == pytest.approx(value, rel=tolerance) and torch.isfinite(rows.grad).all()


def test_one_class_batch() -> None:
    assert float(SupConLoss(0.1)(points(0, 10, 20, 30), [5] * 4)) == pytest.approx(
        1.1649574722, abs=1e-10
    )


def test_labels_of_any_dtype_give_the_same_value() -> None:
    expected = float(SupConLoss(0.1)(SIX, SIX_LABELS))
    codes = np.array(SIX_LABELS)
    for labels in (
        torch.tensor(SIX_LABELS, dtype=torch.uint8),
        codes + 2**24,
        torch.tensor(codes + 2**53),
        list("aaabbc"),
        codes.astype(np.int16),
        np.array(list("xxxyyz"), dtype=object),
    ):
        assert float(SupConLoss(0.1)(SIX, labels)) == pytest.approx(expected, abs=1e-12)
    assert float(SupConLoss(0.1)(SIX, mask=torch.tensor(codes[:, None] == codes))) == pytest.approx(
        expected, abs=1e-12
    )
    assert float(
        SupConLoss(0.1)(SIX, torch.nn.functional.one_hot(torch.tensor(SIX_LABELS)))
    ) == pytest.approx(expected, abs=1e-12)


def test_no_positive_gives_a_zero_that_keeps_the_graph() -> None:
    rows = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    value = SupConLoss()(rows, [0, 1, 2, 3])
    value.backward()
    assert value.item() == 0 and float(rows.grad.abs().sum()) == 0
    assert SupConLoss().detail(rows, [0, 1, 2, 3]).n_used == 0


def test_permuting_rows_and_renaming_labels_change_nothing() -> None:
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    labels = torch.tensor(SIX_LABELS)
    assert float(SupConLoss(0.1)(SIX[order], 7 - 3 * labels[order])) == pytest.approx(
        float(SupConLoss(0.1)(SIX, labels)), abs=1e-12
    )


def test_unlabelled_rows_are_positives_of_their_own_views_alone() -> None:
    with_unlabelled = SupConLoss(0.1)(VIEWS, torch.tensor([0, 0, -1, -1]))
    assert float(with_unlabelled) == pytest.approx(
        float(SupConLoss(0.1)(VIEWS, torch.tensor([0, 0, 8, 9]))), abs=1e-12
    )
    assert float(SupConLoss(0.1, unlabelled=0)(VIEWS, [1, 1, 0, 0])) == pytest.approx(
        float(with_unlabelled), abs=1e-12
    )
    assert SupConLoss(0.1).detail(SIX, [-1, -1, 0, 0, 1, 2]).used.tolist() == [
        False,
        False,
        True,
        True,
        False,
        False,
    ]


def test_several_labels_a_sample_make_positives_where_they_share_one() -> None:
    several = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 0, 0], [0, 1, 0]])
    mask = (several @ several.T) > 0
    assert float(SupConLoss(0.1)(SIX, several)) == pytest.approx(
        float(SupConLoss(0.1)(SIX, mask=mask)), abs=1e-12
    )


def test_detail_places_the_value() -> None:
    detail = SupConLoss(0.1, base_temperature=0.05).detail(SIX, SIX_LABELS)
    plain = SupConLoss(0.1).detail(SIX, SIX_LABELS)
    assert detail.value == pytest.approx(2 * plain.value) and detail.collapse == pytest.approx(
        2 * math.log(5)
    )
    assert detail.progress == pytest.approx(plain.progress) and 0 < plain.progress < 1
    assert plain.excess == pytest.approx(plain.value - plain.floor) and plain.floor <= plain.value
    one_class = SupConLoss(0.1).detail(SIX, [0] * 6)
    assert one_class.floor == pytest.approx(one_class.collapse) and math.isnan(one_class.progress)


@pytest.mark.parametrize(
    "arguments, error, part",
    [
        ({"embeddings": SIX, "labels": [0, 1]}, ValueError, "2 labels for embeddings of shape"),
        ({"embeddings": SIX[0], "labels": [0]}, ValueError, "was expected"),
        ({"embeddings": SIX.long(), "labels": SIX_LABELS}, TypeError, "floating point"),
        ({"embeddings": SIX, "labels": torch.tensor(SIX_LABELS).float()}, TypeError, "2\\^24"),
        ({"embeddings": SIX, "mask": torch.ones(3, 3)}, ValueError, "mask of shape"),
        (
            {"embeddings": SIX, "labels": SIX_LABELS, "mask": torch.ones(6, 6)},
            ValueError,
            "both given",
        ),
        ({"embeddings": SIX, "labels": SIX_LABELS, "n_views": 4}, ValueError, "no multiple"),
        ({"embeddings": VIEWS, "labels": VIEW_LABELS, "n_views": 3}, ValueError, "hold 2 views"),
    ],
)
def test_wrong_inputs_are_refused_with_what_was_expected(
    arguments: dict, error: type[Exception], part: str
) -> None:
    with pytest.raises(error, match=part):
        SupConLoss()(**arguments)


def test_wrong_settings_are_refused_all_at_once() -> None:
    with pytest.raises(ValueError, match="temperature is 0.*variant is 'both'"):
        SupConLoss(0, variant="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="temperature_range"):
        SupConLoss(2.0, learnable_temperature=True)


def test_learnable_temperature_has_the_gradient_of_the_formula_and_stays_in_range() -> None:
    gradients = []
    for form in ("tiles", "direct"):
        loss = SupConLoss(0.2, learnable_temperature=True, form=form).double()
        loss(SIX, SIX_LABELS).backward()
        gradients.append(loss.log_temperature.grad.item())
    assert gradients[0] == pytest.approx(gradients[1], rel=1e-10)
    with torch.no_grad():
        loss.log_temperature.fill_(3.0)
    loss(SIX, SIX_LABELS)
    assert loss.temperature == pytest.approx(1.0)


def test_second_derivative_is_refused_by_tiles_and_given_by_the_direct_form() -> None:
    rows = SIX.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="form='direct'"):
        torch.autograd.grad(SupConLoss(0.1)(rows, SIX_LABELS), rows, create_graph=True)
    assert torch.autograd.gradgradcheck(
        lambda z: SupConLoss(0.5, form="direct")(z, SIX_LABELS), (rows,)
    )


def test_autocast_does_not_reach_the_loss() -> None:
    rows = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(64) % 4
    expected = SupConLoss(0.05)(rows, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for form in ("auto", "direct"):
            assert torch.allclose(SupConLoss(0.05, form=form)(rows, labels), expected, rtol=1e-6)


def test_the_global_random_state_is_untouched() -> None:
    before = torch.get_rng_state()
    SupConLoss()(SIX, SIX_LABELS)
    assert torch.equal(before, torch.get_rng_state())


def test_labels_in_one_column_are_one_label_each() -> None:
    labels = torch.tensor([1, 1, 2, 2])
    rows = torch.randn(4, 3, generator=torch.Generator().manual_seed(2))
    expected = SupConLoss()(rows, labels).item()
    for column in (labels[:, None], labels[:, None].numpy(), labels[:, None].tolist()):
        assert SupConLoss()(rows, column).item() == expected


def test_missing_labels_are_unlabelled() -> None:
    expected = SupConLoss(0.1).detail(SIX, [0, 0, -1, -1, 1, 1])
    for labels in (["a", "a", None, float("nan"), "b", "b"], [0, 0, None, None, 1, 1]):
        detail = SupConLoss(0.1).detail(SIX, labels)
        assert detail.value == expected.value and detail.floor == expected.floor
        assert detail.positives.tolist() == [1, 1, 0, 0, 1, 1]


def test_a_sample_without_any_of_several_labels_has_its_own_views() -> None:
    several = torch.tensor([[1, 0], [1, 0], [0, 0], [0, 0]])
    value = SupConLoss(0.1)(VIEWS, several)
    assert float(value) == pytest.approx(float(SupConLoss(0.1)(VIEWS, [0, 0, -1, -1])), abs=1e-12)


def test_one_view_without_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="with one view.*pass labels"):
        SupConLoss()(SIX)
    with pytest.raises(ValueError, match="from 0 to 2 in rows"):
        SupConLoss()(SIX, torch.tensor([[0, 2]] * 6))


@pytest.mark.parametrize("temperature", [0.005, 0.0145, 0.016, 0.02, 0.0225, 0.05])
@pytest.mark.parametrize("form", ["auto", "direct"])
@pytest.mark.parametrize("copies", [1, 200])
def test_inner_variant_is_finite_at_low_temperatures(
    temperature: float, form: str, copies: int
) -> None:
    rows = torch.tensor([[1.0], [-1.0], [1.0]]).repeat(copies, 1).requires_grad_()
    labels = torch.tensor([0, 0, 1]).repeat(copies) + 2 * torch.arange(copies).repeat_interleave(3)
    loss = SupConLoss(temperature, variant="in", form=form)  # type: ignore[arg-type]
    value = loss(rows, labels)
    if copies == 1:
        exact = (math.log1p(math.exp(-2 / temperature)) + math.log(2)) / 2 + 1 / temperature
        assert value.item() == pytest.approx(exact, rel=1e-6)
        assert temperature != 0.02 or value.item() == pytest.approx(50.3466, abs=1e-4)
    assert torch.isfinite(torch.autograd.grad(value, rows)[0]).all() and value.isfinite()


@pytest.mark.parametrize("form", ["auto", "direct"])
@pytest.mark.parametrize("n_zeros", [1, 3])
@pytest.mark.parametrize("copies", [1, 100])
def test_a_row_of_zeros_has_cosine_0_and_no_gradient(form: str, n_zeros: int, copies: int) -> None:
    rows = torch.cat([SIX.repeat(copies, 1), torch.zeros(n_zeros, 2, dtype=torch.float64)])
    labels = torch.tensor(SIX_LABELS * copies + [0] * n_zeros)
    rows.requires_grad_()
    value = SupConLoss(0.5, form=form)(rows, labels)  # type: ignore[arg-type]
    gradient = torch.autograd.grad(value, rows)[0]
    assert torch.equal(gradient[-n_zeros:], torch.zeros(n_zeros, 2, dtype=torch.float64))
    assert gradient.abs().max() < 1 and gradient[:-n_zeros].abs().sum() > 0
    # a further axis on which nothing else lies, one for each row of zeros, gives the same cosines
    axes = torch.zeros(len(rows), 2 + n_zeros, dtype=torch.float64)
    axes[:, :2] = rows.detach()
    axes[-n_zeros:, 2:] = torch.eye(n_zeros, dtype=torch.float64)
    assert value.item() == pytest.approx(SupConLoss(0.5)(axes, labels).item(), rel=1e-12)


@pytest.mark.parametrize("form", ["auto", "direct"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_batch_that_is_not_finite_gives_nan(form: str, bad: float) -> None:
    rows = SIX.clone()
    rows[2, 0] = bad
    assert SupConLoss(0.1, form=form)(rows, SIX_LABELS).isnan()  # type: ignore[arg-type]


def test_torch_func_is_told_of_the_direct_form() -> None:
    def value(rows: Tensor) -> Tensor:
        return SupConLoss(0.1)(rows, SIX_LABELS)

    with pytest.raises(RuntimeError, match="form='direct'"):
        torch.func.grad(value)(SIX)
    direct = SupConLoss(0.1, form="direct")
    rows = SIX.clone().requires_grad_()
    expected = torch.autograd.grad(SupConLoss(0.1)(rows, SIX_LABELS), rows)[0]
    found = torch.func.grad(lambda z: direct(z, SIX_LABELS))(SIX)
    assert torch.allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize("n", [8, 700])
def test_meta_tensors_have_the_shape_of_the_loss(n: int) -> None:
    rows = torch.empty(n, 4, device="meta", requires_grad=True)
    labels = torch.empty(n, dtype=torch.int64, device="meta")
    for extras in ({}, {"weights": torch.empty(n, device="meta")}, {"ignore": labels}):
        value = SupConLoss()(rows, labels, **extras)
        value.backward()
        assert value.shape == () and rows.grad is not None and rows.grad.shape == rows.shape


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("n", [12, 500])
@pytest.mark.parametrize("variant", ["out", "in"])
def test_the_loss_compiles_as_one_graph(n: int, variant: str) -> None:
    torch._dynamo.reset()
    rows = torch.randn(n, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    others = torch.randn(9, 6, generator=torch.Generator().manual_seed(1))
    labels, groups, weights = torch.arange(n) % 3, torch.arange(n) % 4, torch.ones(n)
    loss = SupConLoss(0.1, variant=variant)  # type: ignore[arg-type]
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    for extras in (
        {},
        {"ignore": groups, "weights": weights},
        {"against": (others, torch.arange(9) % 3)},
    ):
        expected = torch.autograd.grad(loss(rows, labels, **extras), rows)[0]
        found = torch.autograd.grad(compiled(rows, labels, **extras), rows)[0]
        assert torch.allclose(found, expected, atol=1e-7)


def test_bounds_of_labels_are_those_of_the_detail() -> None:
    loss = SupConLoss(0.1, base_temperature=0.07)
    labels = torch.tensor([0, 0, -1, -1, 1, 1])
    detail = loss.detail(SIX, labels)
    assert loss.bounds(labels) == pytest.approx((detail.collapse, detail.floor))
    assert loss.bounds([0, 1, -1]) is None
    assert SupConLoss(denominator="negatives").bounds(labels) is None


def test_views_are_counted_in_their_own_axis() -> None:
    rows = torch.nn.functional.normalize(torch.randn(5, 3, 4, dtype=torch.float64), dim=2)
    labels = [0, 0, 1, 1, 2]
    stacked = rows.transpose(0, 1).reshape(15, 4)
    assert float(SupConLoss()(rows, labels, n_views=3)) == float(SupConLoss()(rows, labels))
    assert float(SupConLoss()(stacked, labels, n_views=3)) == float(SupConLoss()(rows, labels))
    with pytest.raises(ValueError, match="n_views is 4, but embeddings of shape .* hold 3 views"):
        SupConLoss()(rows, labels, n_views=4)
    with pytest.raises(ValueError, match="no multiple of n_views"):
        SupConLoss()(stacked[:14], labels, n_views=3)


def test_labels_of_stacked_views_are_counted_by_the_sample() -> None:
    rows = torch.eye(6)
    with pytest.raises(ValueError, match="one per sample was expected, 6. If the rows are views"):
        SupConLoss()(rows, [0, 0, 1])
    with pytest.raises(ValueError, match="one per sample was expected, 3$"):
        SupConLoss()(rows, [0, 0, 1, 1], n_views=2)


@pytest.mark.parametrize("extra", [{"ignore": [0, 0, 1, 1, 2, 2]}, {"weights": torch.ones(6)}])
def test_a_floor_is_given_where_every_pair_counts_alike(extra: dict) -> None:
    loss = SupConLoss(0.1)
    assert loss.detail(SIX, SIX_LABELS).floor == pytest.approx(bounds.floor(SIX_LABELS, 0.1))
    assert math.isnan(loss.detail(SIX, SIX_LABELS, **extra).floor)
