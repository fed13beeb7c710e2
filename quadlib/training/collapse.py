"""A run that lies on its collapse plateau, where the gradient is 0: seen, and begun again."""

from __future__ import annotations

import copy
import logging
import math
from typing import TYPE_CHECKING

from quadlib.training.errors import TrainingError
from quadlib.training.optimiser import build_optimiser

if TYPE_CHECKING:
    from quadlib.training.trainer import Trainer

log = logging.getLogger(__name__)

PLATEAU_PROGRESS = 0.02  # of an epoch; a run that learns passes it within the first
PLATEAU_EPOCHS, PLATEAU_STEPS = 2, 40  # on it for at least so many of both
RESTART_RATE = 0.25  # of the learning rate
RESTART_GATE = 0.1  # own progress from which a modality enters the cross term after a restart


def collapsed(trainer: Trainer) -> bool:
    """Whether the last two epochs after warm-up, or more where they are short, made no progress
    though their batches hold several classes.

    An epoch has a progress only where the loss has bounds and the floor of its batches lies below
    the plateau, which takes two classes.
    """
    warmup = min(trainer.settings.warmup_steps, trainer.total_steps // 2)
    settled = trainer.began + math.ceil(warmup / trainer.steps_per_epoch)
    epochs = max(PLATEAU_EPOCHS, math.ceil(PLATEAU_STEPS / trainer.steps_per_epoch))
    last = [
        line.get("progress")
        for line in trainer.history
        if line["kind"] == "epoch" and line["epoch"] > settled
    ][-epochs:]
    return len(last) == epochs and all(
        value is not None and value < PLATEAU_PROGRESS for value in last
    )


class FirstWeights:
    """A trainer's model and objective as they were before the first step."""

    def __init__(self, trainer: Trainer) -> None:
        self.model = copy.deepcopy(trainer.model.state_dict())
        self.objective = copy.deepcopy(trainer.objective.state_dict())

    def restore(self, trainer: Trainer) -> None:
        """Brings the trainer back to them, after its present epoch, at its present restart."""
        trainer.model.load_state_dict(self.model)
        trainer.objective.load_state_dict(self.objective)
        trainer.optimiser = build_optimiser(trainer.model, trainer.objective, trainer.settings)
        trainer.began = trainer.epoch
        trainer.best_epoch, trainer.best_value, trainer.epochs_without_better = 0, -math.inf, 0


def raise_gate(trainer: Trainer) -> None:
    """After a restart, modalities enter the cross term later."""
    if trainer.restarts:
        trainer.objective.gate = max(trainer.objective.gate, RESTART_GATE)


def heed_collapse(trainer: Trainer) -> None:
    """Restarts a trainer that has collapsed from its first weights, at a quarter of the rate, and
    says so; or raises TrainingError, or does nothing, as `on_collapse` says.

    Asked of the history, so that a resumed run does what the uninterrupted one does. A run has
    one restart (a second one, at a sixteenth of the rate, learned less where it was tried); one
    whose rate is 0, or whose fused term is switched off, has none.
    """
    settings = trainer.settings
    if settings.on_collapse == "continue" or not settings.learning_rate:
        return
    if not trainer.judged_by_excess or not collapsed(trainer):
        return
    what = (
        f"epoch {trainer.epoch}: the embeddings collapsed; the last epochs made no progress from "
        "the plateau"
    )
    if settings.on_collapse == "stop":
        raise TrainingError(
            f"{what}, and on_collapse is 'stop'; the last checkpoint is whole. Set learning_rate="
            f"{settings.learning_rate * RESTART_RATE:g}, a quarter, or on_collapse='restart'"
        )
    if trainer.restarts:
        return
    trainer.restarts = 1
    trainer.first_weights.restore(trainer)
    raise_gate(trainer)
    log.warning(
        f"{what}. Training begins again from the first weights, once, at learning rate "
        f"{settings.learning_rate * RESTART_RATE:g}; a modality enters the cross term once its own "
        f"progress is {trainer.objective.gate:.0%}. on_collapse='stop' or 'continue' turns this off"
    )
