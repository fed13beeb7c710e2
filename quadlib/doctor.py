"""Hands our own pipeline to the diagnosis: a trainer before, during and after training, or a finished run folder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from quadlib.checkpoint import load_weights
from quadlib.data.dataset import Batch, QuadDataset, make_loader
from quadlib.diagnosis import Diagnosis, Subject, diagnose
from quadlib.files import write_json
from quadlib.restore import Restored
from quadlib.trainer import Trainer


def subject_of(trainer: Trainer, **parts: Any) -> Subject:
    """The trainer's pipeline as a subject: what it trains on, with what, and what it has recorded so far."""

    def train_step(batch: Batch) -> Tensor:
        trainer.model.train()
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


def subject_of_run(restored: Restored) -> Subject:
    """A finished or interrupted run as a subject, its weights and optimiser as they were saved."""
    settings, content = restored.settings, restored.checkpoint
    dataset = QuadDataset(restored.dataset.store, restored.dataset.normaliser, augment=settings.augment, seed=settings.seed)
    trainer = Trainer(dataset, settings, restored.run, model=restored.model)
    load_weights(trainer.objective, content["objective"], restored.run.checkpoints)
    trainer.optimiser.load_state_dict(content["optimiser"])
    return subject_of(trainer, history=restored.run.history() or None, checkpoint=content, run=restored.run.folder)


def diagnose_run(restored: Restored, *, deep: bool = False) -> Diagnosis:
    """Examines a restored run and leaves diagnosis.json in its folder."""
    diagnosis = diagnose(subject_of_run(restored), deep=deep)
    write_json(restored.run.path("diagnosis.json"), diagnosis.to_dict())
    return diagnosis
