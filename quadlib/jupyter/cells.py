"""What a notebook needs beside the library: its settings from the parameter cell, and one batch as
a run's model embeds it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch

from quadlib import log_to_stdout
from quadlib.config import RunSettings, SettingsError, TrainSettings, read_settings
from quadlib.data.batches import SplitBatches
from quadlib.runs.memory import going_on, recall
from quadlib.runs.run import new_name, started_by_quadlib
from quadlib.training.checkpoint import load_weights
from quadlib.training.names import unknown_codes
from quadlib.training.objective import QuadObjective
from quadlib.training.restore import Restored

log = logging.getLogger(__name__)
Model = TypeVar("Model", bound=RunSettings)


def settings_from(model: type[Model], namespace: Mapping[str, Any]) -> Model:
    """The settings that the parameter cell left in a notebook's variables, papermill's values
    included; from here on the notebook shows what quadlib says while it works. A training run that
    has no name gets one, so that running a later cell again goes on with the same run.

    Args:
        model: Settings model of the notebook.
        namespace: The notebook's variables, `globals()`.

    Raises:
        SettingsError: Values are wrong, or parameters were removed from the cell; all are listed.

    Example:
        >>> from quadlib.config import DiagnoseSettings
        >>> run, outputs, seed, checkpoint, deep = "", "", 0, "best", False
        >>> settings_from(DiagnoseSettings, locals()).checkpoint
        'best'
    """
    log_to_stdout()
    missing = [name for name in model.model_fields if name not in namespace]
    if missing:
        raise SettingsError(
            f"the notebook has no {', '.join(missing)}; run its parameter cell first, or restore "
            "the lines that were removed"
        )
    values = {name: namespace[name] for name in model.model_fields}
    if started_by_quadlib():  # which has read the run's settings back
        return read_settings(model, values, unknown_codes(values))
    given = {
        name: values[name]
        for name, field in model.model_fields.items()
        if values[name] != field.default
    }
    settings = recall(model, given, unknown_codes(values))
    if isinstance(settings, TrainSettings) and not settings.run:
        settings = settings.model_copy(update={"run": new_name("train")})
    if before := going_on(settings):
        log.info(before)
    return settings


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
