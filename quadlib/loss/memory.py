"""CrossBatchMemory: the embeddings of earlier batches, as further positives and negatives (XBM,
Wang et al., CVPR 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

UNLABELLED = torch.iinfo(torch.int64).min


class CrossBatchMemory(nn.Module):
    """Keeps the last `size` unit embeddings with their labels, first in first out; a batch never
    meets what it is about to leave.

    Entries carry no gradient. With the samples' indices, entries of samples that are in the batch
    are passed over, so that no anchor meets an older copy of itself. A batch with an embedding that
    is not finite is not taken up, and counted in `batches_skipped`: its own loss is NaN, those
    after it are not. Its state_dict continues exactly where it was taken. Earlier embeddings drift:
    keep the size to a few batches while the learning rate is high.

    Args:
        size: How many embeddings it keeps at most.
        embedding_dim: Their dimensions D.

    Attributes:
        rows: (size, D) unit embeddings.
        codes: (size,) int64 class labels; UNLABELLED where an entry has none.
        index: (size,) int64 sample indices, -1 where they were not given.
        batches_skipped: Batches that were not taken up, since this object was made.

    Raises:
        ValueError: size or embedding_dim is below 1.

    Example:
        >>> from quadlib.loss import SupConLoss
        >>> loss = SupConLoss(memory=CrossBatchMemory(size=1024, embedding_dim=2))
        >>> value = loss(torch.eye(2, requires_grad=True), torch.tensor([0, 0]))
        >>> len(loss.memory)
        2
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
        self.batches_skipped = 0
        self.register_buffer("rows", torch.zeros(size, embedding_dim))
        self.register_buffer("codes", torch.full((size,), UNLABELLED))
        self.register_buffer("index", torch.full((size,), -1))
        self.register_buffer("stored", torch.zeros((), dtype=torch.int64, device="cpu"))

    def __len__(self) -> int:
        return min(int(self.stored), self.size)

    def holds_labels(self) -> bool:
        """Whether any entry has a label."""
        return bool((self.codes[: len(self)] != UNLABELLED).any())

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
        """Stores a batch; the oldest entries make room.

        Args:
            rows: Embeddings (N, D), of any length.
            codes: Class labels (N,), the same for a class in every batch; UNLABELLED for none.
            index: The samples' indices (N,).

        Raises:
            ValueError: The embeddings have other dimensions than the memory.
        """
        if rows.shape[1] != self.rows.shape[1]:
            raise ValueError(
                f"embeddings have {rows.shape[1]} dimensions, the memory was made for "
                f"embedding_dim={self.rows.shape[1]}"
            )
        if not rows.isfinite().all():
            self.batches_skipped += 1
            return
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
        self.codes.fill_(UNLABELLED)
        self.index.fill_(-1)
        self.stored.zero_()
