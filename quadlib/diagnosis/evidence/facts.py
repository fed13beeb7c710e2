"""The tables that every diagnosis shows: what is frozen, where gradient flows, the optimiser,
positives, labels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from torch import nn

from quadlib.diagnosis.subject import Unavailable

if TYPE_CHECKING:
    from quadlib.diagnosis.evidence.examination import Examination


def all_facts(examination: Examination, steps: bool = True) -> dict[str, pd.DataFrame]:
    """Every table that can be had; one that cannot be is left out, its check says why. steps:
    training steps may be taken.
    """
    tables = {}
    for name, make in (
        ("frozen_parameters", frozen_parameters),
        ("gradient_flow", gradient_flow),
        ("optimiser", optimiser_groups),
        ("positives_per_batch", positives_per_batch),
        ("labels", label_composition),
    ):
        if make is gradient_flow and not steps:
            continue
        try:
            tables[name] = make(examination)
        except Unavailable:
            continue
        # the subject's own code raised; the facts that need it are replaced by what it said
        except Exception as error:
            tables[name] = pd.DataFrame({"not available": [f"{type(error).__name__}: {error}"]})
    return tables


def parts_of(model: nn.Module) -> dict[str, dict[str, nn.Parameter]]:
    """Parameters by the part they belong to: children of the model, one level deeper inside a
    ModuleDict or ModuleList.
    """
    parts: dict[str, dict[str, nn.Parameter]] = {}
    nested = {
        name
        for name, child in model.named_children()
        if isinstance(child, (nn.ModuleDict, nn.ModuleList))
    }
    for name, parameter in model.named_parameters():
        pieces = name.split(".")
        depth = 2 if pieces[0] in nested else 1
        parts.setdefault(".".join(pieces[:depth]), {})[name] = parameter
    return parts


def model_of(examination: Examination) -> nn.Module:
    model: Any = examination.subject.model
    if not isinstance(model, nn.Module):
        raise Unavailable("no model")
    return model


def frozen_parameters(examination: Examination) -> pd.DataFrame:
    """Trainable and frozen parameters of each part."""
    rows = [
        (
            part,
            sum(p.numel() for p in parameters.values()),
            sum(p.numel() for p in parameters.values() if not p.requires_grad),
        )
        for part, parameters in parts_of(model_of(examination)).items()
    ]
    return pd.DataFrame(rows, columns=["module", "parameters", "frozen"])


def gradient_flow(examination: Examination) -> pd.DataFrame:
    """Gradient, update and its ratio to the weights in one step on the first batch, for each
    part.
    """
    probe = examination.probe
    rows = []
    for part, parameters in parts_of(model_of(examination)).items():
        gradients = [probe.gradients.get(name) for name in parameters]
        update, weight = (
            math.hypot(*(values[name] for name in parameters))
            for values in (probe.updates, probe.weights)
        )
        rows.append(
            (
                part,
                math.hypot(*(g for g in gradients if g is not None)),
                sum(g is None for g in gradients),
                update / max(weight, 1e-12),
            )
        )
    return pd.DataFrame(
        rows, columns=["module", "gradient_norm", "without_gradient", "update_ratio"]
    )


def optimiser_groups(examination: Examination) -> pd.DataFrame:
    """The optimiser's groups: how many of the model's parameters each holds, its rate and decay;
    last, what no group holds.
    """
    optimiser, model = examination.subject.optimizer, examination.subject.model
    if optimiser is None:
        raise Unavailable("no optimiser")
    left = (
        {id(p) for p in model.parameters() if p.requires_grad}
        if isinstance(model, nn.Module)
        else set()
    )
    own = set(left)
    rows = []
    for number, group in enumerate(optimiser.param_groups):
        held = {id(p) for p in group["params"]}
        strange = len(held - own) if own else 0
        problem = f"{strange} of them not trainable parameters of this model" if strange else ""
        rows.append(
            (
                str(group.get("name", number)),
                len(held),
                group.get("lr"),
                group.get("weight_decay", 0.0),
                problem,
            )
        )
        left -= held
    if left:
        rows.append(("in no group", len(left), None, None, "trainable, but never updated"))
    return pd.DataFrame(
        rows, columns=["group", "tensors", "learning_rate", "weight_decay", "problem"]
    )


def positives_per_batch(examination: Examination) -> pd.DataFrame:
    """Size, classes, fewest positives of an anchor and lone anchors of every drawn batch."""
    counts = examination.batch_counts
    if not len(counts):
        raise Unavailable("the sampler yields nothing")
    present = counts > 0
    fewest = np.where(present, counts, counts.max() + 1).min(axis=1) - 1
    return pd.DataFrame(
        {
            "batch": np.arange(len(counts)),
            "size": counts.sum(axis=1),
            "classes": present.sum(axis=1),
            "positives_min": fewest,
            "lone_anchors": (counts == 1).sum(axis=1),
        }
    )


def label_composition(examination: Examination) -> pd.DataFrame:
    """Samples of each class in each split."""
    try:
        splits = examination.splits
    except Unavailable:
        splits = {"all": np.arange(len(examination.labels))}
    table = {
        name: pd.Series(examination.labels[rows]).value_counts() for name, rows in splits.items()
    }
    frame = pd.DataFrame(table).reindex(examination.classes).fillna(0).astype(int)
    return frame.rename_axis("class").reset_index()
