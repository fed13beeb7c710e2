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
MOST_KEPT = 64  # tables of several neighbours
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
        self._several: dict[int, tuple[Tensor, SelfMatch]] = {}

    def install(self) -> None:
        for name in NEAREST:
            self._replace(Tensor, name, self._nearest)
            self._replace(torch, name, self._nearest)
        self._replace(Tensor, "__getitem__", self._taken)

    def remove(self) -> None:
        super().remove()
        self.found += [match for _, match in self._several.values()][:1]
        self._several.clear()

    def _nearest(self, old: Any) -> Any:
        @wraps(old)
        def nearest(table: Any, *args: Any, **kwargs: Any) -> Any:
            result = old(table, *args, **kwargs)
            asked = (args or kwargs) and not _for_a_softmax(args, kwargs)
            if _is_table(table) and asked and not self.found and self.watching():
                with self.looking():
                    best = result if isinstance(result, Tensor) else result.indices
                    match = self._judge(table, best, old.__name__)
                    if match is not None and best.numel() == len(table):
                        self.found.append(match)
                    elif match is not None and len(self._several) < MOST_KEPT:
                        for part in result:  # the first of several may be left out yet
                            self._several[id(part)] = part, match
            return result

        return nearest

    def _taken(self, old: Any) -> Any:
        def __getitem__(tensor: Tensor, key: Any) -> Any:
            if id(tensor) in self._several and not _keeps_first(key):
                match = self._several[id(tensor)][1]
                for other in [k for k, (_, own) in self._several.items() if own is match]:
                    del self._several[other]
            return old(tensor, key)

        return __getitem__

    def _judge(self, table: Tensor, best: Any, name: str) -> SelfMatch | None:
        rows = torch.arange(len(table), device=table.device)
        if not isinstance(best, Tensor) or best.is_floating_point():
            return None
        if best.ndim == 2 and len(best) == len(rows):
            best = best[:, 0]
        if best.numel() != len(rows) or int(best.max()) >= table.shape[1]:
            return None
        best = best.flatten()
        reached, size = table[rows, best], (len(table), table.shape[1])
        if size[0] == size[1] and torch.allclose(table, table.T, atol=ALIKE):
            none_better = bool(reached.isclose(table.diagonal(), atol=ROUNDING).all())
            if none_better and float((best == rows).float().mean()) > 0.5:
                return SelfMatch(name, *size, True)
        elif _of_likes(table, reached) and len(best.unique()) > len(rows) / 2:
            return SelfMatch(name, *size, False)
        return None


def _for_a_softmax(args: Any, kwargs: Any) -> bool:
    """Whether the best entry of each row is taken so that it fits to the table: a loss takes it
    off all logits, lest their exponentials overflow.
    """
    return bool(kwargs.get("keepdim", len(args) > 1 and args[1] is True))


def _keeps_first(key: Any) -> bool:
    """Whether the first column is among what a key takes of a table."""
    column = key[-1] if isinstance(key, tuple) and len(key) == 2 else slice(None)
    if isinstance(column, int):
        return column == 0
    return not (isinstance(column, slice) and column.start not in (None, 0))


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
