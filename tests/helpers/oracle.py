"""SupCon written anchor by anchor, in float64: what every faster form is held against."""

from __future__ import annotations

import torch
from torch import Tensor


def supcon_oracle(
    rows: Tensor,
    codes: Tensor,
    temperature: float | Tensor,
    variant: str,
    keys: Tensor | None = None,
    key_codes: Tensor | None = None,
) -> Tensor:
    """The mean over anchors with a positive of L_out or L_in (Khosla et al. 2020), straight from
    the paper.
    """
    rows = rows.double()
    rows = rows / rows.norm(dim=1, keepdim=True)
    others, other_codes = rows, codes
    if keys is not None and key_codes is not None:
        others = torch.cat([rows, keys.double() / keys.double().norm(dim=1, keepdim=True)])
        other_codes = torch.cat([codes, key_codes])
    losses = []
    for i in range(len(rows)):
        similarity = others @ rows[i] / temperature
        compared = torch.arange(len(others)) != i
        positive = compared & (other_codes == codes[i])
        if not positive.any():
            continue
        log_denominator = torch.logsumexp(similarity[compared], 0)
        log_probability = similarity[positive] - log_denominator
        losses.append(
            -log_probability.mean()
            if variant == "out"
            else -(log_probability.logsumexp(0) - positive.sum().double().log())
        )
    return torch.stack(losses).mean() if losses else rows.sum() * 0


def pairs_oracle(
    rows: Tensor,
    columns: Tensor,
    compared: Tensor,
    positives: Tensor,
    temperature: float | Tensor,
    variant: str,
    denominator: str,
    importance: Tensor | None = None,
) -> Tensor:
    """The same for any pairs: rows (N, D) against columns (K, D), which of them are compared (N, K)
    bool, the weights of the positives (N, K), and what each anchor counts in the mean (N,).
    """
    rows = rows.double() / rows.double().norm(dim=1, keepdim=True)
    columns = columns.double() / columns.double().norm(dim=1, keepdim=True)
    losses, counts = [], []
    for i in range(len(rows)):
        similarity = columns @ rows[i] / temperature
        positive = compared[i] & (positives[i] > 0)
        below = compared[i] & ~positive if denominator == "negatives" else compared[i]
        if not positive.any() or not below.any():
            continue
        share = positives[i][positive].double()
        share = share / share.sum()
        log_probability = similarity[positive] - torch.logsumexp(similarity[below], 0)
        losses.append(
            -(share * log_probability).sum()
            if variant == "out"
            else -torch.logsumexp(log_probability + share.log(), 0)
        )
        counts.append(1.0 if importance is None else float(importance[i]))
    if not sum(counts):
        return rows.sum() * 0 + columns.sum() * 0
    weight = torch.tensor(counts, dtype=torch.float64)
    return (torch.stack(losses) * weight).sum() / weight.sum()
