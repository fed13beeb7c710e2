"""From settings to a dataset, and from a finished run back to its dataset and model."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from torch import nn

from quadlib.config import TrainSettings
from quadlib.data.check import Examination, examine
from quadlib.data.dataset import QuadDataset
from quadlib.data.inventory import inventory
from quadlib.data.normalise import Normaliser
from quadlib.data.open import open_table
from quadlib.data.store.store import MediaStore
from quadlib.diagnosis import Subject
from quadlib.model.quad import build_model
from quadlib.runs import Run
from quadlib.runs.commands import doctor_command
from quadlib.training.checkpoint import NAMES, CheckpointError, load_checkpoint, load_weights
from quadlib.training.content import taken_from
from quadlib.training.names import check_codes
from quadlib.training.state import HISTORY, lines_until, other_recordings, other_weights
from quadlib.training.whole import whole

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Restored:
    """A run as it was when the checkpoint was written: settings, dataset, model in evaluation mode,
    and the checkpoint itself. `subject` is what the doctor examines where these do not build it.
    """

    run: Run
    settings: TrainSettings
    dataset: QuadDataset
    model: nn.Module
    checkpoint: dict[str, Any]
    subject: Subject | None = None


def open_dataset(settings: TrainSettings) -> QuadDataset:
    """The recordings that the settings name: read, decoded once, split, and normalised with the
    statistics of the train split alone.

    Args:
        settings: source, path, splits, sizes and seed of the recordings; the rest is not read, but
            an unknown code in `allow` is refused before any file is.

    Returns:
        The dataset that a Trainer takes.

    Raises:
        SettingsError: a code in `allow` is unknown.
        TableError: everything that would spoil training, listed at once.

    Example:
        >>> from quadlib import open_dataset
        >>> from quadlib.config import TrainSettings
        >>> dataset = open_dataset(TrainSettings(source="mfeat"))
        >>> len(dataset.table.rows("train")), dataset.modalities
        (480, ('fou', 'kar', 'mor', 'zer'))
    """
    check_codes(settings)
    examined = examine(settings)
    for line in inventory(examined.table, examined.store):
        log.info(line)
    examined.raise_problems()
    return dataset_of(examined, settings)


def dataset_of(examined: Examination, settings: TrainSettings) -> QuadDataset:
    """The dataset of recordings that were examined and may be trained on."""
    store = MediaStore.checked(examined.store, settings)
    normaliser = Normaliser.fit(
        store.arrays,
        store.present,
        store.table.modalities,
        store.table.rows("train"),
        soft=settings.vector_scale == "soft",
    )
    return QuadDataset(store, normaliser, augment=settings.augment, seed=settings.seed)


def restore(run: Run, checkpoint: str = "best", *, model: nn.Module | None = None) -> Restored:
    """A run's model exactly as it was saved, in evaluation mode, with the recordings that it was
    trained on and the checkpoint's own normaliser; of a refit, val belongs to train.

    No code that a file names is run: the model is built from its registered name in the settings,
    or given here.

    Args:
        run: a run that was trained, as `Run.open` gives it.
        checkpoint: "best" or "latest".
        model: the module to load the weights into, for a run whose Trainer was given a model that
            its settings do not build.

    Returns:
        The run's settings, dataset, model and checkpoint content.

    Raises:
        CheckpointError: the checkpoint is missing or damaged, does not fit the model, the history
            lacks lines that it was written with, the recordings are not the same any more, or a
            fault was injected into the run.
        SettingsError: the model, loss or source that the run names is not registered in this
            process; import the module that registers it.

    Example:
        >>> from quadlib import Run, Trainer, log_to_stdout, open_dataset, restore
        >>> from quadlib.config import TrainSettings
        >>> settings = TrainSettings(source="mfeat", run="digits", outputs="outputs", epochs=1)
        >>> trainer = Trainer(open_dataset(settings), settings, Run.create(settings))
        >>> log_to_stdout()
        >>> result = trainer.fit()
        epoch   1/1 ...
        >>> restored = restore(Run.open("digits", "outputs"), "latest")
        >>> restored.checkpoint["epoch"], restored.model.training
        (1, False)
    """
    if fault := run.record.get("fault"):
        raise CheckpointError(
            f"{run.name} was trained with the injected fault {fault}, which its settings do not "
            f"hold; look at it with `{doctor_command(run)}`, and train anew for a score"
        )
    path = run.checkpoints / NAMES[checkpoint]
    content = load_checkpoint(path)
    lines_until(run.path(HISTORY), content, path)  # what is read of the run belongs to its weights
    settings = run.settings(TrainSettings)
    foreign = content.get("foreign_model", "")
    if foreign and model is None:
        raise CheckpointError(
            f"{path} was trained with a model that its settings do not build ({foreign}); pass one "
            "like it: restore(run, model=...) or evaluate(run, model=...)"
        )
    table = open_table(settings)
    if content.get("refit_epochs"):
        table = whole(table)
    store = MediaStore.open(table, settings)
    with taken_from(path):
        fingerprint = content["fingerprint"]
        normaliser = Normaliser.from_state_dict(content["normaliser"])
    if store.fingerprint != fingerprint:
        raise CheckpointError(
            f"{path} was trained on other data than {table.name} holds now, which differ in "
            f"{other_recordings(run, store)}; bring them back, or train anew"
        )
    with taken_from(path):
        changed = other_weights(content, store.table)
    if changed:
        raise CheckpointError(
            f"{path} was trained with other weights than are here: {'; '.join(changed)}. Bring "
            "them back, or train anew"
        )
    dataset = QuadDataset(store, normaliser, augment=False, seed=settings.seed)
    model = build_model(store.table, settings) if model is None else model
    with taken_from(path):
        load_weights(model, content["model"], path)
    return Restored(run, settings, dataset, model.eval(), content)
