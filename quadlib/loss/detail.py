"""LossDetail: what a loss value is made of, and where it stands between collapse and floor."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from quadlib.loss import bounds
from quadlib.loss.inputs import Anchors
from quadlib.loss.tiles import anchor_weights


@dataclass(frozen=True)
class LossDetail:
    """What a loss value is made of; tensors are detached and have one entry per anchor.

    Anchors are the rows of the batch, with several views n_views blocks of it, view by view. Floor,
    excess and progress exist where a batch of labels is compared with itself, all anchors alike;
    they are NaN with a mask, a memory, `against`, `ignore`, `weights` or denominator="negatives".

    Attributes:
        per_anchor: Loss of each anchor in nats, 0 where unused.
        positives: Positives of each anchor.
        used: The anchors that have a positive, and something in their denominator.
        n_used: How many those are.
        value: Their mean, as the loss reports it.
        collapse: The value where all similarities are equal.
        floor: The value that no embedding of this batch can go below.
        excess: The value above the floor, in the scale of value.
        progress: 0 at collapse, 1 at the floor.
    """

    per_anchor: Tensor
    positives: Tensor
    used: Tensor
    n_used: int
    value: float
    collapse: float
    floor: float
    excess: float
    progress: float


def loss_detail(
    anchors: Anchors,
    computed: tuple[Tensor, Tensor, Tensor],
    temperature: float,
    scale: float,
    negatives: bool,
) -> LossDetail:
    """The detail of a computed value, anchors' losses and anchors used; scale multiplies nats."""
    value_tensor, per_anchor, used = computed
    value, n_used, positives = float(value_tensor), int(used.sum()), anchors.positives()
    collapse = _collapse(anchors, used, positives, negatives) * scale
    floor = math.nan
    plain = anchors.others is None and anchors.groups is None and anchors.ignored is None
    if plain and anchors.codes is not None and anchors.importance is None and not negatives:
        labels = anchors.codes.cpu().numpy()
        floor = bounds.floor(labels, temperature, unlabelled=None) * scale if n_used else math.nan
    room = collapse - floor
    progress = (collapse - value) / room if room > 1e-9 else math.nan
    return LossDetail(
        per_anchor=per_anchor * scale,
        positives=positives,
        used=used,
        n_used=n_used,
        value=value,
        collapse=collapse,
        floor=floor,
        excess=value - floor,
        progress=progress,
    )


def _collapse(anchors: Anchors, used: Tensor, positives: Tensor, negatives: bool) -> float:
    """The mean logarithm of what an anchor is compared with; ln(N - 1) where all meet all."""
    if anchors.groups is None and anchors.ignored is None and not negatives:
        others = 0 if anchors.others is None else len(anchors.others)
        n_compared = others if anchors.alone else len(anchors.rows) - 1 + others
        return math.log(n_compared) if n_compared else math.nan
    compared = anchors.compared().sum(1) - (positives if negatives else 0)
    weight = anchor_weights(used, anchors.importance, anchors.rows.dtype)
    return (
        float((compared.clamp(min=1).to(weight.dtype).log() * weight).sum())
        if used.any()
        else math.nan
    )
