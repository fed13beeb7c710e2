"""AdamW over named parameter groups, and the learning rate of every step as a pure function."""

from __future__ import annotations

import math

import torch
from torch import nn

from quadlib.config import OptimiserSettings

DECAYED = (nn.Linear, nn.Conv1d, nn.Conv2d)


def parameter_groups(model: nn.Module, settings: OptimiserSettings) -> list[dict]:
    """AdamW groups of the trainable parameters: `encoders.*` at learning_rate x
    encoder_rate_factor, the rest at learning_rate.

    Only weight matrices decay; biases, norms, tokens, queries and positions do not. Each group has
    `name`, `lr` (the peak rate) and `weight_decay`; a group that would be empty is left out.
    """
    decayed = {id(module.weight) for module in model.modules() if isinstance(module, DECAYED)}
    groups: dict[str, dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        encoder, decays = name.startswith("encoders."), id(parameter) in decayed
        rate = settings.learning_rate * (settings.encoder_rate_factor if encoder else 1.0)
        key = ("encoders" if encoder else "rest") + (" decayed" if decays else " plain")
        group = groups.setdefault(
            key,
            {
                "name": key,
                "params": [],
                "lr": rate,
                "weight_decay": settings.weight_decay if decays else 0.0,
            },
        )
        group["params"].append(parameter)
    return list(groups.values())


def build_optimiser(
    model: nn.Module, objective: nn.Module, settings: OptimiserSettings
) -> torch.optim.AdamW:
    """AdamW over the model's and the objective's trainable parameters; raises ValueError where all
    are frozen.
    """
    groups = parameter_groups(model, settings)
    if not groups:
        raise ValueError(
            "freeze leaves no trainable parameter in the model; unfreeze at least one module"
        )
    objective_parameters = [
        parameter for parameter in objective.parameters() if parameter.requires_grad
    ]
    if objective_parameters:
        groups.append(
            {
                "name": "objective",
                "params": objective_parameters,
                "lr": settings.learning_rate,
                "weight_decay": 0.0,
            }
        )
    # one kernel an update in place of a dozen a tensor: a fifth of the step of a small model
    return torch.optim.AdamW(groups, fused=True)


def learning_rate_factor(step: int, total_steps: int, settings: OptimiserSettings) -> float:
    """The learning rate of optimiser step `step` (from 0) as a factor of the peak: linear warm-up,
    then cosine.

    Warm-up takes `warmup_steps`, at most half of all steps; the cosine ends at
    `final_rate_fraction` in the last step.
    """
    warmup = min(settings.warmup_steps, total_steps // 2)
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, total_steps - 1 - warmup))
    return settings.final_rate_fraction + (1 - settings.final_rate_fraction) * 0.5 * (
        1 + math.cos(math.pi * done)
    )
