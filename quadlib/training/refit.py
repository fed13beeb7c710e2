"""The refit: the validation recordings, once they have told how long to train, are trained on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from quadlib.training.best import kept_value
from quadlib.training.state import record_start
from quadlib.training.whole import take_whole

if TYPE_CHECKING:
    from quadlib.training.trainer import Trainer

log = logging.getLogger(__name__)


def begin_refit(trainer: Trainer) -> bool:
    """Brings a trainer at its end back to its first weights, to train on train and val for as many
    epochs as were best on val, by the same schedule; False where the settings ask for none.

    best_model.pth is the refitted model once its last epoch is over, and the one that was best on
    val until then. run.json records when, how many epochs, and what chose them.
    """
    if not trainer.settings.refit or trainer.validator is None:
        return False
    epochs, monitor = trainer.best_epoch - trainer.began, trainer.monitor
    best = trainer.best_epoch, trainer.best_value, trainer.epochs_without_better
    trainer.refit_epochs, trainer.refit_from = epochs, trainer.began
    take_whole(trainer)
    trainer.first_weights.restore(trainer)
    trainer.best_epoch, trainer.best_value, trainer.epochs_without_better = best
    record_start(trainer)
    recordings = len(trainer.dataset.table.rows("train"))
    trainer.run.update(
        refit={
            "began": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "epochs": epochs,
            "monitor": monitor,
            "value": kept_value(trainer),
            "recordings": recordings,
        }
    )
    log.info(
        f"refit: anew on the {recordings:,} recordings of train and val, for {epochs} epoch(s), "
        f"which were best by {monitor}"
    )
    return True


def figures_before(trainer: Trainer) -> Mapping[str, Any]:
    """The figures of the epoch before the present one; in a refit, which validates nothing, those
    of the same epoch of the attempt that chose its length.
    """
    if not trainer.refit_epochs:
        return trainer.history[-1]
    epoch = trainer.refit_from + trainer.epoch - trainer.began - 1
    lines = (line for line in trainer.history if line["kind"] == "epoch")
    return next((line for line in lines if line["epoch"] == epoch), {})
