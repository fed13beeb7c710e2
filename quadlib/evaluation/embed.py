"""Embeds recordings with a trained model, all modalities or with some of them hidden."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class EmbeddingSet:
    """Embeddings of n recordings as numpy arrays, in the order of the rows asked for.

    `fused` (n, D) float32 unit rows; `by_modality` (n, M, D) float32, zero where absent; `weights`
    (n, M) float32 of the fusion; `present` (n, M) bool, as the model saw it; `labels` (n,) int64
    class codes; `rows` (n,) int64 rows of the table.
    """

    fused: np.ndarray
    by_modality: np.ndarray
    weights: np.ndarray
    present: np.ndarray
    labels: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, which: np.ndarray) -> EmbeddingSet:
        """The chosen recordings, by index or mask."""
        return EmbeddingSet(*(getattr(self, name)[which] for name in ARRAYS))


ARRAYS = tuple(EmbeddingSet.__dataclass_fields__)


@torch.inference_mode()
def embed(
    model: nn.Module,
    dataset: Any,
    rows: np.ndarray,
    batch_size: int = 128,
    *,
    hide: Sequence[str] = (),
) -> EmbeddingSet:
    """Embeds the given rows of the dataset's table in evaluation mode, on the model's device; the
    model is left as it was found.

    `hide` names modalities that the model may not see. Raises ValueError for an unknown name, for
    no rows at all, and where a recording has no modality left to be embedded from.
    """
    if not len(rows):
        raise ValueError(
            "rows is empty, so there is nothing to embed; choose a split that holds recordings"
        )
    visible = visible_modalities(list(dataset.modalities), hide)
    device = next(model.parameters()).device
    parts = []
    with evaluation_mode(model):
        for batch in dataset.batches(np.asarray(rows, dtype=np.int64), batch_size):
            batch = replace(batch, present=batch.present & visible).to(device)
            _refuse_blind(batch, hide)
            fused, by_modality, weights = model(batch)
            parts.append([fused, by_modality, weights, batch.present, batch.labels, batch.index])
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    return EmbeddingSet(
        *(
            (column.float() if column.is_floating_point() else column).cpu().numpy()
            for column in columns
        )
    )


def visible_modalities(names: Sequence[str], hide: Sequence[str]) -> torch.Tensor:
    """Mask (M,) of the modalities that stay; raises ValueError for a name that is none of them."""
    unknown = [name for name in hide if name not in names]
    if unknown:
        raise ValueError(
            f"hide names {', '.join(map(repr, unknown))}, but the modalities are "
            f"{', '.join(names)}; correct the name"
        )
    return torch.tensor([name not in hide for name in names])


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, and afterwards each module's own mode again: a frozen part may have
    been in evaluation mode before.
    """
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _refuse_blind(batch: Any, hide: Sequence[str]) -> None:
    blind = ~batch.present.any(dim=1)
    if blind.any():
        hidden = f" once {', '.join(hide)} are hidden" if hide else ""
        raise ValueError(
            f"{int(blind.sum())} recording(s) have no modality left{hidden}, the first in row "
            f"{int(batch.index[blind][0])} of the table; leave them out of the rows"
        )
