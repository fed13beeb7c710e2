"""The loss of every anchor, written as the formula: the similarity matrix, its log-sum-exp and its positives."""

from __future__ import annotations

import torch
from torch import Tensor

from quadlib.loss_inputs import Anchors


def anchor_losses(anchors: Anchors, temperature: float | Tensor, variant: str) -> tuple[Tensor, Tensor]:
    """Loss per anchor (N,), and which anchors have a positive (N,) bool; the loss of the others is not defined."""
    rows = anchors.rows
    logits = (rows @ rows.T / temperature).fill_diagonal_(-torch.inf)
    weights = anchors.weights
    if weights is None:
        assert anchors.codes is not None
        weights = (anchors.codes[:, None] == anchors.codes[None]).to(rows.dtype).fill_diagonal_(0)
    total = weights.sum(1)
    used = total > 0
    log_all = logits.logsumexp(1)
    if variant == "in":
        log_positives = torch.where(weights > 0, logits + weights.clamp(min=1e-30).log(), -torch.inf)
        log_positives = torch.where(used[:, None], log_positives, 0.0).logsumexp(1) - total.clamp(min=1e-30).log()
        return log_all - log_positives, used
    mean_positive = (weights * logits.masked_fill(weights == 0, 0.0)).sum(1) / total.clamp(min=1e-30)
    return log_all - mean_positive, used
