"""The batch of all processes, so that each computes the one-process loss and, under
DistributedDataParallel, the one-process gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

_alone = 0  # how many `alone` are open


def is_distributed() -> bool:
    """Whether several processes share the batch."""
    among_others = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    return among_others and not _alone


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process's batch is the whole batch and no loss gathers: for one that was
    gathered before, and for what one process does while the others wait.
    """
    global _alone
    _alone += 1
    try:
        yield
    finally:
        _alone -= 1


def gather_batch(embeddings: Tensor, *columns: Tensor | None) -> tuple[Tensor, list[Tensor | None]]:
    """Embeddings (n, ...) with their gradient, and columns (n, ...) such as labels, of all
    processes, in the order of their ranks; n may differ between them.

    Every process then computes the same loss over the whole batch: the value is the true one on
    each, and no process averages over its own anchors alone, which is wrong where lone anchors are
    unevenly spread. The gradient of a process's rows is multiplied by the number of processes,
    since DistributedDataParallel averages over them.
    """
    device = embeddings.device
    sizes = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor([len(embeddings)], device=device))
    counts = [int(size) for size in sizes]
    return cast(Any, _GatherRows).apply(embeddings, counts), [
        None if column is None else _gather(_wide(column).to(device), counts) for column in columns
    ]


def _wide(values: Tensor) -> Tensor:
    """Whole numbers as int64, which every backend gathers, whatever each process has."""
    return values if values.is_floating_point() else values.to(torch.int64)


def _gather(values: Tensor, counts: list[int]) -> Tensor:
    padded = values.new_zeros(max(counts), *values.shape[1:])
    padded[: len(values)] = values
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        rank = dist.get_rank()
        ctx.mine, ctx.world_size = slice(sum(counts[:rank]), sum(counts[: rank + 1])), len(counts)
        return _gather(rows.detach(), counts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[ctx.mine] * ctx.world_size, None
