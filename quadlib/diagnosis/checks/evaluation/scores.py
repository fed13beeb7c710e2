"""Contracts of the evaluation that its figures show: modes in training, chance, the split that was
scored, the cone of the embeddings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.evaluation.contracts import E03, E05, E10, E11
from quadlib.diagnosis.checks.evaluation.protocol import MODAL, _stored
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.observe.variation import cosine_spread
from quadlib.diagnosis.registry import check


@check(E03, "training steps run in training mode", "steps")
def evaluation_mode_in_training(x: Examination) -> Iterator[Finding]:
    model = x.subject.model
    modes = x.probe.modes
    wanted = {
        name: module
        for name, module in model.named_modules()
        if name in modes
        and isinstance(module, MODAL)
        and getattr(module, "p", 1) > 0
        and not _frozen(model, name)
    }
    still = [name for name in wanted if not modes[name]]
    if not still or any(modes.values()) or x.subject.train_step is None:
        return  # a part in evaluation mode, the rest in training mode, is a choice
    yield E03.broken(
        "warning",
        f"training steps run in evaluation mode: all {len(still)} dropout and batch norm layers "
        "are off",
        where=f"train_step of {x.subject.name}, for example {still[0]}",
        evidence=(
            f"module.training is False during the training step in {len(still)} of {len(wanted)} "
            "such layers, which are trainable",
        ),
        ruled_out=("a frozen encoder: its layers are not counted",),
        candidates=(
            "evaluate() leaves the model in evaluation mode, and nothing calls model.train() again",
            "only this subject was handed over in evaluation mode, and the loop calls "
            "model.train() itself",
        ),
        decide="print(model.training) in a training step of the second epoch",
        help="model.train() at the start of every training step or epoch   [changes training; "
        "retrain]",
    )


@check(E03, "batch norm saw a batch in every optimiser step", "epoch")
def statistics_stopped(x: Examination) -> Iterator[Finding]:
    model, optimiser = x.subject.model, x.subject.optimizer
    if not isinstance(model, nn.Module) or optimiser is None:
        raise Unavailable("no model" if optimiser is not None else "no optimiser")
    steps = optimiser_steps(optimiser.state_dict())
    if steps is None:
        raise Unavailable("the optimiser does not count its steps")
    norms = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not _frozen(model, name)
    }
    seen = {
        name: int(module.num_batches_tracked)
        for name, module in norms.items()
        if module.num_batches_tracked is not None
    }
    if not seen or x.subject.setting(*conventions.FREEZE_NORM):
        return
    name, most = max(seen.items(), key=lambda item: item[1])
    # an encoder from elsewhere brings its own count, and a deliberately still one has none of this
    # training
    if not 0 < most < x.limits.norm_batches * steps:
        return
    yield E03.broken(
        "error",
        f"batch norm saw {most} batches in {steps} optimiser steps: the model was left in "
        "evaluation mode",
        where=f"{len(seen)} batch norm layers of {x.subject.name}, for example {name}",
        evidence=(
            f"num_batches_tracked {most} at most; an optimiser step needs at least one batch, so "
            f"{steps} or more were expected",
        ),
        ruled_out=(
            "frozen statistics from the start: the count would be 0",
            "gradient accumulation: it would make the count larger",
        ),
        help="model.train() at the start of every epoch   [changes training; retrain]",
    )


def _frozen(model: nn.Module, name: str) -> bool:
    """Whether the layer, or the part it is in, has parameters and all of them are frozen."""
    parent = model.get_submodule(name.rpartition(".")[0])
    parameters = list(model.get_submodule(name).parameters()) or list(parent.parameters())
    return bool(parameters) and not any(p.requires_grad for p in parameters)


def optimiser_steps(state: Any) -> int | None:
    """How many steps an optimiser's state_dict has counted; None where it counts none."""
    entries = state.get("state", {}) if isinstance(state, dict) else {}
    steps = [
        entry["step"] for entry in entries.values() if isinstance(entry, dict) and "step" in entry
    ]
    return int(max(float(step) for step in steps)) if steps else None


