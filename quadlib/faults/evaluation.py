"""Faults of the evaluation: the score, or the training after it, is of something else than was
meant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext

import numpy as np
import torch
from torch import nn

from quadlib.evaluation.embed import embed, evaluation_mode
from quadlib.faults.optimiser import step_with
from quadlib.faults.pipeline import Pipeline
from quadlib.faults.registry import fault


def nearest_neighbour_accuracy(
    p: Pipeline, *, gallery: str, leave_in: bool = False, evaluating: bool = True
) -> Mapping[str, float]:
    """Share of the val samples whose nearest neighbour in the gallery has their label."""
    model, dataset = p.trainer.model, p.dataset
    rows = {name: p.store.table.rows(name) for name in {"val", gallery}}
    with torch.no_grad(), evaluation_mode(model) if evaluating else nullcontext():
        fused = {
            name: torch.cat([model(batch).fused for batch in dataset.batches(own, 128)])
            for name, own in rows.items()
        }
    similar = (fused["val"] @ fused[gallery].T).numpy()
    if gallery == "val" and not leave_in:
        np.fill_diagonal(similar, -np.inf)
    codes = p.store.table.codes
    return {
        "val_accuracy": float(
            (codes[rows[gallery][similar.argmax(axis=1)]] == codes[rows["val"]]).mean()
        )
    }


def healthy_evaluation(p: Pipeline) -> Callable[[], Mapping[str, float]]:
    """The evaluation as it should be: val against train, in evaluation mode."""
    return lambda: nearest_neighbour_accuracy(p, gallery="train")


@fault(
    "E1",
    stage="evaluation",
    code="QL-E01",
    title="every query is in its own gallery",
    occurrence="pytorch-metric-learning#464",
    when="Te",
)
def query_in_gallery(p: Pipeline) -> None:
    p.parts["evaluate"] = lambda: nearest_neighbour_accuracy(p, gallery="val", leave_in=True)


@fault(
    "E2",
    stage="evaluation",
    code="QL-E02",
    title="eval() is forgotten",
    occurrence="robustdg#30, transformers#33844",
    when="Te",
)
def evaluated_in_training_mode(p: Pipeline) -> None:
    p.parts["evaluate"] = lambda: nearest_neighbour_accuracy(p, gallery="train", evaluating=False)


@fault(
    "E3",
    stage="evaluation",
    code="QL-E03",
    title="train() is forgotten after an evaluation",
    occurrence="clevr-iep#22",
    when="Te",
)
def training_in_evaluation_mode(p: Pipeline) -> None:
    p.train()
    embed(p.trainer.model, p.dataset, p.store.table.rows("val"))
    p.trainer.model.eval()
    step_with(p)


@fault(
    "E5",
    stage="evaluation",
    code="QL-E05",
    title="features behind a ReLU are compared uncentred",
    occurrence="SupContrast#157",
    when="Te",
    advice=True,
)
def rectified_features(p: Pipeline) -> None:
    p.trainer.model.fused_head.append(nn.ReLU())
    nn.init.constant_(p.trainer.model.fused_head[2].bias, 0.1)
