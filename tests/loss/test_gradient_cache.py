"""Embedding in chunks gives the gradient of the whole batch, dropout included."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from quadlib.loss import SupConLoss
from quadlib.loss.gradient_cache import embed_in_chunks


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


def network(dropout: float) -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 5)
    ).double()
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


def gradients(model: nn.Module) -> list[Tensor]:
    found = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    return found


@pytest.mark.parametrize("chunk_size", [1, 4, 7, 23, 40])
def test_chunks_of_any_size_give_the_uncached_gradient(chunk_size: int) -> None:
    inputs = torch.randn(23, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels, model, loss = torch.arange(23) % 5, network(0.0), SupConLoss(0.1)
    whole = loss(model(inputs), labels)
    whole.backward()
    expected = gradients(model)
    cached = loss(embed_in_chunks(model, inputs.split(chunk_size)), labels)
    cached.backward()
    assert cached.item() == pytest.approx(whole.item(), rel=1e-12)
    for found, want in zip(gradients(model), expected, strict=True):
        assert (found - want).norm() <= 1e-10 * want.norm()


def test_dropout_repeats_when_a_chunk_is_embedded_again() -> None:
    inputs = torch.randn(23, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels, model, loss = torch.arange(23) % 5, network(0.5), SupConLoss(0.1)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        plain = loss(torch.cat([model(chunk) for chunk in inputs.split(5)]), labels)
        plain.backward()
        expected, after = gradients(model), torch.get_rng_state()
        torch.manual_seed(7)
        cached = loss(embed_in_chunks(model, inputs.split(5)), labels)
        cached.backward()
        assert torch.equal(after, torch.get_rng_state())
    assert cached.item() == plain.item()
    for found, want in zip(gradients(model), expected, strict=True):
        assert torch.allclose(found, want, rtol=1e-12, atol=1e-15)


def test_tuples_keep_their_type_and_no_chunk_is_refused() -> None:
    inputs = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    model = network(0.0)
    for size in (2, 5):
        pair = embed_in_chunks(lambda chunk: Pair(model(chunk), chunk), inputs.split(size))
        assert isinstance(pair, Pair) and torch.equal(pair.second, inputs)
    with pytest.raises(ValueError, match="no chunks"):
        embed_in_chunks(model, [])