@check(E05, "high cosines are judged after centring", "batch")
def cone(x: Examination) -> Iterator[Finding]:
    rows = x.embeddings.float()
    if len(rows) < 4 or not torch.isfinite(rows).all() or bool((rows < 0).any()):
        return
    unit = nn.functional.normalize(rows, dim=1)
    similar = unit @ unit.T
    mean = float((similar.sum() - similar.diagonal().sum()) / (len(unit) * (len(unit) - 1)))
    centred = cosine_spread(unit - unit.mean(dim=0))
    if mean > x.limits.cone and centred > x.limits.cone_spread:
        yield E05.broken(
            "note",
            f"no embedding has a negative value: their mean cosine of {mean:.2f} is that of a "
            "cone, not a collapse",
            where=f"embeddings of {x.subject.name}, first batch",
            evidence=(
                f"spread of the cosines {cosine_spread(unit):.3f}, after centring {centred:.3f} "
                "(0 if collapsed)",
            ),
            ruled_out=("collapse: it would leave no spread after centring",),
            help="end in a linear layer, or centre before comparing; floor of such embeddings: "
            "bounds.floor(..., rectified=True)   "
            "[changes the geometry; retrain]",
        )


@check(E10, "validation is above chance", "epoch")
def at_chance(x: Examination) -> Iterator[Finding]:
    records = [item for item in x.history if any(_score(name) for name in item)]
    if not records:
        raise Unavailable("the history holds no validation score")
    name = next(key for key in records[-1] if _score(key))
    values = np.array(
        [float(item[name]) for item in records if isinstance(item.get(name), (int, float))]
    )
    labels = _validation_labels(x)
    share = np.unique(labels, return_counts=True)[1] / len(labels)
    if len(values) == 0 or len(share) < 2:
        return
    values = values / 100 if values.max() > 1.5 else values
    chance = float(share.max()) if "f1" not in name else 1 / len(share)
    error = math.sqrt(chance * (1 - chance) / len(labels))
    best = float(values[-min(3, len(values)) :].max())
    if best > chance + x.limits.chance_errors * error:
        return
    yield E10.broken(
        "note",
        f"validation is at chance: {name} is {best:.3f}, guessing gives {chance:.3f}",
        where=f"history of {x.subject.name}, {len(values)} validations of {len(labels)} samples",
        evidence=(
            f"{len(share)} classes; chance {chance:.3f}, standard error {error:.3f}; best of the "
            f"last three {best:.3f}",
        ),
        candidates=(
            "L1: labels are not those of their samples",
            "L6: classes have other indices in validation",
            "the model does not learn",
            "the samples do not determine the labels",
        ),
        decide="the same score on the training samples: high there rules out that nothing is "
        "learned",
        symptom=True,
        help="score the training samples in the same way   [changes nothing]",
    )


def _score(name: str) -> bool:
    lowered = name.lower()
    return lowered.startswith(conventions.VALIDATION_PREFIXES) and any(
        word in lowered for word in conventions.VALIDATION_SCORES
    )


def _validation_labels(x: Examination) -> np.ndarray:
    splits = x.splits
    rows = next(
        (
            splits[name]
            for name in conventions.VALIDATION_SPLITS
            if name in splits and len(splits[name])
        ),
        None,
    )
    if rows is None:
        raise Unavailable("no split is named val or test")
    labels: np.ndarray = x.labels[rows]
    return labels


@check(E11, "what is scored was not trained on", "epoch")
def evaluated_on_train(x: Examination) -> Iterator[Finding]:
    declared = x.subject.setting(*conventions.EVALUATED_SPLIT)
    if isinstance(declared, str) and declared.lower() in conventions.TRAIN_NAMES:
        yield _on_train(x, f"the settings name it: {declared!r}")
        return
    if (
        x.subject.run is not None
        and (x.run_folder / "embeddings.npz").is_file()
        and "split" in (stored := _stored(x))
    ):
        names = list(dict.fromkeys(stored["split"].astype(str)))
        if len(names) == 1 and names[0] in conventions.TRAIN_NAMES:
            yield _on_train(x, f"embeddings.npz holds the split {names[0]!r} alone")
            return
    records = x.history
    for name in {key for item in records for key in item if str(key).startswith("val_")}:
        plain = name.removeprefix("val_")
        pairs = [
            (item[name], item[other])
            for item in records
            for other in (f"train_{plain}", plain)
            if isinstance(item.get(name), (int, float))
            and isinstance(item.get(other), (int, float))
        ]
        if (
            len(pairs) >= 3
            and all(one == other for one, other in pairs)
            and len({one for one, _ in pairs}) >= 3
        ):
            yield _on_train(
                x, f"{name} equals the training value to the last digit in all {len(pairs)} records"
            )
            return


def _on_train(x: Examination, evidence: str) -> Finding:
    return E11.broken(
        "error",
        "the score is of the training samples, not of held-out ones",
        where=f"evaluation of {x.subject.name}",
        evidence=(evidence,),
        ruled_out=("chance: independent splits do not agree to the last digit",),
        help='evaluate(run, EvaluateSettings(eval_split="test"))   [changes the score]',
    )
