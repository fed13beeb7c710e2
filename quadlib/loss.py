"""SupConLoss: the supervised contrastive loss of Khosla et al. 2020, with everything a value needs to be read beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from quadlib import bounds
from quadlib.loss_inputs import Anchors, read_anchors
from quadlib.loss_terms import anchor_losses


@dataclass(frozen=True)
class LossDetail:
    """What a loss value is made of; tensors are detached and have one entry per anchor (n_views blocks of the batch, view by view).

    per_anchor: loss of each anchor in nats, 0 where unused. positives: positives of each anchor. used: the anchors that have a positive.
    n_used: how many. value: their mean, as the loss reports it. collapse, floor, progress: see bounds; floor and progress are NaN
    where positives come from a mask. excess: value above the floor, in the scale of value.
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


class SupConLoss(nn.Module):
    """The mean over anchors that have a positive of -(1/|P|) sum over positives of log softmax(z_i . z_p / T); lone anchors leave the mean.

    temperature T. base_temperature: the value is multiplied by T / base_temperature where given (SupContrast's default is 0.07; ours is no factor).
    variant: L_out or L_in (the mean over positives inside the logarithm) of Khosla et al. 2020 (arXiv 2004.11362).
    unlabelled: rows with this label are no class: they are positives of their own other views alone, and negatives of all others.
    Half precision is computed in float32. Without any positive the value is a zero that keeps the graph.
    """

    def __init__(self, temperature: float = 0.07, *, base_temperature: float | None = None, variant: Literal["out", "in"] = "out",
                 unlabelled: int = -1) -> None:
        super().__init__()
        problems = [f"{name} is {value!r}; a finite number above 0 was expected" for name, value in
                    (("temperature", temperature), ("base_temperature", base_temperature))
                    if value is not None and not (value > 0 and math.isfinite(value))]
        if variant not in ("out", "in"):
            problems.append(f"variant is {variant!r}; 'out' or 'in' was expected")
        if problems:
            raise ValueError("; ".join(problems))
        self.temperature, self.base_temperature, self.variant, self.unlabelled = temperature, base_temperature, variant, unlabelled

    def forward(self, embeddings: Tensor, labels: Any = None, *, mask: Tensor | None = None, n_views: int | None = None) -> Tensor:
        """The loss in nats, a scalar in float32 (float64 for float64 embeddings).

        embeddings: (N, D), or (N, V, D) with V views of each sample; (V*N, D) with n_views=V holds the views one after the other. Normalised inside.
        labels: one per sample, any integer dtype, strings, or a boolean (N, L) matrix of several labels each (positives share one);
        None makes a sample's other views its positives (NT-Xent). mask: (N, N), mask[i, j] weighs j as a positive of i, instead of labels.
        """
        anchors = read_anchors(embeddings, labels, mask, n_views, self.unlabelled)
        losses, used = self._anchor_losses(anchors)
        return torch.where(used, losses, 0.0).sum() / used.sum().clamp(min=1) * self._scale()

    @torch.no_grad()
    def detail(self, embeddings: Tensor, labels: Any = None, *, mask: Tensor | None = None, n_views: int | None = None) -> LossDetail:
        """The value of the loss with its parts: per anchor, positives, anchors used, and its place between collapse and floor."""
        anchors = read_anchors(embeddings, labels, mask, n_views, self.unlabelled)
        losses, used = self._anchor_losses(anchors)
        per_anchor = torch.where(used, losses, 0.0) * self._scale()
        n_used, n_anchors = int(used.sum()), len(anchors.rows)
        value = float(per_anchor.sum() / max(n_used, 1))
        collapse = bounds.collapse_value(n_anchors) * self._scale() if n_anchors > 1 else math.nan
        floor = math.nan
        if anchors.codes is not None and n_used:
            counts = torch.unique(anchors.codes, return_counts=True)[1].cpu().numpy()
            floor = float(bounds.floor_of_counts(counts, self.temperature)) * self._scale()
        room = collapse - floor
        return LossDetail(per_anchor, anchors.positives(), used, n_used, value, collapse, floor, value - floor,
                          (collapse - value) / room if n_used and room > 1e-9 else math.nan)

    def _anchor_losses(self, anchors: Anchors) -> tuple[Tensor, Tensor]:
        return anchor_losses(anchors, self.temperature, self.variant)

    def _scale(self) -> float:
        return 1.0 if self.base_temperature is None else self.temperature / self.base_temperature

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, base_temperature={self.base_temperature}, variant={self.variant!r}"
