"""How much rows differ: by their cosines, and by their variance over the batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize


def cosine_spread(rows: Tensor) -> float:
    """Standard deviation of the cosines of all pairs of different rows (n, d): about 0 when all are
    equal, NaN for fewer than two.
    """
    unit = normalize(rows.detach().float(), dim=1)
    if len(unit) < 2:
        return math.nan
    cosines = unit @ unit.T
    return float(cosines[~torch.eye(len(unit), dtype=torch.bool, device=unit.device)].std())


def variation(values: Tensor) -> float:
    """Variance over the first dimension as a share of the mean square; 0 for zeros, NaN where not
    finite.
    """
    rows = values.detach().float()
    rows = rows.flatten(1) if rows.ndim > 1 else rows[:, None]
    power = float(rows.square().mean())
    return float(rows.var(dim=0, unbiased=False).mean()) / power if power > 0 else power
