"""Faults of the optimiser: steps that are none, too large, or taken on something else."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from quadlib.data.dataset import Batch
from quadlib.faults.pipeline import Pipeline
from quadlib.faults.registry import fault


@fault(
    "O1",
    stage="optimiser",
    code="QL-O01",
    title="the learning rate is so high that all embeddings collapse at once",
    occurrence="SupContrast#3, #42, #83, positional_cl#5",
    when="Tk",
    exact=False,
)
def instant_collapse(p: Pipeline) -> None:
    p.set(learning_rate=1.0, warmup_steps=0)


@fault(
    "O2",
    stage="optimiser",
    code="QL-O02",
    title="the learning rate is 0",
    occurrence="trainproof lr_zero",
    when="Tk",
)
def no_learning_rate(p: Pipeline) -> None:
    p.set(learning_rate=0.0)


@fault(
    "O4",
    stage="optimiser",
    code="QL-O04",
    title="the optimiser steps on the weights of an earlier model",
    occurrence="Accelerate#2665",
    when="T0",
)
def stale_optimiser(p: Pipeline) -> None:
    p.trainer.model = copy.deepcopy(p.trainer.model)


def step_with(p: Pipeline, before: Any = None, after: Any = None) -> None:
    """Gives the subject the trainer's own step with something done before or after the
    optimiser's.
    """
    trainer = p.trainer

    def train_step(batch: Batch) -> Tensor:
        trainer.optimiser.zero_grad(set_to_none=True)
        value = trainer.objective(trainer.model(batch), batch.labels, batch.present)
        value.total.backward()
        if before is not None:
            before()
        trainer.optimiser.step()
        if after is not None:
            after()
        return value.total.detach()

    p.parts["train_step"] = train_step


@fault(
    "O5",
    stage="optimiser",
    code="QL-O05",
    title="a schedule of epochs is stepped every batch",
    occurrence="h2o-llmstudio#663",
    when="Te",
)
def schedule_per_batch(p: Pipeline) -> None:
    epochs, batches = p.settings.epochs, len(p.trainer.batches)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(p.trainer.optimiser, T_max=epochs)
    step_with(p, after=scheduler.step)
    p.parts["scheduler"] = scheduler
    p.train(epochs=1)
    peak = p.settings.learning_rate
    losses = [line for line in p.trainer.history if line["kind"] == "step"]
    steps = max(2 * batches, 2 * epochs)
    p.parts["history"] = [
        {
            **losses[step % len(losses)],
            "epoch": 1 + step // batches,
            "learning_rate": peak * (1 + math.cos(math.pi * step / epochs)) / 2
            if step <= epochs
            else 0.0,
        }
        for step in range(steps)
    ]


@fault(
    "O6",
    stage="optimiser",
    code="QL-O06",
    title="weight decay outweighs the gradient",
    occurrence="weight_decay=1 with SGD",
    when="Tk",
    exact=False,
)
def weight_decay_dominates(p: Pipeline) -> None:
    p.set(weight_decay=1.0)
    p.use_optimiser(torch.optim.SGD(p.trainer.model.parameters(), lr=0.05, weight_decay=1.0))


@fault(
    "O7",
    stage="optimiser",
    code="QL-O07",
    title="the gradient scaler skips every step",
    occurrence="loss scale that never recovers",
    when="Tk",
)
def every_step_skipped(p: Pipeline) -> None:
    trainer = p.trainer
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, backoff_factor=0.999)

    def train_step(batch: Batch) -> Tensor:
        trainer.optimiser.zero_grad(set_to_none=True)
        value = trainer.objective(trainer.model(batch), batch.labels, batch.present)
        scaler.scale(value.total * 1e6).backward()
        scaler.step(trainer.optimiser)
        scaler.update()
        return value.total.detach()

    p.parts["train_step"] = train_step


def loss_in_parts(p: Pipeline, parts: int, **declared: Any) -> None:
    """The loss is taken over shares of every batch, each with its own negatives alone."""
    trainer = p.trainer

    def train_step(batch: Batch) -> Tensor:
        trainer.optimiser.zero_grad(set_to_none=True)
        fused = trainer.model(batch).fused
        shares = list(zip(fused.tensor_split(parts), batch.labels.tensor_split(parts), strict=True))
        value = torch.stack(
            [trainer.objective.contrast(rows, labels) for rows, labels in shares]
        ).mean()
        value.backward()
        trainer.optimiser.step()
        return value.detach()

    p.parts |= {"train_step": train_step, "settings": {**p.settings.model_dump(), **declared}}


@fault(
    "O9",
    stage="optimiser",
    code="QL-O09",
    title="gradient accumulation is taken for a batch",
    occurrence="8 micro-batches of 4 are no batch of 32",
    when="T1",
)
def accumulation_as_batch(p: Pipeline) -> None:
    p.set(batch_size=32)
    loss_in_parts(p, 8, accumulation_steps=8)


@fault(
    "O10",
    stage="optimiser",
    code="QL-O10",
    title="every process sees its own share of the batch alone",
    occurrence="SupContrast#26, UniCL#5",
    when="T1",
)
def loss_on_shares(p: Pipeline) -> None:
    p.set(batch_size=32)
    loss_in_parts(p, 4, world_size=4)
