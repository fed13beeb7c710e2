"""Rows that an evaluation finds to be their own nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from quadlib.diagnosis.observe.patches import Looking, Patches, Watching

FEWEST_ROWS, FEWEST_COLUMNS = 16, 32
MOST_NUMBERS = 1 << 26
NEAREST = ("argmax", "argmin", "max", "min", "topk")
ROUNDING = 1e-5
ALIKE = 1e-4  # a product and its transpose are summed in other orders
SPREAD = 0.02  # of all entries; of rows that are all alike the best ones are equal too


@dataclass(frozen=True)
class SelfMatch:
    """Of a table of rows against columns the best one was asked for. own: it is that of every row
    against every row, and none was better than the row itself; else the best entry is one and the
    same number for every row, as only that of a row and its like can be. function: what was called.
    """

    function: str
    rows: int
    columns: int
    own: bool


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
            if _is_table(table) and (args or kwargs) and not self.found and self.watching():
                with self.looking():
                    best = result if isinstance(result, Tensor) else result.indices
                    self._judge(table, best, old.__name__)
            return result

        return nearest

    def _judge(self, table: Tensor, best: Any, name: str) -> None:
        rows = torch.arange(len(table), device=table.device)
        if not isinstance(best, Tensor) or best.is_floating_point() or best.numel() != len(rows):
            return  # several were asked for, of which the first may be left out
        best = best.flatten()
        if int(best.max()) >= table.shape[1]:
            return  # along the other axis
        reached = table[rows, best]
        if table.shape[0] == table.shape[1] and torch.allclose(table, table.T, atol=ALIKE):
            none_better = bool(reached.isclose(table.diagonal(), atol=ROUNDING).all())
            if none_better and float((best == rows).float().mean()) > 0.5:
                self.found.append(SelfMatch(name, len(table), table.shape[1], True))
        elif _of_likes(table, reached) and len(best.unique()) > len(rows) / 2:
            self.found.append(SelfMatch(name, len(table), table.shape[1], False))


def _is_table(table: Any) -> bool:
    return (
        isinstance(table, Tensor)
        and table.ndim == 2
        and table.is_floating_point()
        and len(table) >= FEWEST_ROWS
        and table.shape[1] >= FEWEST_COLUMNS
        and table.numel() <= MOST_NUMBERS
        and not table.requires_grad
    )


def _of_likes(table: Tensor, reached: Tensor) -> bool:
    """Whether the best entries are one number, which the others are not: a cosine of 1, or a
    distance of 0. Shares of one, as of a softmax, are none of these.
    """
    size = float(table.abs().max())
    same = bool((reached - reached[0]).abs().max() <= ROUNDING * size)
    shares = bool((table.sum(1) - 1).abs().max() < ROUNDING)
    return same and not shares and float(table.std()) > SPREAD * size
