"""Subject: any PyTorch pipeline, ours or the user's own; every part optional and duck-typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quadlib.diagnosis import conventions
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

    Where your code differs, say so with small callables: embed(model, batch) -> (N, D) tensor,
    labels_of(batch) -> (N,), train_step(batch) -> loss (your own step: forward, backward,
    optimiser), evaluate() -> dict.
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
    embed: Callable[[Any, Any], Tensor] | None = None
    labels_of: Callable[[Any], Any] | None = None
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

    def embed_batch(self, batch: Any) -> Tensor:
        """Embeddings of a batch, (N, D) or (N, V, D), as the loss receives them; raises Unavailable
        where the output is not one.
        """
        if self.model is None:
            raise Unavailable("no model")
        output = (
            self.embed(self.model, batch)
            if self.embed is not None
            else self.model(self.inputs_of(batch))
        )
        output = getattr(output, "fused", output)
        if not isinstance(output, Tensor) or output.ndim not in (2, 3):
            what = (
                f"a tensor of shape {tuple(output.shape)}"
                if isinstance(output, Tensor)
                else type(output).__name__
            )
            raise Unavailable(
                f"the model gives {what}, not (N, D); pass embed=lambda model, batch: ..."
            )
        return output

    def inputs_of(self, batch: Any) -> Any:
        """What the model is called with: the whole batch where it is one object, else its inputs
        without the labels.
        """
        if isinstance(batch, (tuple, list)):
            return batch[0] if len(batch) <= 2 else batch[:-1]
        if isinstance(batch, Mapping):
            for name in conventions.BATCH_INPUTS:
                if name in batch:
                    return batch[name]
        return batch

    def batch_labels(self, batch: Any) -> np.ndarray:
        """Labels of a batch as a numpy array (N,); raises Unavailable where none are found."""
        if self.labels_of is not None:
            return as_array(self.labels_of(batch))
        if isinstance(batch, Mapping):
            for name in conventions.BATCH_LABELS:
                if name in batch:
                    return as_array(batch[name])
        elif hasattr(batch, "labels"):
            return as_array(batch.labels)
        elif isinstance(batch, (tuple, list)) and len(batch) > 1:
            return as_array(batch[-1])
        raise Unavailable("no labels found in a batch; pass labels_of=lambda batch: ...")

    def loss_of(self, batch: Any, embeddings: Tensor) -> Tensor:
        """The subject's own loss of a batch, from embeddings and labels; raises Unavailable where
        it needs other arguments.
        """
        if self.loss is None:
            raise Unavailable("no loss")
        labels = torch.as_tensor(codes_of(self.batch_labels(batch)), device=embeddings.device)
        try:
            value = self.loss(embeddings, labels)
        except TypeError as error:
            raise Unavailable(
                f"the loss does not take (embeddings, labels): {error}; pass train_step=..."
            ) from error
        value = getattr(value, "total", value)
        if not isinstance(value, Tensor):
            raise Unavailable(f"the loss gives {type(value).__name__}, not a tensor")
        return value


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
