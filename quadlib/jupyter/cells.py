"""What a notebook needs beside the library: one batch as a run's model embeds it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from quadlib.data.batches import SplitBatches
from quadlib.jupyter.parameters import settings_from as settings_from
from quadlib.training.checkpoint import load_weights
from quadlib.training.objective import QuadObjective
from quadlib.training.restore import Restored


class EmbeddedBatch(NamedTuple):
    """One training batch in evaluation mode: loss of the fused embedding, its bounds (None where
    the loss declares none), cosines (N, N), equal labels (N, N).
    """

    loss: float
    floor: float | None
    plateau: float | None
    similarity: np.ndarray
    same_class: np.ndarray


def embedded_batch(restored: Restored) -> EmbeddedBatch:
    """The first batch of the first epoch, as the model of the checkpoint embeds it."""
    settings, model = restored.settings, restored.model.eval()
    rows = next(iter(SplitBatches(restored.dataset.table, settings)))
    batch = restored.dataset.__getitems__(rows).to(next(model.parameters()).device)
    table = restored.dataset.table
    objective = QuadObjective(
        settings, len(table.class_names), settings.embedding_dim, len(table.modalities)
    ).to(batch.labels.device)
    load_weights(objective, restored.checkpoint["objective"], restored.run.checkpoints)
    with torch.no_grad():
        fused = model(batch).fused.float()
        loss = float(objective.contrast(fused, batch.labels))
    labels = batch.labels.cpu()
    same = (labels[:, None] == labels[None, :]).numpy()
    bounds = objective.bounds(labels) if objective.bounded else None
    plateau, floor = bounds or (None, None)
    return EmbeddedBatch(loss, floor, plateau, (fused @ fused.T).cpu().numpy(), same)
