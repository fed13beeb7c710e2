"""The loss of every anchor written as the formula: the similarity matrix, its log-sum-exp and its
positives; differentiable twice.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from quadlib.loss.inputs import Anchors


def anchor_losses(
    anchors: Anchors,
    temperature: float | Tensor,
    variant: str,
    keys: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Loss per anchor (N,), 0 where unused, and which anchors have a positive (N,) bool; keys:
    constant embeddings (M, D) and their codes (M,).
    """
    rows = normalize(anchors.rows, dim=1)
    logits = (rows @ rows.T / temperature).fill_diagonal_(-torch.inf)
    weights = anchors.weights
    if weights is None:
        assert anchors.codes is not None
        weights = (anchors.codes[:, None] == anchors.codes).to(rows.dtype).fill_diagonal_(0)
    if keys is not None:
        assert anchors.codes is not None
        logits = torch.cat(
            [logits, rows @ normalize(keys[0].to(rows.dtype), dim=1).T / temperature], 1
        )
        weights = torch.cat([weights, (anchors.codes[:, None] == keys[1]).to(rows.dtype)], 1)
    total = weights.sum(1)
    used = total > 0
    is_positive = weights > 0
    # an anchor without a positive, and the diagonal, are replaced before they are used: a 0 times
    # infinity would spoil the gradient
    logits = torch.where(used[:, None] | ~torch.isinf(logits), logits, 0.0)
    log_all = logits.logsumexp(1)
    safe = total.clamp(min=torch.finfo(rows.dtype).tiny)
    if variant == "in":
        log_weights = torch.where(is_positive, weights, 1.0).log()
        log_positive = torch.where(
            is_positive, logits + log_weights, torch.where(used[:, None], -torch.inf, 0.0)
        ).logsumexp(1)
        losses = log_all - log_positive + safe.log()
    else:
        losses = log_all - (weights * torch.where(is_positive, logits, 0.0)).sum(1) / safe
    return torch.where(used, losses, 0.0), used
