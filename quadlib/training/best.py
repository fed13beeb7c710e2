"""Validation after an epoch, and which epoch is the best so far."""

from __future__ import annotations

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
    # Of equal epochs the later one is kept: scores saturate on few recordings while embeddings
    # still improve.
    best, better = (
        value >= trainer.best_value or trainer.best_epoch == 0,
        value > trainer.best_value,
    )
    record["best"] = best
    trainer.epochs_without_better = 0 if better else trainer.epochs_without_better + 1
    if best:
        trainer.best_epoch, trainer.best_value = trainer.epoch, value
    trainer.history.append(record)
    save_epoch(trainer, seconds, best)
