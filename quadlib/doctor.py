"""Hands our own pipeline to the diagnosis: a trainer before, during and after training, or a finished run folder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from quadlib.checkpoint import NAMES, load_checkpoint, load_weights
from quadlib.config import TrainSettings
from quadlib.data.dataset import Batch, QuadDataset, make_loader
from quadlib.data.open import open_table
from quadlib.data.store import MediaStore
from quadlib.data.transforms import Normaliser
from quadlib.diagnosis import Diagnosis, Subject, diagnose
from quadlib.files import write_json
from quadlib.runs import Run
from quadlib.trainer import Trainer


def subject_of(trainer: Trainer, **parts: Any) -> Subject:
    """The trainer's pipeline as a subject: what it trains on, with what, and what it has recorded so far."""

    def train_step(batch: Batch) -> Tensor:
        batch = batch.to(trainer.device)
        trainer.optimiser.zero_grad(set_to_none=True)
        value = trainer.objective(trainer.model(batch), batch.labels, batch.present)
        value.total.backward()
        if trainer.settings.clip_norm:
            torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), trainer.settings.clip_norm)
        trainer.optimiser.step()
        return value.total.detach()

    loader = make_loader(trainer.dataset, trainer.batches, seed=trainer.settings.seed)
    given: dict[str, Any] = {
        "table": trainer.dataset.table, "batch_sampler": trainer.batches, "loader": loader, "model": trainer.model,
        "loss": trainer.objective.contrast, "optimizer": trainer.optimiser, "settings": trainer.settings,
        "history": trainer.history or None, "train_step": train_step, "embed": lambda model, batch: model(batch.to(trainer.device)).fused,
        "name": trainer.run.name}
    return Subject(**{**given, **parts})


def subject_of_run(run: Run, checkpoint: str = "latest") -> Subject:
    """A finished or interrupted run as a subject, its weights and optimiser as they were saved."""
    settings = run.settings(TrainSettings)
    content = load_checkpoint(run.checkpoints / NAMES[checkpoint])
    store = MediaStore.open(open_table(settings), settings)
    dataset = QuadDataset(store, Normaliser.from_state_dict(content["normaliser"]), augment=settings.augment, seed=settings.seed)
    trainer = Trainer(dataset, settings, run)
    load_weights(trainer.model, content["model"], run.checkpoints / NAMES[checkpoint])
    load_weights(trainer.objective, content["objective"], run.checkpoints / NAMES[checkpoint])
    trainer.optimiser.load_state_dict(content["optimiser"])
    return subject_of(trainer, history=run.history() or None, checkpoint=content, run=run.folder)


def diagnose_run(run: Run, *, checkpoint: str = "latest", deep: bool = False) -> Diagnosis:
    """Examines a run folder and leaves diagnosis.json in it."""
    diagnosis = diagnose(subject_of_run(run, checkpoint), deep=deep)
    write_json(run.path("diagnosis.json"), diagnosis.to_dict())
    return diagnosis
