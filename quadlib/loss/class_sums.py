"""Sums over the positives of every anchor in O(N D): a class's sum, less what of it is no positive.

The positives of an anchor are its class without itself, or, where groups are ignored, without the
anchor's cell, which is all of its class in its own group.
"""

from __future__ import annotations

import torch
from torch import Tensor


class ClassSums:
    """Numbers the classes and cells of N anchors and M keys once; sums over them as often as asked.

    n_positives, n_negatives: (N,) in the dtype of the rows. alone: positives and negatives are keys
    alone. Nothing here makes the host wait for the device.
    """

    def __init__(
        self,
        codes: Tensor,
        key_codes: Tensor | None,
        groups: Tensor | None,
        alone: bool,
        dtype: torch.dtype,
    ) -> None:
        self.alone, n_keys = alone, 0 if key_codes is None else len(key_codes)
        every = codes if key_codes is None else torch.cat([codes, key_codes])
        places = _numbered(every)
        self.places, self.key_places = places[: len(codes)], places[len(codes) :]
        self.n_classes = len(every)
        self.cells: Tensor | None = None
        one = torch.ones(len(every), dtype=dtype, device=codes.device)
        counted = slice(len(codes), None) if alone else slice(None)
        self.n_positives = self._sum(places[counted], one[counted])[self.places]
        n_ignored: float | Tensor = 0.0 if alone else 1.0
        if groups is not None:
            group_places = _numbered(groups)
            self.cells = _numbered(self.places * len(codes) + group_places)
            self.n_positives -= self._sum(self.cells, one[: len(codes)])[self.cells]
            n_ignored = self._sum(group_places, one[: len(codes)])[group_places]
        elif not alone:
            self.n_positives -= 1
        n_compared = (0 if alone else len(codes)) + n_keys
        self.n_negatives = n_compared - n_ignored - self.n_positives

    def over_batch(self, values: Tensor) -> Tensor:
        """The sum of `values` (N, D) over the positives of each anchor that are in the batch."""
        of_class = self._sum(self.places, values)[self.places]
        if self.cells is None:
            return of_class - values
        return of_class - self._sum(self.cells, values)[self.cells]

    def over_keys(self, keys: Tensor) -> Tensor:
        """The sum of `keys` (M, D) over the positives of each anchor that are keys, (N, D)."""
        return self._sum(self.key_places, keys)[self.places]

    def to_keys(self, values: Tensor) -> Tensor:
        """The sum of `values` (N, D) over the anchors that have a key as positive, (M, D)."""
        return self._sum(self.places, values)[self.key_places]

    def _sum(self, places: Tensor, values: Tensor) -> Tensor:
        return values.new_zeros(self.n_classes, *values.shape[1:]).index_add_(0, places, values)


def _numbered(values: Tensor) -> Tensor:
    """Numbers from 0 that are equal where the values are, without asking how many there are."""
    ordered, order = values.sort()
    number = torch.cat([ordered.new_zeros(1), (ordered[1:] != ordered[:-1]).cumsum(0)])
    return torch.empty_like(order).scatter_(0, order, number[: len(order)])
