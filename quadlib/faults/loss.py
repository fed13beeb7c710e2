"""Faults of the loss: what is minimised is not SupCon of unit vectors at a useful temperature."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from quadlib.faults.pipeline import Pipeline, PlainSupCon
from quadlib.faults.registry import fault
from quadlib.loss import SupConLoss


def embed_head_output(p: Pipeline, change: Callable[[Tensor], Tensor]) -> None:
    """The model gives `change` of what its head gives, in place of the unit vectors, and the loss
    takes it as it comes.
    """
    model, kept = p.trainer.model, []
    model.fused_head.register_forward_hook(lambda module, inputs, output: kept.append(output))
    model.register_forward_hook(
        lambda module, inputs, output: output._replace(fused=change(kept.pop()))
    )
    p.trainer.objective.contrast = PlainSupCon(p.settings.temperature)


@fault(
    "P1",
    stage="loss",
    code="QL-P01",
    title="the embeddings are not normalised",
    occurrence="SupContrast#50, #100, #104",
    when="T1",
)
def not_normalised(p: Pipeline) -> None:
    embed_head_output(p, lambda rows: 10 * rows)


@fault(
    "P2",
    stage="loss",
    code="QL-P02",
    title="the embeddings are normalised over the batch",
    occurrence="SupContrast#10, #141",
    when="T1",
)
def wrong_axis(p: Pipeline) -> None:
    embed_head_output(p, lambda rows: nn.functional.normalize(rows, dim=0))


@fault(
    "P3",
    stage="loss",
    code="QL-P03",
    title="the temperature is absurd",
    occurrence="temperatures copied from another loss",
    when="T1",
    exact=False,
)
def absurd_temperature(p: Pipeline) -> None:
    p.set(temperature=10.0 if p.settings.seed % 2 else 1e-3)


class Negated(SupConLoss):
    def forward(self, *arguments, **options) -> Tensor:
        return -super().forward(*arguments, **options)


@fault(
    "P6",
    stage="loss",
    code="QL-P06",
    title="the sign of the loss is flipped",
    occurrence="TheDeepChecker",
    when="T1",
)
def flipped_sign(p: Pipeline) -> None:
    p.trainer.objective.contrast = Negated(p.settings.temperature)


@fault(
    "P8",
    stage="loss",
    code="QL-P08",
    title="the value is scaled by T / base temperature",
    occurrence="SupContrast#1, #73, #135",
    when="T1",
    advice=True,
)
def scaled_value(p: Pipeline) -> None:
    p.trainer.objective.contrast = SupConLoss(p.settings.temperature, base_temperature=0.07)


class HalfPrecisionSupCon(nn.Module):
    """The softmax is written out in half precision, without the maximum taken off first."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        rows = nn.functional.normalize(embeddings, dim=1).half()
        others = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
        positive = (labels[:, None] == labels) & others
        weights = torch.exp(rows @ rows.T / self.temperature)
        probability = weights / (weights * others).sum(dim=1, keepdim=True)
        return (
            -(probability.log() * positive)
            .sum(dim=1)
            .div(positive.sum(dim=1).clamp(min=1))
            .mean()
            .float()
        )


@fault(
    "P9",
    stage="loss",
    code="QL-P09",
    title="exp in half precision at 1/T above 11.09",
    occurrence="custom SupCon under autocast",
    when="T1",
)
def half_precision(p: Pipeline) -> None:
    p.set(temperature=0.05)
    p.trainer.objective.contrast = HalfPrecisionSupCon(0.05)
