"""KnnValidator: what the trainer asks after every epoch, comparable from epoch to epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from quadlib.config import TrainSettings
from quadlib.evaluation.crossed import standard_error
from quadlib.evaluation.embed import EmbeddingSet, embed
from quadlib.evaluation.metrics import classification
from quadlib.evaluation.neighbours import knn_predict
from quadlib.evaluation.retrieval import knn_and_retrieval
from quadlib.loss import SupConLoss, bounds

STANDARD_ERRORS = 2.0  # above chance, from which a modality counts as telling the classes apart


class KnnValidator:
    """Scores the validation split against a gallery of the training split.

    Gives val_accuracy and val_macro_f1 of kNN, the latter's standard error over sessions as
    val_macro_f1_error, val_map_at_r, and val_excess: SupCon of the whole
    validation split as ONE batch above the floor of that batch, so that neither batch order nor
    composition can move it; where the loss is another one, there is no excess. `val_skill.NAME` is
    what the embedding of one modality alone is worth, see `skill`. A figure that is undefined is
    left out.

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
        ['val_accuracy', 'val_excess', 'val_macro_f1', 'val_macro_f1_error', 'val_map_at_r', ...]
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
            "val_macro_f1_error": standard_error(
                queries.labels,
                predictions,
                table.frame["group"].to_numpy()[queries.rows],
                len(table.class_names),
            )
            if scores.macro_f1.defined
            else None,
            "val_map_at_r": ranking.means()["map_at_r"].value,
            "val_excess": self._excess(queries.fused, queries.labels),
        }
        figures |= self._skills(gallery, queries, table)
        return {name: value for name, value in figures.items() if value is not None}

    def _skills(
        self, gallery: EmbeddingSet, queries: EmbeddingSet, table: Any
    ) -> dict[str, float | None]:
        sessions = table.frame["group"].to_numpy()[queries.rows]
        values = {}
        for m, name in enumerate(table.modalities):
            known, asked = gallery.present[:, m], queries.present[:, m]
            values[f"val_skill.{name}"] = (
                skill(
                    queries.labels[asked],
                    knn_predict(
                        queries.by_modality[asked, m],
                        gallery.by_modality[known, m],
                        gallery.labels[known],
                        self.neighbours,
                    ),
                    sessions[asked],
                )
                if known.any() and asked.any()
                else None
            )
        return values

    def _excess(self, embeddings: np.ndarray, codes: np.ndarray) -> float | None:
        if self.loss is None or np.bincount(codes).max() < 2:
            return None  # without bounds, or without any positive
        labels = torch.from_numpy(codes)
        value = float(self.loss(torch.from_numpy(embeddings).double(), labels))
        return value - bounds.floor(labels, self.temperature, kind="labels")


def skill(codes: np.ndarray, predictions: np.ndarray, sessions: np.ndarray) -> float | None:
    """Balanced accuracy (n,) between chance (0) and right (1); 0 where it is not above chance by
    two standard errors over sessions, None where there is but one class.

    Predictions that know nothing hit a class as often as they name it, which over k classes makes
    1/k of balanced accuracy whatever they prefer. Recordings of one session hit or miss together,
    so the error is that of the sums over sessions.
    """
    classes, places, counts = np.unique(codes, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        return None
    weight = 1.0 / (len(classes) * counts[places])
    named = np.array([(predictions == code).mean() for code in classes])
    above = weight * ((predictions == codes) - named[places])
    by_session = np.bincount(np.unique(sessions, return_inverse=True)[1], weights=above)
    if above.sum() <= STANDARD_ERRORS * np.sqrt((by_session**2).sum()):
        return 0.0
    return float(above.sum() / (1 - named.sum() / len(classes)))
