from __future__ import annotations

import pytest
import torch

from quadlib.model.fusion import Fusion, hide_modalities


def fusion_of(layers: int = 1, modalities: int = 4) -> Fusion:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return Fusion(modalities, 32, heads=4, layers=layers, dropout=0.1)


def tokens_of(batch: int = 6, modalities: int = 4) -> torch.Tensor:
    return torch.randn(batch, modalities, 32, generator=torch.Generator().manual_seed(1))


def some_present(batch: int = 6, modalities: int = 4) -> torch.Tensor:
    present = torch.rand(batch, modalities, generator=torch.Generator().manual_seed(3)) < 0.5
    present[:, 1] = True
    return present


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_weights_are_exact_zeros_where_absent_and_sum_to_one(layers):
    present = some_present()
    fused, weights = fusion_of(layers)(tokens_of(), present)
    assert fused.shape == (6, 32) and weights.shape == (6, 4)
    assert (weights[~present] == 0).all() and (weights[present] > 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(6))


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_what_an_absent_token_holds_changes_no_bit(layers):
    fusion, tokens, present = fusion_of(layers).eval(), tokens_of(), some_present()
    for content in (1e6, torch.nan, torch.inf):
        fused, weights = fusion(tokens.masked_fill(~present[..., None], content), present)
        assert torch.equal(fused, fusion(tokens, present)[0]) and torch.equal(
            weights, fusion(tokens, present)[1]
        )


def test_a_lone_modality_has_all_the_weight_and_equals_a_fusion_without_the_rest():
    fusion, tokens = fusion_of(layers=1).eval(), tokens_of()
    present = torch.zeros(6, 4, dtype=torch.bool)
    present[:, 2] = True
    _, weights = fusion(tokens, present)
    assert torch.equal(weights[:, 2], torch.ones(6))


def test_no_gradient_reaches_an_absent_token():
    tokens, present = tokens_of().requires_grad_(), some_present()
    fusion_of()(tokens, present)[0].square().sum().backward()
    assert (tokens.grad[~present] == 0).all() and (tokens.grad[present].abs().sum(dim=-1) > 0).all()


def test_hiding_never_takes_the_last_modality_nor_brings_an_absent_one():
    present = some_present(batch=500)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        seen = hide_modalities(present, 0.9)
        assert torch.equal(hide_modalities(present, 0.0), present)
    assert (seen <= present).all() and seen.any(dim=1).all() and seen.sum() < 0.6 * present.sum()


def test_hiding_comes_with_the_chance_asked_for():
    present = torch.ones(4000, 4, dtype=torch.bool)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        assert abs(float((~hide_modalities(present, 0.15)).float().mean()) - 0.15) < 0.02


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_a_modality_without_trust_is_read_as_if_it_were_absent(layers):
    fusion, tokens, present = fusion_of(layers).eval(), tokens_of(), some_present()
    absent = present.clone()
    absent[:, 3] = False
    expected = fusion(tokens, absent)
    fusion.trust[3] = 0.0
    fused, weights = fusion(tokens, present)
    assert torch.equal(fused, expected[0]) and torch.equal(weights, expected[1])


def test_a_recording_of_untrusted_modalities_alone_is_still_read():
    fusion, tokens, present = fusion_of().eval(), tokens_of(), torch.zeros(6, 4, dtype=torch.bool)
    present[:, 2:] = True
    expected = fusion(tokens, present)
    fusion.trust[2:] = 0.0
    assert all(torch.equal(*pair) for pair in zip(fusion(tokens, present), expected, strict=True))


def test_half_the_trust_is_half_the_odds():
    tokens = tokens_of()[:, :2]
    fusion = Fusion(2, 32, heads=1, layers=0).eval()
    present = torch.ones(6, 2, dtype=torch.bool)
    before = fusion(tokens, present)[1]
    fusion.trust[1] = 0.5
    after = fusion(tokens, present)[1]
    torch.testing.assert_close(after[:, 1] / after[:, 0], before[:, 1] / before[:, 0] / 2)
