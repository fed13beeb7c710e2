"""Validation after an epoch, and which epoch is the best so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from quadlib.training.errors import TrainingError
from quadlib.training.state import save_epoch

if TYPE_CHECKING:
    from quadlib.training.trainer import Trainer

HIGHER_IS_BETTER = ("val_macro_f1", "val_map_at_r")


def validate(trainer: Trainer) -> dict[str, float]:
    """The validator's figures, none in a refit; raises TrainingError where they lack the
    monitor.
    """
    if trainer.validator is None or trainer.refit_epochs:
        return {}
    figures = trainer.validator(trainer.model, trainer.dataset)
    if trainer.monitor not in figures:
        raise TrainingError(
            f"monitor: the validator gives {', '.join(figures) or 'nothing'}, not "
            f"{trainer.monitor!r}; choose one of them"
        )
    return figures


def keep_epoch(trainer: Trainer, record: dict[str, Any], seconds: Mapping[str, float]) -> None:
    """Judges an epoch by the monitor, and writes what it left."""
    if trainer.refit_epochs:
        record["best"] = trainer.epoch == trainer.last_epoch
        trainer.history.append(record)
        save_epoch(trainer, seconds, record["best"])
        return
    if trainer.monitor not in record:
        raise TrainingError(
            f"monitor {trainer.monitor!r} has no value: no batch of epoch {trainer.epoch} holds a "
            f"positive pair; raise min_per_class ({trainer.settings.min_per_class}) or batch_size "
            f"({trainer.settings.batch_size})"
        )
    value = trainer.sign * record[trainer.monitor]
    # Of epochs within a standard error of the highest the latest is kept (Breiman et al. 1984): the
    # highest of many is luck, while the embeddings still improve.
    error = record.get(f"{trainer.monitor}_error", 0.0)
    record["best"] = value >= trainer.best_value - error or trainer.best_epoch == 0
    trainer.epochs_without_better += 1
    if value > trainer.best_value:
        trainer.best_value, trainer.epochs_without_better = value, 0
    if record["best"]:
        trainer.best_epoch = trainer.epoch
    trainer.history.append(record)
    save_epoch(trainer, seconds, record["best"])


def kept_value(trainer: Trainer) -> float:
    """The monitor of the epoch that is kept, NaN where there is none."""
    return next(
        (
            line[trainer.monitor]
            for line in trainer.history
            if line["kind"] == "epoch" and line["epoch"] == trainer.best_epoch
        ),
        math.nan,
    )
