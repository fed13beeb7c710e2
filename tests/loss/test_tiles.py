"""Every form of the loss against the oracle: values and gradients, over sizes, classes, dimensions,
temperatures, tiles and memories.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from oracle import supcon_oracle

from quadlib.loss import SupConLoss
from quadlib.loss.direct import anchor_losses
from quadlib.loss.inputs import Anchors
from quadlib.loss.tiles import KEPT_BYTES, fitting_dtype, tile_loss

CASES = list(
    itertools.product(
        (1, 2, 7, 20, 41), (1, 2, 9), (2, 16), (0.02, 0.1, 1.0), ("out", "in"), (0, 11)
    )
)


@pytest.mark.parametrize("n_rows", sorted({case[0] for case in CASES}))
@pytest.mark.parametrize("variant", ["out", "in"])
def test_every_form_equals_the_oracle(n_rows: int, variant: str) -> None:
    generator = torch.Generator().manual_seed(n_rows)
    for _, n_classes, dim, temperature, _, n_keys in (
        case for case in CASES if case[0] == n_rows and case[4] == variant
    ):
        rows = (
            3 * torch.randn(n_rows, dim, generator=generator, dtype=torch.float64)
        ).requires_grad_()
        codes = torch.randint(0, n_classes, (n_rows,), generator=generator)
        scale = torch.tensor(temperature, dtype=torch.float64, requires_grad=True)
        keys = (
            torch.randn(n_keys, dim, generator=generator, dtype=torch.float64) if n_keys else None
        )
        key_codes = torch.randint(0, n_classes, (n_keys,), generator=generator) if n_keys else None
        expected = supcon_oracle(rows, codes, scale, variant, keys, key_codes)
        wanted = torch.autograd.grad(expected, (rows, scale), materialize_grads=True)
        losses, used = anchor_losses(
            Anchors(rows, codes, others=keys, other_codes=key_codes), scale, variant
        )
        values = [losses.sum() / used.sum().clamp(min=1)]
        for tile, kept_bytes in ((None, KEPT_BYTES), (8, KEPT_BYTES), (8, 0)):
            values.append(
                tile_loss(
                    rows,
                    codes,
                    scale,
                    variant,
                    keys=keys,
                    key_codes=key_codes,
                    tile=tile,
                    kept_bytes=kept_bytes,
                ).value
            )
        for value in values:
            assert value.item() == pytest.approx(expected.item(), rel=1e-10, abs=1e-10)
            for gradient, want in zip(
                torch.autograd.grad(value, (rows, scale)), wanted, strict=True
            ):
                assert torch.allclose(gradient, want, rtol=1e-8, atol=1e-9)


def test_there_are_five_hundred_cases_and_more() -> None:
    assert len(CASES) * 4 >= 500


@pytest.mark.parametrize("n_rows", [300, 700, 2100])
@pytest.mark.parametrize("kept_bytes", [0, KEPT_BYTES])
@pytest.mark.parametrize("variant", ["out", "in"])
def test_float32_stays_near_float64(n_rows: int, kept_bytes: int, variant: str) -> None:
    generator = torch.Generator().manual_seed(n_rows)
    codes = torch.randint(0, 12, (n_rows,), generator=generator)
    rows = (
        torch.randn(n_rows, 32, generator=generator)
        + 2 * torch.randn(12, 32, generator=generator)[codes]
    )
    wide = rows.double().requires_grad_()
    losses, used = anchor_losses(Anchors(wide, codes), 0.07, variant)
    expected = losses.sum() / used.sum()
    expected.backward()
    rows.requires_grad_()
    value = tile_loss(rows, codes, 0.07, variant, kept_bytes=kept_bytes).value
    value.backward()
    assert value.item() == pytest.approx(expected.item(), rel=2e-6)
    assert (rows.grad - wide.grad).norm() <= 1e-4 * wide.grad.norm()


def test_which_float_holds_which_temperature() -> None:
    assert fitting_dtype(0.07, torch.float32) == torch.float32
    assert (
        fitting_dtype(0.01, torch.float32) == torch.float64
        and fitting_dtype(0.1, torch.float64) == torch.float64
    )
    assert fitting_dtype(0.001, torch.float32) is None


@pytest.mark.parametrize("temperature", [0.0145, 0.014, 0.005, 0.002, 0.001])
def test_low_temperatures_agree_with_the_direct_form(temperature: float) -> None:
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(500, 8, generator=generator, requires_grad=True)
    codes = torch.randint(0, 5, (500,), generator=generator)
    found = []
    for given, form in ((rows, "auto"), (rows.detach().double().requires_grad_(), "direct")):
        value = SupConLoss(temperature, form=form)(given, codes)
        found.append((value.item(), torch.autograd.grad(value, given)[0].double()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert (
        torch.isfinite(found[0][1]).all()
        and (found[0][1] - found[1][1]).norm() <= 1e-2 * found[1][1].norm()
    )
