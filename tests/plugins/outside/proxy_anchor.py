"""Proxy Anchor (Kim et al., CVPR 2020, arXiv 2003.13911), as a package of its own would add it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quadlib import register_loss


class ProxyAnchor(nn.Module):
    """Each class has a learned proxy: it pulls the embeddings of its class and pushes the others,
    the hard ones most. Embeddings (N, D), labels (N,) int64.
    """

    def __init__(
        self, n_classes: int, embedding_dim: int, margin: float = 0.1, scale: float = 32.0
    ) -> None:
        super().__init__()
        self.margin, self.scale = margin, scale
        self.proxies = nn.Parameter(torch.randn(n_classes, embedding_dim))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        cosines = nn.functional.normalize(embeddings) @ nn.functional.normalize(self.proxies).T
        same = labels[:, None] == torch.arange(len(self.proxies), device=labels.device)
        pull = _log_one_plus_sum(-self.scale * (cosines - self.margin), same)
        push = _log_one_plus_sum(self.scale * (cosines + self.margin), ~same)
        with_positives = same.any(dim=0).sum().clamp(min=1)
        return pull.sum() / with_positives + push.mean()


def _log_one_plus_sum(values: Tensor, kept: Tensor) -> Tensor:
    """ln(1 + sum over kept rows of exp(value)) of every column (n_classes,), without overflow."""
    values = values.masked_fill(~kept, -torch.inf)
    return torch.cat([values.new_zeros(1, values.shape[1]), values]).logsumexp(dim=0)


def make(settings: object, n_classes: int, embedding_dim: int) -> ProxyAnchor:
    return ProxyAnchor(n_classes, embedding_dim)


register_loss("proxy_anchor", make)
