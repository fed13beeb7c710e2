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
