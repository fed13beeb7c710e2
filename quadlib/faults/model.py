"""Faults of the model: a part of it does not learn, or gives the same for every input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quadlib.faults.pipeline import Pipeline
from quadlib.faults.registry import fault


@fault(
    "N1",
    stage="model",
    code="QL-N01",
    title="everything is frozen but the norms",
    occurrence="PyTorch forum 84911",
    when="T0",
)
def all_frozen(p: Pipeline) -> None:
    for module in p.trainer.model.modules():
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_("Norm" in type(module).__name__)
    p.rebuild_optimiser()


@fault(
    "N2",
    stage="model",
    code="QL-N02",
    title="an encoder is not in the optimiser",
    occurrence="HVPNeT#5, Accelerate#2665",
    when="Tk",
)
def not_in_optimiser(p: Pipeline) -> None:
    left_out = {id(parameter) for parameter in p.trainer.model.encoders[p.modality].parameters()}
    for group in p.trainer.optimiser.param_groups:
        group["params"] = [
            parameter for parameter in group["params"] if id(parameter) not in left_out
        ]


@fault(
    "N3",
    stage="model",
    code="QL-N03",
    title="a branch is detached",
    occurrence="Ada-CM#8",
    when="Tk",
)
def detached(p: Pipeline) -> None:
    p.trainer.model.encoders[p.modality].register_forward_hook(
        lambda module, inputs, output: output.detach()
    )


@fault(
    "N4",
    stage="model",
    code="QL-N04",
    title="the head gives one constant",
    occurrence="SupContrast#21",
    when="T1",
)
def constant_output(p: Pipeline) -> None:
    nn.init.zeros_(p.trainer.model.fused_head[-1].weight)


class FrozenStatistics(nn.BatchNorm1d):
    """Batch normalisation that someone put into eval mode for good."""

    def train(self, mode: bool = True) -> FrozenStatistics:
        return super().train(False)


@fault(
    "N5",
    stage="model",
    code="QL-N05",
    title="batch normalisation is in eval mode while training",
    occurrence="pytorch#4741",
    when="T1",
)
def batch_norm_in_eval(p: Pipeline) -> None:
    head = p.trainer.model.fused_head
    head.insert(0, FrozenStatistics(p.settings.width).eval())
    p.rebuild_optimiser()


@fault(
    "N6",
    stage="model",
    code="QL-N06",
    title="an encoder starts from constant weights",
    occurrence="TheDeepChecker, TrainCheck: the Mamba case",
    when="T0",
)
def constant_weights(p: Pipeline) -> None:
    for parameter in p.trainer.model.encoders[p.modality].parameters():
        if parameter.ndim > 1:
            nn.init.constant_(parameter, 0.02)


class Concatenation(nn.Module):
    """Early fusion: all tokens side by side into one layer."""

    def __init__(self, n_modalities: int, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(n_modalities * width, width)

    def forward(self, tokens: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        held = tokens.masked_fill(~present[..., None], 0.0)
        return self.mix(held.flatten(1)), present / present.sum(dim=1, keepdim=True)


@fault(
    "N7",
    stage="model",
    code="QL-N07",
    title="one modality is 100 times louder than the others",
    occurrence="OGM-GE, Du et al.",
    when="Te",
    exact=False,
)
def one_dominates(p: Pipeline) -> None:
    model = p.trainer.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.settings.seed)
        model.fusion = Concatenation(len(model.modalities), p.settings.width)
    model.encoders[p.modality].register_forward_hook(lambda module, inputs, output: 100 * output)
    p.rebuild_optimiser()
    p.train(epochs=2)
