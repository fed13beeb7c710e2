"""The loss of every anchor written as the formula: the similarity matrix, its log-sum-exp and its
positives; differentiable twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from quadlib.loss.inputs import Anchors
from quadlib.loss.tiles import inverse_lengths


def anchor_losses(
    anchors: Anchors, temperature: float | Tensor, variant: str, denominator: str = "all"
) -> tuple[Tensor, Tensor]:
    """Loss per anchor (N,), 0 where unused, and which anchors are used (N,) bool: those with a
    positive, and, where the denominator holds negatives alone, with a negative.
    """
    columns = [] if anchors.alone else [anchors.rows]
    columns += [] if anchors.others is None else [anchors.others.to(anchors.rows.dtype)]
    unit = anchors.rows * inverse_lengths(anchors.rows)
    units = [unit if part is anchors.rows else part * inverse_lengths(part) for part in columns]
    logits = unit @ torch.cat(units).T / temperature  # (N, K)
    compared = anchors.compared()
    weights = anchors.positive_weights() * compared
    total = weights.sum(1)
    is_positive = weights > 0
    below = compared & ~is_positive if denominator == "negatives" else compared
    used = (total > 0) & below.any(1)
    # an unused anchor gets a row of zeros before it is used: infinity less infinity would spoil the
    # gradient
    log_all = torch.where(below | ~used[:, None], logits, -torch.inf).logsumexp(1)
    safe = total.clamp(min=torch.finfo(logits.dtype).tiny)
    if variant == "in":
        log_weights = torch.where(is_positive, weights, 1.0).log()
        log_positive = torch.where(
            is_positive | ~used[:, None], logits + log_weights, -torch.inf
        ).logsumexp(1)
        losses = log_all - log_positive + safe.log()
    else:
        losses = log_all - (weights * torch.where(is_positive, logits, 0.0)).sum(1) / safe
    return torch.where(used, losses, 0.0), used
