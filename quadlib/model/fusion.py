"""Fusion: modality tokens attend to each other, then a learned query reads the present ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def attend(query: Tensor, key: Tensor, value: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention over keys with a prior: the mixed values and the weights.

    query (B, heads, Q, d), key and value (B, heads, M, d), prior (B, M) in nats, -inf where a key
    is not to be read, with at least one finite a row. The weights (B, heads, Q, M) are exactly 0
    there and sum to 1.
    """
    scores = (query @ key.transpose(-1, -2)).float() * query.shape[-1] ** -0.5
    weights = (scores + prior[:, None, None, :]).softmax(dim=-1)
    return weights.to(value.dtype) @ value, weights


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """(B, Q, width) to (B, heads, Q, width / heads)."""
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


class SelfAttentionLayer(nn.Module):
    """A pre-norm transformer layer over the modality tokens (B, M, width) that reads them by their
    prior (B, M), and never one of -inf.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, prior: Tensor) -> Tensor:
        query, key, value = (
            split_heads(part, self.heads)
            for part in self.query_key_value(self.attention_norm(tokens)).chunk(3, dim=-1)
        )
        mixed, _ = attend(query, key, value, prior)
        tokens = tokens + self.drop(self.attention_out(mixed.transpose(1, 2).flatten(2)))
        return tokens + self.feed_forward(tokens)


class Fusion(nn.Module):
    """Modality tokens (B, M, width) and presence (B, M) to the fused vector (B, width) and the
    weights (B, M).

    Self-attention layers first, then one learned query attends over the present tokens; `weights`
    is its attention averaged over heads: exactly 0 for an absent modality, summing to 1. What an
    absent modality's token holds changes nothing. Every row must have a modality.

    `trust` (M,) from 0 to 1 multiplies what each modality would weigh in every attention, so that
    one of trust 0 is read as if it were absent, except where a row has no other.
    """

    trust: Tensor

    def __init__(
        self,
        n_modalities: int,
        width: int,
        *,
        heads: int = 4,
        layers: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.modality_embedding = nn.Parameter(torch.randn(n_modalities, width) * 0.02)
        self.query = nn.Parameter(torch.randn(width) * 0.02)
        self.register_buffer("trust", torch.ones(n_modalities))
        self.layers = nn.ModuleList(
            SelfAttentionLayer(width, heads, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        tokens = (tokens + self.modality_embedding).masked_fill(~present[..., None], 0.0)
        prior = self._prior(present)
        for layer in self.layers:
            tokens = layer(tokens, prior)
        key, value = (
            split_heads(part, self.heads)
            for part in self.key_value(self.norm(tokens)).chunk(2, dim=-1)
        )
        query = split_heads(self.query.expand(len(tokens), 1, -1), self.heads)
        mixed, weights = attend(query, key, value, prior)
        return self.out(mixed.transpose(1, 2).flatten(1)), weights.mean(dim=(1, 2))

    def _prior(self, present: Tensor) -> Tensor:
        """The logarithm of trust, (B, M), -inf where absent; where nothing that is present is
        trusted, all of it counts alike.
        """
        trust = torch.where(present, self.trust, 0.0)
        trusted = trust.any(dim=1, keepdim=True)
        return torch.where(trusted, trust, present.float()).log()


def hide_modalities(present: Tensor, chance: float) -> Tensor:
    """Presence with each present modality hidden with probability `chance`, but never a row's last
    one.

    present (B, M) bool. Draws from torch's global generator, as dropout does.
    """
    draw = torch.rand(present.shape, device=present.device).masked_fill(~present, -1.0)
    luckiest = torch.zeros_like(present).scatter(1, draw.argmax(dim=1, keepdim=True), True)
    return present & ((draw >= chance) | luckiest)
