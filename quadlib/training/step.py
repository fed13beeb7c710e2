"""The one training step: autocast, scaled gradients, accumulation, clipping, skipped steps.

The trainer takes it batch by batch, its two-batch trial without the update, the doctor as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from quadlib.config import OptimiserSettings
from quadlib.data.dataset import Batch
from quadlib.loss.gradient_cache import embed_in_chunks
from quadlib.model.quad import Embeddings
from quadlib.training import ranks
from quadlib.training.objective import ObjectiveValue, QuadObjective


class Parts(Protocol):
    """What a step works on, looked up at each step, so that a part may be replaced: a Trainer."""

    model: nn.Module
    objective: QuadObjective
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    device: torch.device
    amp_dtype: torch.dtype | None
    settings: Any


def embed(parts: Parts, batch: Batch) -> Embeddings:
    """The embeddings of a batch that is on the run's device, in the run's autocast dtype; no more
    than `micro_batch` recordings are in the model at once.
    """
    size = parts.settings.micro_batch or len(batch)
    with torch.autocast(
        parts.device.type, dtype=parts.amp_dtype, enabled=parts.amp_dtype is not None
    ):
        if size >= len(batch):
            return parts.model(batch)
        chunks = map(vars, batch.split(size))  # of plain tensors, by which their device is known
        return embed_in_chunks(lambda chunk: parts.model(Batch(**chunk)), chunks)


def training_mode(parts: Parts) -> None:
    """Training mode for model and objective, except for what is frozen, whose dropout stays off."""
    parts.model.train()
    parts.objective.train()
    for name in getattr(parts.model, "frozen", ()):
        parts.model.get_submodule(name).eval()


def forward(parts: Parts, batch: Batch) -> ObjectiveValue:
    """The objective of a batch on the run's device, or of the batch that this is a process's part
    of; its value is never in half precision.
    """
    batch = batch.to(parts.device)
    embeddings, batch = ranks.whole(embed(parts, batch), batch)
    with ranks.alone():  # the batch is whole: a loss need not gather it
        return parts.objective(embeddings, batch.labels, batch.present, batch.sessions, batch.index)


def backward(parts: Parts, value: ObjectiveValue, sharing: int = 1) -> None:
    """Adds the gradients of one of `sharing` batches, so that their mean is what is stepped on."""
    parts.scaler.scale(value.total / sharing).backward()


def unscale(parts: Parts) -> None:
    """Gradients of all processes together, in the loss's own scale again; call it once, before they
    are read or clipped.
    """
    ranks.average_gradients(_parameters(parts))
    parts.scaler.unscale_(parts.optimiser)


def clip(parts: Parts) -> Tensor:
    """The norm of all gradients before they are clipped to `clip_norm` (0: they are not)."""
    return nn.utils.clip_grad_norm_(_parameters(parts), parts.settings.clip_norm or math.inf)


def _parameters(parts: Parts) -> list[nn.Parameter]:
    return [p for group in parts.optimiser.param_groups for p in group["params"]]


def update(parts: Parts) -> None:
    """Moves the weights; a step whose scaled gradients overflowed is skipped, as it must be while
    the scaler finds its scale.
    """
    parts.scaler.step(parts.optimiser)
    parts.scaler.update()


def take_step(parts: Parts, batches: Sequence[Batch]) -> Tensor:
    """One whole step over the batches that share it; the mean of their losses, detached.

    The learning rate is the one that the optimiser holds; gradients stay until the next step.
    """
    training_mode(parts)
    parts.optimiser.zero_grad(set_to_none=True)
    losses = []
    for batch in batches:
        value = forward(parts, batch)
        backward(parts, value, len(batches))
        losses.append(value.total.detach())
    unscale(parts)
    clip(parts)
    update(parts)
    return torch.stack(losses).mean()


def batches_sharing(number: int, count: int, settings: OptimiserSettings) -> int:
    """How many of an epoch's `count` batches share the optimiser step of batch `number` (from 1):
    accumulation_steps, in the last step of an epoch perhaps fewer.
    """
    first = (number - 1) // settings.accumulation_steps * settings.accumulation_steps
    return min(settings.accumulation_steps, count - first)
