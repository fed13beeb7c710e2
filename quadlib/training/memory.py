"""The fused term over a batch and what earlier batches left: cross-batch memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from quadlib.config import ObjectiveSettings
from quadlib.loss import CrossBatchMemory, SupConLoss
from quadlib.loss.memory import UNLABELLED


class Entries(NamedTuple):
    """What a batch leaves in the memory."""

    rows: Tensor  # (B, D)
    labels: Tensor  # (B,)
    recordings: Tensor | None  # (B,), rows of the table


class FusedMemory(nn.Module):
    """The loss of a batch's fused embeddings against each other and the `memory_rows` fused
    embeddings before them, once `memory_warmup_batches` were trained on.

    It reads; only `keep` fills it, so that a trial or the doctor's steps leave it as it is. Entries
    of recordings that are in the batch are passed over. It is part of the objective's state.
    """

    batches: Tensor

    def __init__(self, settings: ObjectiveSettings, embedding_dim: int) -> None:
        super().__init__()
        self.warmup_batches = settings.memory_warmup_batches
        self.entries = CrossBatchMemory(settings.memory_rows, embedding_dim)
        self.loss = SupConLoss(
            settings.temperature, variant=settings.loss_variant, memory=self.entries
        )
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self.train(self.training)

    def train(self, mode: bool = True) -> FusedMemory:
        """The loss stays in evaluation mode, in which it does not fill its memory."""
        super().train(mode)
        self.loss.eval()
        return self

    @property
    def takes_part(self) -> bool:
        """Whether warm-up is over."""
        return int(self.batches) >= self.warmup_batches

    def forward(self, entries: Entries) -> Tensor:
        value: Tensor = self.loss(entries.rows, entries.labels, index=entries.recordings)
        return value

    def keep(self, entries: Entries) -> None:
        """Takes up a batch that was trained on."""
        codes = torch.where(entries.labels < 0, UNLABELLED, entries.labels)
        self.entries.push(entries.rows, codes, entries.recordings)
        self.batches += 1
