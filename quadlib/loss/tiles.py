"""The fast form of SupCon: class sums for the positives, symmetric tiles for the log-sum-exp, no N
x N matrix, gradient with the value.

L_i = ln sum_{j != i} exp(s_ij) - z_i . (m_i - z_i) / (T c_i), with m_i the sum of the anchor's
class and c_i its number of positives: the positives cost O(N d). s is symmetric, so half of its
tiles suffice: a tile E = exp(s) adds its row sums to one block of anchors and its column sums to
another. The gradient with respect to z_i is sum_j E_ij (p_i + p_j) z_j / T less the class sums,
with p_i = 1 / (n_used sum_j E_ij), and is made in the same call, from tiles kept where they are few
and made again where they are many: memory is O(N d + kept tiles), and backward only multiplies.

Rows are scaled so that s is in bits, since exp2 is up to three times faster than exp on a CPU; unit
rows keep |s| <= log2(e) / T, so that no maximum need be subtracted while the exponents stay within
the float's range: float32 serves T >= 0.0145, float64 T >= 0.0016.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

LOG2_E = math.log2(math.e)
LN_2 = math.log(2.0)
KEPT_BYTES = 192 * 2**20
SINGLE_TILE_ROWS = 384
EMPTY = -1e4  # bits of an anchor with itself: exp2 gives 0, and 0 times it is 0


class TileLoss(NamedTuple):
    """value: the mean over used anchors, differentiable. per_anchor (N,): their losses in nats, 0
    where unused. used (N,) bool.
    """

    value: Tensor
    per_anchor: Tensor
    used: Tensor


def tile_rows(n: int) -> int:
    """Rows of a tile for n anchors that need several: what was fastest on one and two cores."""
    return 512 if n <= 2048 else 768


def fitting_dtype(temperature: float, dtype: torch.dtype) -> torch.dtype | None:
    """The dtype whose exponents hold exp(+-1/T) with room to sum, or None where even float64's do
    not.
    """
    bits = LOG2_E / temperature
    if bits <= 100 and dtype == torch.float32:
        return torch.float32
    return torch.float64 if bits <= 900 else None


def tile_loss(
    rows: Tensor,
    codes: Tensor,
    temperature: float | Tensor,
    variant: str = "out",
    *,
    keys: Tensor | None = None,
    key_codes: Tensor | None = None,
    tile: int | None = None,
    kept_bytes: int = KEPT_BYTES,
) -> TileLoss:
    """SupCon of rows (N, D), of any length, with class codes (N,) int64, against each other and
    against constant keys (M, D) of key_codes (M,).

    Rows and keys are normalised inside. temperature may be a tensor, which then has a gradient.
    tile: rows of a tile (default by size). Needs fitting_dtype(temperature) for rows. Raises
    RuntimeError when differentiated twice.
    """
    return TileLoss(
        *_TileLoss.apply(rows, temperature, codes, variant, keys, key_codes, tile, kept_bytes)
    )


class _TileLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        temperature: float | Tensor,
        codes: Tensor,
        variant: str,
        keys: Tensor | None,
        key_codes: Tensor | None,
        tile: int | None,
        kept_bytes: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        inverse = (
            torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_(min=1e-12).reciprocal_()
        )
        bits = LOG2_E / temperature
        scale = inverse * (bits.sqrt() if isinstance(bits, Tensor) else math.sqrt(bits))
        scaled = rows * scale
        differentiate = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        if keys is None and tile is None and len(rows) <= SINGLE_TILE_ROWS:
            value, per_anchor, used, gradient, from_keys = (
                *_one_tile(scaled, codes, variant, differentiate),
                None,
            )
        else:
            known = (
                None
                if keys is None or key_codes is None
                else (normalize(keys.to(rows.dtype), eps=1e-12) * bits**0.5, key_codes)
            )
            value, per_anchor, used, gradient, from_keys = _many_tiles(
                scaled, codes, variant, known, differentiate, tile, kept_bytes
            )
        ctx.mark_non_differentiable(per_anchor, used)
        ctx.set_materialize_grads(False)
        by_rows = by_temperature = None
        if gradient is not None:
            along = (gradient * scaled).sum(1, keepdim=True)
            if ctx.needs_input_grad[1]:
                # rows and keys are both scaled by 1 / sqrt(T); only the rows' share is in
                # `gradient`
                by_temperature = (
                    (along.sum() + (0.0 if from_keys is None else (from_keys * scaled).sum()))
                    * -0.5
                    / temperature
                )
            if ctx.needs_input_grad[0]:
                # the length of a row has no say: what points along it is taken out
                by_rows = gradient.sub_(scaled * (along / bits)).mul_(scale)
        ctx.save_for_backward(by_rows, by_temperature)
        return value, per_anchor, used

    @staticmethod
    def backward(ctx: Any, *outer: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "SupConLoss makes its gradient with its value and cannot be differentiated twice; "
                "use SupConLoss(..., form='direct') where a second derivative is needed"
            )
        by_rows, by_temperature = ctx.saved_tensors
        if outer[0] is None:
            return (None,) * 8
        return (
            None if by_rows is None else by_rows * outer[0],
            None if by_temperature is None else by_temperature * outer[0],
            None,
            None,
            None,
            None,
            None,
            None,
        )


def _one_tile(
    x: Tensor, codes: Tensor, variant: str, differentiate: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The whole matrix as one tile: fewest operations, for batches so small that calls cost more
    than arithmetic.
    """
    bits = (x @ x.T).fill_diagonal_(EMPTY)
    same = (codes[:, None] == codes).to(x.dtype).fill_diagonal_(0)
    n_positives = same.sum(1)
    used = n_positives > 0
    weight = used.to(x.dtype) / used.sum().clamp_(min=1)
    same *= (weight / n_positives.clamp(min=1))[:, None]
    if variant == "out":
        attraction = (bits * same).sum(1)
    energy = bits.exp2_()
    total = energy.sum(1)
    if variant == "out":
        per_anchor = torch.where(used, total.log() - LN_2 * attraction / weight, 0.0)
    else:
        same = (same > 0) * energy
        positive = same.sum(1)
        per_anchor = torch.where(
            used, (total / positive).log() + n_positives.clamp(min=1).log(), 0.0
        )
    value = per_anchor @ weight
    if not differentiate:
        return value, per_anchor, used, None
    pull = torch.where(used, weight / total, 0.0)
    energy *= pull[:, None] + pull
    if variant == "out":
        energy -= same.mul_(2)
    else:
        pull = torch.where(used, weight / positive, 0.0)
        energy -= same.mul_(pull[:, None] + pull)
    return value, per_anchor, used, energy.mul_(LN_2) @ x


