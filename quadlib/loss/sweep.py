"""The tiles of exp(s) between anchors and what they are compared with: swept once for sums, once
for the gradient.

s is symmetric inside the batch, so a tile of its upper triangle adds its row sums to one block of
anchors and its column sums to another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Compared(NamedTuple):
    """What the tiles are made of, all rows in units in which their product is s in bits.

    x (N, D) anchors of codes (N,); keys (M, D) of key_codes (M,), or None; groups (N,) whose pairs
    count neither way, or None; alone: keys are compared with, the batch is not; inner: the sums
    over positives are asked for; negatives: positives are left out of the denominator.
    """

    x: Tensor
    codes: Tensor
    keys: Tensor | None
    key_codes: Tensor | None
    groups: Tensor | None
    alone: bool
    inner: bool
    negatives: bool


class _Tile(NamedTuple):
    """Two blocks, whether the second is of keys, whether the tile stands for its mirror image too,
    and exp(s) between them, 0 where a pair is not compared.
    """

    rows: slice
    columns: slice
    of_keys: bool
    mirrored: bool
    energy: Tensor


class Sweep:
    """Tiles of `size` rows, made once where `kept_bytes` hold them all, else whenever read."""

    def __init__(self, pairs: Compared, size: int, kept_bytes: int) -> None:
        self.pairs = pairs
        n, n_keys = len(pairs.x), 0 if pairs.keys is None else len(pairs.keys)
        self.blocks = [slice(start, min(start + size, n)) for start in range(0, n, size)]
        self.key_blocks = [
            slice(start, min(start + size, n_keys)) for start in range(0, n_keys, size)
        ]
        triangle = 0 if pairs.alone else len(self.blocks) * (len(self.blocks) + 1) // 2
        entries = triangle * size * size + n * n_keys
        self.kept: dict[tuple[int, int, bool], Tensor] | None = (
            {} if entries * pairs.x.element_size() <= kept_bytes else None
        )
        self.buffer = pairs.x.new_empty(size * size)
        self.second = pairs.x.new_empty(size * size)

    def sums(self) -> tuple[Tensor, Tensor]:
        """Per anchor (N,), the denominator and, where inner, the sum over its positives."""
        total, positive = (self.pairs.x.new_zeros(len(self.pairs.x)) for _ in range(2))
        for tile in self._tiles():
            self._add(total, tile, self._denominator(tile))
            if self.pairs.inner:
                self._add(positive, tile, tile.energy * self._same_class(tile))
        return total, positive

    def gradient(
        self, pull: Tensor, pull_positive: Tensor | None, for_keys: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """sum_j c_ij x_j over the batch (N, D); sum_k c_ik k over the keys (N, D); and, for_keys,
        sum_i c_ik x_i for each key (M, D). The last sweep: kept tiles are used up.

        c_ij is E_ij (p_i + p_j) with p the pull of an anchor on its denominator, less the same with
        pull_positive over positives; a key does not pull: c_ik is E_ik p_i.
        """
        pairs = self.pairs
        by_batch = torch.zeros_like(pairs.x)
        by_keys = None if pairs.keys is None else torch.zeros_like(pairs.x)
        of_keys = torch.zeros_like(pairs.keys) if for_keys and pairs.keys is not None else None
        for tile in self._tiles():
            rows, columns = tile.rows, tile.columns
            pushed = tile.energy
            if pull_positive is not None:
                same = self._same_class(tile)
                pulled = (tile.energy * same).mul_(self._pair_pull(pull_positive, tile))
                pushed = pushed.masked_fill_(same, 0) if pairs.negatives else pushed
                coefficient = pushed.mul_(self._pair_pull(pull, tile)).sub_(pulled)
            else:
                coefficient = pushed.mul_(self._pair_pull(pull, tile))
            if by_keys is not None and pairs.keys is not None and tile.of_keys:
                by_keys[rows].addmm_(coefficient, pairs.keys[columns])
                if of_keys is not None:
                    of_keys[columns].addmm_(coefficient.T, pairs.x[rows])
                continue
            by_batch[rows].addmm_(coefficient, pairs.x[columns])
            if tile.mirrored:
                by_batch[columns].addmm_(coefficient.T, pairs.x[rows])
        return by_batch, by_keys, of_keys

    def _tiles(self) -> Iterator[_Tile]:
        for i, rows in enumerate(self.blocks):
            for columns in () if self.pairs.alone else self.blocks[i:]:
                yield _Tile(
                    rows, columns, False, rows != columns, self._energy(rows, columns, False)
                )
            for columns in self.key_blocks:
                yield _Tile(rows, columns, True, False, self._energy(rows, columns, True))

    def _energy(self, rows: slice, columns: slice, of_keys: bool) -> Tensor:
        place = (rows.start, columns.start, of_keys)
        if self.kept is not None and place in self.kept:
            return self.kept[place]
        pairs = self.pairs
        others = pairs.keys if of_keys and pairs.keys is not None else pairs.x
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        energy = (
            pairs.x.new_empty(shape)
            if self.kept is not None
            else self.buffer[: shape[0] * shape[1]].view(shape)
        )
        torch.mm(pairs.x[rows], others[columns].T, out=energy)
        energy.exp2_()
        if pairs.groups is not None and not of_keys:
            energy.masked_fill_(pairs.groups[rows, None] == pairs.groups[columns], 0)
        elif rows == columns and not of_keys:
            energy.fill_diagonal_(0)
        if pairs.negatives and not pairs.inner:
            energy.masked_fill_(self._same_codes(rows, columns, of_keys), 0)
        if self.kept is not None:
            self.kept[place] = energy
        return energy

    def _denominator(self, tile: _Tile) -> Tensor:
        if self.pairs.negatives and self.pairs.inner:
            return tile.energy.masked_fill(self._same_class(tile), 0)
        return tile.energy

    def _add(self, sums: Tensor, tile: _Tile, energy: Tensor) -> None:
        sums[tile.rows] += energy.sum(1)
        if tile.mirrored:
            sums[tile.columns] += energy.sum(0)

    def _pair_pull(self, pull: Tensor, tile: _Tile) -> Tensor:
        if tile.of_keys:
            return pull[tile.rows, None]
        out = self.second[: tile.energy.numel()].view(tile.energy.shape)
        return torch.add(pull[tile.rows, None], pull[tile.columns], out=out)

    def _same_class(self, tile: _Tile) -> Tensor:
        return self._same_codes(tile.rows, tile.columns, tile.of_keys)

    def _same_codes(self, rows: slice, columns: slice, of_keys: bool) -> Tensor:
        pairs = self.pairs
        others = pairs.key_codes if of_keys and pairs.key_codes is not None else pairs.codes
        return pairs.codes[rows, None] == others[columns]
