"""Subject: any PyTorch pipeline, ours or the user's own; every part optional and duck-typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from quadlib.diagnosis.observe.record import Record


class Unavailable(Exception):
    """A check cannot judge, and why: the part it needs is not there or does not answer."""


@dataclass
class Subject:
    """What is examined; give what you have.

    table: ours or a DataFrame with label, group, split. labels: one per row. splits: an array of
    names per row or a dict name -> row indices. batch_sampler, loader, model, loss, optimizer,
    scheduler, scaler: torch objects or alike. settings: a mapping or an object with attributes.
    history: a list of dicts, one a step or epoch, or of loss values, or a path to history.jsonl.
    checkpoint: a path or a loaded dict. run: a run folder. record: what was seen of a training loop
    (`quadlib.observe`, `quadlib doctor SCRIPT.py`). bounded: False for a loss that has neither a
    floor nor a collapse plateau, as proxies have none; nothing is then judged by them.

    train_step(batch) is your own step: forward, backward, optimiser; it is watched for a few steps,
    which are then undone, and shows how the model is called, what its loss is given and which part
    of a batch are its labels. evaluate() -> dict is your own evaluation.
    """

    table: Any = None
    labels: Any = None
    splits: Any = None
    batch_sampler: Any = None
    loader: Any = None
    model: Any = None
    loss: Any = None
    optimizer: Any = None
    scheduler: Any = None
    scaler: Any = None
    settings: Any = None
    history: Any = None
    checkpoint: Any = None
    run: Any = None
    record: Record | None = None
    bounded: bool = True
    train_step: Callable[[Any], Any] | None = None
    evaluate: Callable[[], Mapping[str, Any]] | None = None
    name: str = "this pipeline"

    def setting(self, *names: str, default: Any = None) -> Any:
        """The first of these settings that is declared, else the default."""
        for name in names:
            if isinstance(self.settings, Mapping) and name in self.settings:
                return self.settings[name]
            if self.settings is not None and hasattr(self.settings, name):
                return getattr(self.settings, name)
        return default

    def require_bounds(self) -> None:
        """Raises Unavailable where the loss has no plateau and no floor to judge a value by."""
        if not self.bounded:
            name = type(self.loss).__name__ if self.loss is not None else "the loss"
            raise Unavailable(f"{name} declares no bounds: it has no plateau and no floor")


def as_array(values: Any) -> np.ndarray:
    """Any sequence, tensor or column as a one-dimensional numpy array."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values).reshape(-1)


def codes_of(labels: np.ndarray) -> np.ndarray:
    """Labels of any dtype as int64; integers stay as they are."""
    if np.issubdtype(labels.dtype, np.integer):
        return labels.astype(np.int64)
    return np.unique(labels, return_inverse=True)[1].reshape(-1).astype(np.int64)
