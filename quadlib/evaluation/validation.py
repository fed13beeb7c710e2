"""KnnValidator: what the trainer asks after every epoch, comparable from epoch to epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from quadlib.config import TrainSettings
from quadlib.evaluation.embed import embed
from quadlib.evaluation.metrics import classification
from quadlib.evaluation.retrieval import knn_and_retrieval
from quadlib.loss import SupConLoss, bounds


class KnnValidator:
    """Scores the validation split against a gallery of the training split.

    Gives val_accuracy and val_macro_f1 of kNN, val_map_at_r, and val_excess: SupCon of the whole
    validation split as ONE batch above the floor of that batch, so that neither batch order nor
    composition can move it; where the loss is another one, there is no excess. A figure that is
    undefined is left out.

    Args:
        settings: Those of the training: neighbours, temperature, loss and its variant are used.

    Raises:
        ValueError: When called, where the validation split is empty.

    Example:
        >>> from quadlib import KnnValidator, QuadModel, open_dataset
        >>> from quadlib.config import TrainSettings
        >>> settings = TrainSettings(source="mfeat")
        >>> dataset = open_dataset(settings)
        >>> model = QuadModel.from_table(dataset.table, settings)
        >>> sorted(KnnValidator(settings)(model, dataset))
        ['val_accuracy', 'val_excess', 'val_macro_f1', 'val_map_at_r']
    """

    def __init__(self, settings: TrainSettings) -> None:
        self.neighbours = settings.neighbours
        self.temperature = settings.temperature
        self.loss = (
            SupConLoss(settings.temperature, variant=settings.loss_variant)
            if settings.loss == "supcon"
            else None
        )

    def __call__(self, model: nn.Module, dataset: Any) -> dict[str, float]:
        table = dataset.table
        if not len(table.rows("val")):
            raise ValueError(
                f"{table.name}: the val split holds no recordings, so no epoch can be judged; give "
                "it a share in fractions, or a split column with val in it"
            )
        gallery, queries = (embed(model, dataset, table.rows(split)) for split in ("train", "val"))
        predictions, ranking = knn_and_retrieval(
            queries.fused, queries.labels, gallery.fused, gallery.labels, self.neighbours
        )
        scores = classification(queries.labels, predictions, table.class_names)
        figures = {
            "val_accuracy": scores.accuracy.value,
            "val_macro_f1": scores.macro_f1.value,
            "val_map_at_r": ranking.means()["map_at_r"].value,
            "val_excess": self._excess(queries.fused, queries.labels),
        }
        return {name: value for name, value in figures.items() if value is not None}

    def _excess(self, embeddings: np.ndarray, codes: np.ndarray) -> float | None:
        if self.loss is None or np.bincount(codes).max() < 2:
            return None  # without bounds, or without any positive
        labels = torch.from_numpy(codes)
        value = float(self.loss(torch.from_numpy(embeddings).double(), labels))
        return value - bounds.floor(labels, self.temperature, kind="labels")
