"""Several runs trained as one, and judged by their validation recordings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
import torch
from judged import judge
from stacked import Outputs, Weights, copied, ends, forward, linear, stack, supcon
from together import Data, batches, take
from torch import Tensor
from torch.nn.functional import cross_entropy
from variants import Variant

from quadlib.config import TrainSettings
from quadlib.model.quad import QuadModel
from quadlib.training.objective import PROGRESS_MEMORY
from quadlib.training.optimiser import learning_rate_factor
from quadlib.training.trust import trust_of

JUDGED_EVERY = 2  # epochs
RUNNING = 0.99  # of the running mean of the weights, a step
TAIL = 6  # epochs at the end whose weights are averaged

Keep = Callable[[int, list[dict[str, Any]], Weights, Tensor], None]


class Trained(NamedTuple):
    """The weights at the end, their running mean, the mean of the last epochs; trust (R, M); the
    figures of every judged epoch of each run.
    """

    weights: Weights
    running: Weights
    tail: Weights
    trust: Tensor
    logs: list[list[dict[str, Any]]]


def train(data: Data, variant: Variant, seeds: range, keep: Keep | None = None) -> Trained:
    """Trains the runs of a variant; `keep(run, log, weights, trust)` is called when an epoch of a
    run was judged.
    """
    settings = TrainSettings(
        source="mfeat",
        **{
            item.name: getattr(variant, item.name)
            for item in fields(variant)
            if item.name in TrainSettings.model_fields
        },
    )
    models = [
        QuadModel.from_table(table, settings.model_copy(update={"seed": seed}))
        for table, seed in zip(data.tables, seeds, strict=True)
    ]
    weights = {key: value.requires_grad_() for key, value in stack(models).items()}
    runs, n_classes = len(models), data.n_classes
    views = data.present.shape[2]
    if variant.cross_entropy_weight:
        for key, shape in (("weight", (n_classes, settings.embedding_dim)), ("bias", (n_classes,))):
            weights[f"classifier.{key}"] = torch.zeros(runs, *shape, requires_grad=True)
    decayed = {
        key
        for key in weights
        if key.endswith("weight") and "norm" not in key and "feed_forward.0" not in key
    } - {"classifier.weight"}
    optimiser = torch.optim.AdamW(
        [
            {"params": [value], "weight_decay": variant.weight_decay if key in decayed else 0.0}
            for key, value in weights.items()
        ],
        lr=variant.learning_rate,
        fused=True,
    )
    running = copied(weights)
    ends_of_epochs: list[Weights] = []
    progress, trust = torch.zeros(runs, views), torch.ones(runs, views)
    steps_per_epoch = min(len(sampler) for sampler in data.samplers)
    logs: list[list[dict[str, Any]]] = [[] for _ in models]
    total, step = steps_per_epoch * variant.epochs, 0
    torch.manual_seed(seeds[0])
    for epoch in range(1, variant.epochs + 1):
        reached = torch.zeros(runs)
        for rows, kept in batches(data, epoch):
            factor = learning_rate_factor(step, total, settings)
            for group in optimiser.param_groups:
                group["lr"] = variant.learning_rate * factor
            codes, present = take(data.codes, rows), take(data.present, rows) & kept[..., None]
            inputs = torch.stack([x[:, which] for x, which in zip(data.x, rows, strict=True)])
            if variant.mixed:
                inputs = mixed(inputs, codes, present, variant.mixed)
            inputs = inputs + variant.noise * torch.randn_like(inputs) * data.columns[:, None]
            if variant.masked:
                inputs = inputs * (torch.rand_like(inputs) >= variant.masked)
            inputs = inputs.masked_fill(~present.transpose(1, 2)[..., None], 0.0)
            seen = present | ~kept[..., None]  # a row that is not there still needs a view to read
            out = forward(
                weights,
                inputs,
                seen,
                trust,
                drop=variant.dropout,
                hide=variant.modality_dropout,
            )
            sessions = torch.from_numpy(
                np.stack([own[which] for own, which in zip(data.sessions, rows, strict=True)])
            )
            loss, own_progress, place = objective(
                variant, weights, out, codes, present, kept, sessions, progress, n_classes
            )
            optimiser.zero_grad(set_to_none=True)
            loss.sum().backward()
            clip(weights, runs)
            optimiser.step()
            progress = torch.where(
                own_progress.isnan(), progress, progress.lerp(own_progress, 1 - PROGRESS_MEMORY)
            )
            reached += place / steps_per_epoch
            step += 1
            decay = min(RUNNING, (1 + step) / (10 + step))
            for key, value in running.items():
                value.lerp_(weights[key].detach(), 1 - decay)
        ends_of_epochs = [*ends_of_epochs, copied(weights)][-TAIL:]
        if epoch % JUDGED_EVERY:
            continue
        judged = judge(data, weights, trust)
        for run, (log, figures) in enumerate(zip(logs, judged, strict=True)):
            log.append(figures | {"progress": float(reached[run])})
            if keep is not None:
                keep(run, log, weights, trust)
            if variant.fusion_trust:
                names = [str(m) for m in range(views)]
                skills: dict[str, Any] = {
                    f"val_skill.{m}": figures["skills"][m] for m in range(views)
                }
                skills["progress"] = float(reached[run])
                skills["own_progress"] = dict(zip(names, progress[run].tolist(), strict=True))
                asked = trust_of(skills, names)
                trust[run] = torch.ones(views) if asked is None else asked
    tail = {
        key: torch.stack([part[key] for part in ends_of_epochs]).mean(0)
        for key in ends_of_epochs[0]
    }
    return Trained(weights, running, tail, trust, logs)


def objective(
    variant: Variant,
    weights: Weights,
    out: Outputs,
    codes: Tensor,
    present: Tensor,
    kept: Tensor,
    sessions: Tensor,
    progress: Tensor,
    n_classes: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of each run (R,), each modality's own progress (R, M), and the fused one (R,)."""
    runs, rows, views = present.shape
    temperature = variant.temperature
    apart = None
    if variant.same_session == "ignore":
        apart = sessions[:, :, None] == sessions[:, None]
    fused = supcon(out.fused, codes, kept, temperature, apart)
    has = present.transpose(1, 2).flatten(0, 1)  # (R M, B)
    each_codes = codes.repeat_interleave(views, 0)
    each = supcon(
        out.by_modality.flatten(0, 1),
        each_codes,
        has,
        temperature,
        None if apart is None else apart.repeat_interleave(views, 0),
    ).unflatten(0, (runs, views))
    top, bottom = (
        end.unflatten(0, (runs, views)) for end in ends(each_codes, has, n_classes, temperature)
    )
    own = ((top - each.detach()) / (top - bottom)).where(top > bottom, torch.nan)
    loss = variant.fused_weight * fused + variant.within_weight * each.mean(1)
    entered = (progress >= variant.cross_gate) | (variant.within_weight == 0)
    if variant.cross_weight:
        pooled = out.by_modality.transpose(1, 2).flatten(1, 2)  # (R, B M, D)
        inside = (present & entered[:, None]).flatten(1, 2)
        recording = torch.arange(rows).repeat_interleave(views)
        if apart is not None:
            other = recording[:, None] != recording
            apart = apart[:, recording][:, :, recording] & other
        loss = loss + variant.cross_weight * supcon(
            pooled, codes[:, recording], inside, temperature, apart
        )
    if variant.cross_entropy_weight:
        logits = linear(weights, "classifier", out.fused)
        values = cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none")
        values = (values.unflatten(0, (runs, rows)) * kept).sum(1) / kept.sum(1)
        loss = loss + variant.cross_entropy_weight * values
    top, bottom = ends(codes, kept, n_classes, temperature)
    return loss, own, ((top - fused.detach()) / (top - bottom))


def mixed(inputs: Tensor, codes: Tensor, present: Tensor, largest: float) -> Tensor:
    """Inputs (R, M, B, d) moved towards another recording of the class in the batch that has the
    view, by a share of at most `largest`, drawn for each recording.
    """
    same = (codes[:, :, None] == codes[:, None]) & ~torch.eye(codes.shape[1], dtype=torch.bool)
    may = same[:, None] & present.transpose(1, 2)[:, :, None]  # (R, M, B, B)
    has = may.any(-1)
    other = torch.rand(may.shape).masked_fill(~may, -1).argmax(-1)
    partner = inputs.gather(2, other[..., None].expand_as(inputs))
    share = largest * torch.rand(inputs.shape[0], 1, inputs.shape[2], 1) * has[..., None]
    return inputs + share * (partner - inputs)


def clip(weights: Weights, runs: int) -> None:
    """Each run's gradient brought to a norm of at most 1."""
    gradients = [value.grad for value in weights.values() if value.grad is not None]
    squares = sum(gradient.reshape(runs, -1).square().sum(1) for gradient in gradients)
    assert isinstance(squares, Tensor)
    factor = (1 / (squares.sqrt() + 1e-6)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(factor.reshape(-1, *[1] * (gradient.ndim - 1)))
