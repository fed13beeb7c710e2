"""Rows that an evaluation finds to be their own nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from quadlib.diagnosis.observe.patches import Looking, Patches, Watching

FEWEST_ROWS = 16
MOST_ROWS = 8192
NEAREST = ("argmax", "argmin", "max", "min", "topk")
ROUNDING = 1e-5
ALIKE = 1e-4  # a product and its transpose are summed in other orders


@dataclass(frozen=True)
class SelfMatch:
    """Of a table of every row against every row the best one was asked for, and none was better
    than the row itself. function: what was called.
    """

    function: str
    rows: int


class NeighbourWatch(Patches):
    """Fills a list from `install` to `remove`."""

    def __init__(self, found: list[SelfMatch], watching: Watching, looking: Looking) -> None:
        super().__init__()
        self.found, self.watching, self.looking = found, watching, looking

    def install(self) -> None:
        for name in NEAREST:
            self._replace(Tensor, name, self._nearest)
            self._replace(torch, name, self._nearest)

    def _nearest(self, old: Any) -> Any:
        @wraps(old)
        def nearest(table: Any, *args: Any, **kwargs: Any) -> Any:
            result = old(table, *args, **kwargs)
            if _square(table) and (args or kwargs) and not self.found and self.watching():
                with self.looking():
                    best = result if isinstance(result, Tensor) else result.indices
                    if _own(best, table) and torch.allclose(table, table.T, atol=ALIKE):
                        self.found.append(SelfMatch(old.__name__, len(table)))
            return result

        return nearest


def _square(table: Any) -> bool:
    return (
        isinstance(table, Tensor)
        and table.ndim == 2
        and table.shape[0] == table.shape[1]
        and FEWEST_ROWS <= len(table) <= MOST_ROWS
        and not table.requires_grad
    )


def _own(best: Any, table: Tensor) -> bool:
    """Whether one place was asked for a row, and it is the row's own, or no better than that."""
    n = len(table)
    if not isinstance(best, Tensor) or best.is_floating_point() or best.numel() != n:
        return False
    rows = torch.arange(n, device=best.device)
    reached, own = table[rows, best.flatten().clamp(0, n - 1)], table.diagonal()
    return bool(reached.isclose(own, atol=ROUNDING).all()) and bool(
        (best.flatten() == rows).float().mean() > 0.5
    )
