"""The trial before the first step: a wrong setting fails in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from quadlib.config import DataSettings
from quadlib.runs.commands import check_command
from quadlib.training import ranks, step
from quadlib.training.device import seed_everything
from quadlib.training.errors import TrainingError

if TYPE_CHECKING:
    from quadlib.training.trainer import Trainer


def try_two_batches(trainer: Trainer) -> None:
    """Embeds and differentiates two batches without a step; raises TrainingError where a loss is
    not finite.
    """
    seed_everything(trainer.settings.seed, 0)
    for number, rows in enumerate(trainer.batches, start=1):
        value = step.forward(trainer, trainer.dataset.__getitems__(ranks.own(rows)))
        if not torch.isfinite(value.total):
            raise TrainingError(
                f"the loss of batch {number} is {float(value.total)} before any step; look for "
                "values that are not finite in the recordings: "
                + check_command(trainer.settings.changed(DataSettings))
            )
        step.backward(trainer, value)
        if number == 2:
            break
    trainer.optimiser.zero_grad(set_to_none=True)