def _many_tiles(
    x: Tensor,
    codes: Tensor,
    variant: str,
    keys: tuple[Tensor, Tensor] | None,
    differentiate: bool,
    tile: int | None,
    kept_bytes: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """The sums over the upper triangle of tiles, and, once every anchor's total is known, the
    gradient over the same tiles.
    """
    size = tile or tile_rows(len(x))
    classes = _class_sums(x, codes, keys)
    used = classes.n_positives > 0
    weight = used.to(x.dtype) / used.sum().clamp_(min=1)
    inner = variant == "in"
    tiles = _Tiles(x, codes, keys, size, inner, kept_bytes if differentiate else 0)
    total, positive = tiles.sums()
    if inner:
        per_anchor = torch.where(
            used, (total / positive).log() + classes.n_positives.clamp(min=1).log(), 0.0
        )
    else:
        attraction = (x * classes.positive_sum).sum(1) / classes.n_positives.clamp(min=1)
        per_anchor = torch.where(used, total.log() - LN_2 * attraction, 0.0)
    value = per_anchor @ weight
    if not differentiate:
        return value, per_anchor, used, None, None
    pull = torch.where(used, weight / total, 0.0)
    pull_positive = torch.where(used, weight / positive, 0.0) if inner else None
    gradient, from_keys = tiles.gradient(pull, pull_positive)
    if not inner:
        per_positive = (weight / classes.n_positives.clamp(min=1))[:, None]
        gradient.sub_(classes.batch_sum.mul(2).mul_(per_positive))
        if from_keys is not None:
            from_keys.sub_((classes.positive_sum - classes.batch_sum).mul_(per_positive))
    if from_keys is not None:
        gradient += from_keys
        from_keys.mul_(LN_2)
    return value, per_anchor, used, gradient.mul_(LN_2), from_keys


class _ClassSums(NamedTuple):
    """Per anchor: its number of positives (N,), the sum of its positives (N, D), and of those of
    them that are in the batch.
    """

    n_positives: Tensor
    positive_sum: Tensor
    batch_sum: Tensor


def _class_sums(x: Tensor, codes: Tensor, keys: tuple[Tensor, Tensor] | None) -> _ClassSums:
    n = len(x)
    every = codes if keys is None else torch.cat([codes, keys[1]])
    ordered, order = every.sort()
    # classes are numbered without asking how many there are, which would make the host wait for the
    # device
    number = torch.cat([ordered.new_zeros(1), (ordered[1:] != ordered[:-1]).cumsum(0)])
    place = torch.empty_like(order).scatter_(0, order, number)
    count = torch.zeros(len(every), dtype=x.dtype, device=x.device).index_add_(
        0, place, torch.ones_like(place, dtype=x.dtype)
    )
    sums = torch.zeros(len(every), x.shape[1], dtype=x.dtype, device=x.device).index_add_(
        0, place[:n], x
    )
    batch_sum = sums[place[:n]] - x
    positive_sum = batch_sum
    if keys is not None:
        sums.zero_().index_add_(0, place[n:], keys[0])
        positive_sum = batch_sum + sums[place[:n]]
    return _ClassSums(count[place[:n]] - 1, positive_sum, batch_sum)


class _Tiles:
    """The tiles of exp2(x x^T), upper triangle, and of exp2(x keys^T): made once where they may be
    kept, else whenever they are read.
    """

    def __init__(
        self,
        x: Tensor,
        codes: Tensor,
        keys: tuple[Tensor, Tensor] | None,
        size: int,
        inner: bool,
        kept_bytes: int,
    ) -> None:
        self.x, self.codes, self.keys, self.inner = x, codes, keys, inner
        self.blocks = [slice(start, min(start + size, len(x))) for start in range(0, len(x), size)]
        n_keys = 0 if keys is None else len(keys[0])
        self.key_blocks = [
            slice(start, min(start + size, n_keys)) for start in range(0, n_keys, size)
        ]
        entries = len(self.blocks) * (len(self.blocks) + 1) // 2 * size * size + len(x) * n_keys
        self.kept: dict[tuple[int, int, bool], Tensor] | None = (
            {} if entries * x.element_size() <= kept_bytes else None
        )
        self.buffer = x.new_empty(size * size)
        self.second = x.new_empty(size * size)

    def sums(self) -> tuple[Tensor, Tensor]:
        """Per anchor, the sum of exp over all others, and over its positives (only where the inner
        variant needs it).
        """
        total, positive = self.x.new_zeros(len(self.x)), self.x.new_zeros(len(self.x))
        for rows, columns, of_keys, energy in self._tiles():
            total[rows] += energy.sum(1)
            mirrored = not of_keys and rows != columns
            if mirrored:
                total[columns] += energy.sum(0)
            if self.inner:
                energy = self._positives(rows, columns, of_keys, energy)
                positive[rows] += energy.sum(1)
                if mirrored:
                    positive[columns] += energy.sum(0)
        return total, positive

    def gradient(self, pull: Tensor, pull_positive: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """sum_j E_ij (p_i + p_j) x_j over the batch (N, D), and sum_k E_ik p_i k over the keys (N,
        D), less the same over positives where inner.
        """
        gradient = torch.zeros_like(self.x)
        from_keys = None if self.keys is None else torch.zeros_like(self.x)
        for rows, columns, of_keys, energy in self._tiles():
            weights = pull[rows, None] if of_keys else self._outer_sum(pull, rows, columns)
            if pull_positive is not None:
                positive = self._positives(rows, columns, of_keys, energy)
                positive = positive * (
                    pull_positive[rows, None]
                    if of_keys
                    else pull_positive[rows, None] + pull_positive[columns]
                )
                energy = energy.mul_(weights).sub_(positive)
            else:
                energy = energy.mul_(weights)
            if of_keys:
                assert self.keys is not None and from_keys is not None
                from_keys[rows].addmm_(energy, self.keys[0][columns])
                continue
            gradient[rows].addmm_(energy, self.x[columns])
            if rows != columns:
                gradient[columns].addmm_(energy.T, self.x[rows])
        return gradient, from_keys

    def _tiles(self) -> Iterator[tuple[slice, slice, bool, Tensor]]:
        for i, rows in enumerate(self.blocks):
            for columns in self.blocks[i:]:
                yield rows, columns, False, self._energy(rows, columns, False)
            for columns in self.key_blocks:
                yield rows, columns, True, self._energy(rows, columns, True)

    def _energy(self, rows: slice, columns: slice, of_keys: bool) -> Tensor:
        place = (rows.start, columns.start, of_keys)
        if self.kept is not None and place in self.kept:
            return self.kept[place]
        others = self.keys[0] if of_keys and self.keys is not None else self.x
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        energy = (
            self.x.new_empty(shape)
            if self.kept is not None
            else self.buffer[: shape[0] * shape[1]].view(shape)
        )
        torch.mm(self.x[rows], others[columns].T, out=energy)
        energy.exp2_()
        if rows == columns and not of_keys:
            energy.fill_diagonal_(0)
        if self.kept is not None:
            self.kept[place] = energy
        return energy

    def _outer_sum(self, values: Tensor, rows: slice, columns: slice) -> Tensor:
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        return torch.add(
            values[rows, None], values[columns], out=self.second[: shape[0] * shape[1]].view(shape)
        )

    def _positives(self, rows: slice, columns: slice, of_keys: bool, energy: Tensor) -> Tensor:
        others = self.keys[1] if of_keys and self.keys is not None else self.codes
        return energy * (self.codes[rows, None] == others[columns])
