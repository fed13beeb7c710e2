"""CrossBatchMemory: the embeddings of earlier batches, as further positives and negatives (XBM,
Wang et al., CVPR 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CrossBatchMemory(nn.Module):
    """Keeps the last `size` unit embeddings with their labels, first in first out; a batch never
    meets what it is about to leave.

    Entries carry no gradient. With the samples' indices, entries of samples that are in the batch
    are passed over, so that no anchor meets an older copy of itself. Its state_dict continues
    exactly where it was taken. rows (size, embedding_dim), codes and index (size,) int64, -1 where
    unlabelled or not given. Earlier embeddings drift: keep the size to a few batches while the
    learning rate is high.
    """

    rows: Tensor
    codes: Tensor
    index: Tensor
    stored: Tensor

    def __init__(self, size: int, embedding_dim: int) -> None:
        super().__init__()
        if size < 1 or embedding_dim < 1:
            raise ValueError(
                f"size is {size} and embedding_dim is {embedding_dim}; both must be at least 1"
            )
        self.size = size
        self.register_buffer("rows", torch.zeros(size, embedding_dim))
        self.register_buffer("codes", torch.full((size,), -1))
        self.register_buffer("index", torch.full((size,), -1))
        self.register_buffer("stored", torch.zeros((), dtype=torch.int64, device="cpu"))

    def __len__(self) -> int:
        return min(int(self.stored), self.size)

    def keys(self, without: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Embeddings (M, D) and codes (M,) of the entries, oldest first, leaving out the samples of
        the index `without`.
        """
        count, start = len(self), int(self.stored) % self.size
        order = torch.arange(count, device=self.rows.device)
        if count == self.size:
            order = (order + start) % self.size
        if without is not None:
            order = order[
                ~torch.isin(self.index[order], without[without >= 0].to(self.index.device))
            ]
        return self.rows[order], self.codes[order]

    @torch.no_grad()
    def push(self, rows: Tensor, codes: Tensor, index: Tensor | None = None) -> None:
        """Stores a batch: rows (N, D) normalised, codes (N,), and the samples' index (N,); the
        oldest entries make room.
        """
        if rows.shape[1] != self.rows.shape[1]:
            raise ValueError(
                f"embeddings have {rows.shape[1]} dimensions, the memory was made for "
                f"embedding_dim={self.rows.shape[1]}"
            )
        index = torch.full_like(codes, -1) if index is None else index
        place = (torch.arange(len(rows), device=self.rows.device) + int(self.stored))[
            -self.size :
        ] % self.size
        self.rows[place] = nn.functional.normalize(rows.detach().to(self.rows.dtype), dim=1)[
            -self.size :
        ]
        self.codes[place] = codes[-self.size :]
        self.index[place] = index.to(self.index.device)[-self.size :]
        self.stored += len(rows)

    def reset(self) -> None:
        """Empties it: what follows is exactly what a new memory gives."""
        self.rows.zero_()
        self.codes.fill_(-1)
        self.index.fill_(-1)
        self.stored.zero_()
