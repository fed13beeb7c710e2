"""Healthy pipelines that look like faulty ones: on each of them the doctor must stay silent."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from quadlib.data.dataset import Batch, make_loader
from quadlib.faults.modality import with_missing
from quadlib.faults.optimiser import step_with
from quadlib.faults.pipeline import ChangedDataset, Pipeline, PlainBatches
from quadlib.faults.registry import look_alike
from quadlib.loss import SupConLoss


@look_alike("nothing unusual")
def plain(p: Pipeline) -> None:
    """The pipeline as it is."""


@look_alike("a run after two epochs")
def trained(p: Pipeline) -> None:
    p.train(epochs=2)


@look_alike("warm-up whose first step has learning rate 0")
def warm_up_from_zero(p: Pipeline) -> None:
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        p.trainer.optimiser, lambda step: min(1.0, step / 5)
    )
    step_with(p, after=scheduler.step)
    p.parts["scheduler"] = scheduler


@look_alike("a gradient scaler that skips its first steps")
def first_steps_skipped(p: Pipeline) -> None:
    trainer, scaler = p.trainer, torch.amp.GradScaler("cpu", init_scale=2.0**127)

    def train_step(batch: Batch) -> Tensor:
        trainer.optimiser.zero_grad(set_to_none=True)
        value = trainer.objective(trainer.model(batch), batch.labels, batch.present)
        scaler.scale(value.total).backward()
        scaler.step(trainer.optimiser)
        scaler.update()
        return value.total.detach()

    p.parts["train_step"] = train_step


@look_alike("an encoder that is frozen on purpose")
def frozen_encoder(p: Pipeline) -> None:
    p.set(freeze=[f"encoders.{p.modality}"])


@look_alike("a linear probe: everything but the heads is frozen on purpose")
def linear_probe(p: Pipeline) -> None:
    p.set(freeze=["encoders", "fusion"])


@look_alike("one head for all modalities")
def shared_weights(p: Pipeline) -> None:
    heads = p.trainer.model.modality_heads
    first = next(iter(heads.values()))
    for name in list(heads):
        heads[name] = first
    p.rebuild_optimiser()


@look_alike("biases and residual gains that start from 0")
def zero_residual_gains(p: Pipeline) -> None:
    model = p.trainer.model
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    for layer in model.fusion.layers:
        nn.init.zeros_(layer.feed_forward[4].weight)


@look_alike("classes of ten to one")
def imbalance(p: Pipeline) -> None:
    _thin_out(p, 10)


def _thin_out(p: Pipeline, factor: int) -> None:
    """Takes all but one in `factor` training samples from half of the classes, two at least
    being left.
    """
    split = p.table.frame["split"].to_numpy().copy()
    rows = p.table.rows("train")
    for code in range(0, len(p.table.class_names), 2):
        own = rows[p.table.codes[rows] == code]
        split[own[max(2, len(own) // factor) :]] = ""
    p.table = p.table.with_columns(split=split)


@look_alike("two classes")
def two_classes(p: Pipeline) -> None:
    names = p.table.class_names[:2]
    table = p.table.take(np.flatnonzero(np.isin(p.table.frame["label"], names)))
    p.table = replace(table, classes=names)


@look_alike("a batch of more than half of the data")
def large_batch(p: Pipeline) -> None:
    p.set(batch_size=int(0.6 * len(p.table.rows("train"))))


@look_alike("one sample left over, and drop_last")
def left_over_dropped(p: Pipeline) -> None:
    rows = p.random.permutation(p.table.rows("train"))
    size = min(p.settings.batch_size, len(rows) // 3)
    split = p.table.frame["split"].to_numpy().copy()
    split[rows[len(rows) // size * size - size + 1 :]] = ""
    p.table = p.table.with_columns(split=split)
    p.set(rare="oversample")
    p.trainer.batches = PlainBatches(p.table.rows("train"), size, seed=p.settings.seed)


@look_alike("two views of unlabelled samples")
def two_views_without_labels(p: Pipeline) -> None:
    trainer, loss = p.trainer, SupConLoss(p.settings.temperature)

    def embed(model: nn.Module, batch: Batch) -> Tensor:
        other = replace(batch, inputs={name: 0.8 * values for name, values in batch.inputs.items()})
        return torch.stack([model(batch).fused, model(other).fused], dim=1)

    def train_step(batch: Batch) -> Tensor:
        trainer.optimiser.zero_grad(set_to_none=True)
        value = loss(embed(trainer.model, batch), batch.index)
        value.backward()
        trainer.optimiser.step()
        return value.detach()

    rows = p.table.rows("train")
    batches = PlainBatches(rows, min(p.settings.batch_size, len(rows) // 2), seed=p.settings.seed)
    p.parts |= {
        "table": None,
        "labels": np.arange(len(p.table)),
        "splits": {"train": rows},
        "train_step": train_step,
        "loss": loss,
        "settings": {"n_views": 2, "temperature": p.settings.temperature},
        "batch_sampler": batches,
        "loader": make_loader(p.dataset, batches),
    }


@look_alike("a base temperature that differs from the temperature")
def other_base_temperature(p: Pipeline) -> None:
    p.trainer.objective.contrast = SupConLoss(p.settings.temperature, base_temperature=0.07)


@look_alike("a healthy end value ln(n - 1)")
def healthy_end(p: Pipeline) -> None:
    counts = p.trainer.batches.plan(0).counts[0]
    end = math.log(max(counts.max() - 1, 2))
    p.parts["history"] = [
        {"kind": "step", "epoch": 1 + step // 10, "loss": end + 2.5 * math.exp(-step / 8)}
        for step in range(120)
    ]


@look_alike("data so easy that every class is one point in the end")
def class_collapse(p: Pipeline) -> None:
    _stamp_class(p)
    p.set(learning_rate=5e-3)
    p.train(epochs=4)
    p.parts["evaluate"] = lambda: {"val_accuracy": 1.0, "val_macro_f1": 1.0}


def _stamp_class(p: Pipeline) -> None:
    """Every class is told by one modality alone, at once."""
    name = p.modality
    array = np.array(p.store.arrays[name])
    codes = p.store.table.codes
    centres = p.random.normal(size=(len(p.table.class_names), *array.shape[1:]))
    p.put(name, (centres[codes] + 0.01 * p.random.normal(size=array.shape)).astype(array.dtype))


@look_alike("as few dimensions as k classes need, k - 1")
def rank_of_classes(p: Pipeline) -> None:
    p.set(embedding_dim=len(p.table.class_names) - 1)


@look_alike("embeddings that end in a ReLU")
def relu_cone(p: Pipeline) -> None:
    p.trainer.model.fused_head.append(nn.ReLU())


@look_alike("rare classes drawn more often on purpose")
def oversampling(p: Pipeline) -> None:
    _thin_out(p, 8)
    p.set(balance="equal", rare="oversample")


@look_alike("modalities that are missing and marked so")
def missing_and_marked(p: Pipeline) -> None:
    p.table = with_missing(p, every=False)


@look_alike("a modality that tells nothing")
def uninformative_modality(p: Pipeline) -> None:
    array = p.store.arrays[p.modality]
    p.put(p.modality, p.random.normal(size=array.shape).astype(array.dtype))


@look_alike("modalities of unequal worth")
def unequal_modalities(p: Pipeline) -> None:
    _dilute(p, p.modality, 2.0)


@look_alike("labels that are truly hard")
def hard_labels(p: Pipeline) -> None:
    for name in p.table.modalities:
        _dilute(p, name, 1.5)


def _dilute(p: Pipeline, name: str, factor: float) -> None:
    array = np.asarray(p.store.arrays[name])
    noise = factor * array.std(axis=0, keepdims=True) * p.random.normal(size=array.shape)
    noisy = array + noise
    p.put(name, (np.clip(noisy, 0, 255) if array.dtype == np.uint8 else noisy).astype(array.dtype))


@look_alike("declared gradient accumulation")
def declared_accumulation(p: Pipeline) -> None:
    p.set(batch_size=8, accumulation_steps=4)


@look_alike("a small batch")
def small_batch(p: Pipeline) -> None:
    p.set(batch_size=8)


@look_alike("a tiny validation split")
def tiny_validation(p: Pipeline) -> None:
    split = p.table.frame["split"].to_numpy().copy()
    rows = p.random.permutation(p.table.rows("val"))
    split[rows[10:]] = ""
    p.table = p.table.with_columns(split=split)


@look_alike("stochastic gradient descent at 3e-2")
def plain_sgd(p: Pipeline) -> None:
    p.use_optimiser(torch.optim.SGD(p.trainer.model.parameters(), lr=3e-2, momentum=0.9))


@look_alike("inputs outside [-1, 1]")
def wide_inputs(p: Pipeline) -> None:
    p.dataset = ChangedDataset(
        p.dataset,
        lambda batch: replace(
            batch, inputs={name: 2.5 * x + 0.5 for name, x in batch.inputs.items()}
        ),
    )


@look_alike("two loading processes")
def two_workers(p: Pipeline) -> None:
    p.parts["loader"] = make_loader(
        p.dataset, p.trainer.batches, num_workers=2, seed=p.settings.seed
    )
