"""From settings to a dataset, and from a finished run back to its dataset and model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from quadlib.config import TrainSettings
from quadlib.data.dataset import QuadDataset
from quadlib.data.normalise import Normaliser
from quadlib.data.open import check_trainable, open_table
from quadlib.data.samples import TableError
from quadlib.data.store.store import MediaStore
from quadlib.model.quad import QuadModel
from quadlib.runs import Run
from quadlib.training.checkpoint import NAMES, CheckpointError, load_checkpoint, load_weights


@dataclass(frozen=True)
class Restored:
    """A run as it was when the checkpoint was written: settings, dataset, model in evaluation mode,
    and the checkpoint itself.
    """

    run: Run
    settings: TrainSettings
    dataset: QuadDataset
    model: QuadModel
    checkpoint: dict[str, Any]


def open_dataset(settings: TrainSettings) -> QuadDataset:
    """Reads, decodes once, splits and normalises (with statistics of train alone) the recordings
    that the settings name.

    Raises TableError listing everything that would spoil training, before any step.
    """
    table = open_table(settings)
    problems = check_trainable(table, settings)
    if problems:
        raise TableError(
            f"{table.name} cannot be trained on:\n"
            + "\n".join(f"  {problem}" for problem in problems)
        )
    store = MediaStore.open(table, settings)
    normaliser = Normaliser.fit(
        store.arrays, store.present, store.table.modalities, store.table.rows("train")
    )
    return QuadDataset(store, normaliser, augment=settings.augment, seed=settings.seed)


def restore(run: Run, checkpoint: str = "best") -> Restored:
    """Loads a run's best (or latest) model with the recordings it was trained on; the normaliser is
    the checkpoint's own.

    Raises CheckpointError when the checkpoint is missing, damaged, or the recordings are not the
    same any more.
    """
    path = run.checkpoints / NAMES[checkpoint]
    content = load_checkpoint(path)
    settings = run.settings(TrainSettings)
    table = open_table(settings)
    store = MediaStore.open(table, settings)
    if store.table.fingerprint != content["fingerprint"]:
        raise CheckpointError(
            f"{path} was trained on other recordings, labels or splits than {table.name} holds "
            "now; bring them back, or train anew"
        )
    dataset = QuadDataset(
        store, Normaliser.from_state_dict(content["normaliser"]), augment=False, seed=settings.seed
    )
    model = QuadModel.from_table(store.table, settings)
    load_weights(model, content["model"], path)
    return Restored(run, settings, dataset, model.eval(), content)
