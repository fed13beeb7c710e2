"""The fast form of SupCon: class sums for the positives, symmetric tiles for the log-sum-exp, no N
x N matrix, gradient with the value.

L_i = ln D_i - z_i . m_i / (T c_i), with D_i = sum_j exp(s_ij) over the denominator, and m_i the sum
of the anchor's c_i positives: the positives cost O(N d). Half of the tiles of the symmetric s
suffice for D. The gradient with respect to z_i is sum_j exp(s_ij) (p_i + p_j) z_j / T less the
class sums, with p_i = w_i / D_i and w_i the anchor's weight in the mean; it is made in the same
call, from tiles kept where they are few and made again where they are many: memory is O(N d + kept
tiles), and backward only multiplies.

Rows are scaled so that s is in bits, since exp2 is up to three times faster than exp on a CPU; unit
rows keep |s| <= log2(e) / T, so that no maximum need be subtracted while the exponents stay within
the float's range: float32 serves T >= 0.0145, float64 T >= 0.0016.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn.functional import threshold

from quadlib.loss.class_sums import ClassSums
from quadlib.loss.sweep import Compared, Sweep

LOG2_E = math.log2(math.e)
LN_2 = math.log(2.0)
KEPT_BYTES = 192 * 2**20
SINGLE_TILE_ROWS = 384
EMPTY = -1e4  # bits of a pair that is not compared: exp2 gives 0, and 0 times it is 0
SHORTEST = 1e-12  # a row no longer than this has no direction: it is taken as zeros


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


def inverse_lengths(rows: Tensor) -> Tensor:
    """1 / |row| (N, 1), and 0 for a row of zeros, which then is as far from all others as a right
    angle and has no gradient.
    """
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return threshold(lengths, SHORTEST, math.inf).reciprocal()


def anchor_weights(used: Tensor, importance: Tensor | None, dtype: torch.dtype) -> Tensor:
    """What each anchor counts in the mean (N,): 0 where unused, their sum 1, or 0 without any."""
    weight = used.to(dtype) if importance is None else used * importance.to(dtype)
    return weight / weight.sum().clamp_(min=torch.finfo(dtype).tiny)


def tile_loss(
    rows: Tensor,
    codes: Tensor,
    temperature: float | Tensor,
    variant: str = "out",
    *,
    denominator: str = "all",
    keys: Tensor | None = None,
    key_codes: Tensor | None = None,
    alone: bool = False,
    groups: Tensor | None = None,
    importance: Tensor | None = None,
    tile: int | None = None,
    kept_bytes: int = KEPT_BYTES,
) -> TileLoss:
    """SupCon of rows (N, D), of any length, with class codes (N,) int64, against each other and
    against keys (M, D) of key_codes (M,), or, where alone, against the keys only.

    Rows and keys are normalised inside. temperature, rows and keys have a gradient where they ask
    for one. groups (N,): pairs of one group count neither way. importance (N,): weights of the
    anchors in the mean. tile: rows of a tile (default by size). Needs fitting_dtype(temperature)
    for rows. Raises RuntimeError when differentiated twice.
    """
    arguments = (
        rows,
        keys,
        temperature,
        codes,
        key_codes,
        groups,
        importance,
        variant == "in",
        denominator == "negatives",
        alone,
        tile,
        kept_bytes,
    )
    return TileLoss(*cast(Any, _TileLoss).apply(*arguments))


class _Solved(NamedTuple):
    """The loss, and its derivatives with respect to the scaled rows and keys, where asked for.

    by_x (N, D) with the share of the keys in it, and that share by itself; by_keys (M, D).
    """

    value: Tensor
    per_anchor: Tensor
    used: Tensor
    by_x: Tensor | None = None
    share_of_keys: Tensor | None = None
    by_keys: Tensor | None = None


class _TileLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        keys: Tensor | None,
        temperature: float | Tensor,
        codes: Tensor,
        key_codes: Tensor | None,
        groups: Tensor | None,
        importance: Tensor | None,
        inner: bool,
        negatives: bool,
        alone: bool,
        tile: int | None,
        kept_bytes: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        bits = LOG2_E / temperature
        root = bits.sqrt() if isinstance(bits, Tensor) else math.sqrt(bits)
        scale = inverse_lengths(rows) * root
        x = rows * scale  # x_i . x_j is s_ij in bits
        key_scale = None if keys is None else inverse_lengths(keys) * root
        y = None if keys is None or key_scale is None else keys * key_scale
        asked_rows, asked_keys, asked_temperature = ctx.needs_input_grad[:3]
        asked = asked_rows or asked_keys or asked_temperature
        pairs = Compared(x, codes, y, key_codes, groups, alone, inner, negatives)
        if y is None and tile is None and len(rows) <= SINGLE_TILE_ROWS:
            solved = _one_tile(pairs, importance, asked)
        else:
            size = tile or tile_rows(max(len(rows), 0 if keys is None else len(keys)))
            solved = _many_tiles(pairs, importance, asked, asked_keys, size, kept_bytes)
        by_rows = by_keys = by_temperature = None
        if solved.by_x is not None:
            along_x = torch.linalg.vecdot(solved.by_x, x)[:, None]  # dV / d ln |x_i|
            if asked_temperature:
                # V depends on T through |x|^2 = |y|^2 = bits, and bits falls as 1 / T
                along_y = 0.0 if solved.share_of_keys is None else (solved.share_of_keys * x).sum()
                by_temperature = (along_x.sum() + along_y) * -0.5 / temperature
            if asked_rows:
                # the length of a row has no say: what points along it is taken out
                by_rows = solved.by_x.addcmul_(x, along_x / bits, value=-1).mul_(scale)
        if solved.by_keys is not None and y is not None and key_scale is not None:
            along = (solved.by_keys * y).sum(1, keepdim=True)
            by_keys = solved.by_keys.addcmul_(y, along / bits, value=-1).mul_(key_scale)
        ctx.mark_non_differentiable(solved.per_anchor, solved.used)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(by_rows, by_keys, by_temperature)
        return solved.value, solved.per_anchor, solved.used

    @staticmethod
    def backward(ctx: Any, *outer: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "SupConLoss makes its gradient with its value and cannot be differentiated twice; "
                "use SupConLoss(..., form='direct') where a second derivative is needed"
            )
        by_value = outer[0]
        parts = [
            None if part is None or by_value is None else part * by_value
            for part in ctx.saved_tensors
        ]
        return (*parts, *[None] * 9)


def _one_tile(pairs: Compared, importance: Tensor | None, asked: bool) -> _Solved:
    """The whole matrix as one tile: fewest operations, for batches so small that calls cost more
    than arithmetic.
    """
    x, codes, inner = pairs.x, pairs.codes, pairs.inner
    bits = x @ x.T
    same = (codes[:, None] == codes).to(x.dtype)
    if pairs.groups is None:
        bits.fill_diagonal_(EMPTY)
        same.fill_diagonal_(0)
    else:
        ignored = pairs.groups[:, None] == pairs.groups
        bits.masked_fill_(ignored, EMPTY)
        same.masked_fill_(ignored, 0)
    n_positives = same.sum(1)
    used = n_positives > 0
    n_positives.clamp_(min=1)
    # the mean of s_ip in bits
    attraction = None if inner else torch.linalg.vecdot(bits, same).div_(n_positives)
    energy = bits.exp2_()
    positive_energy = energy * same if inner else None
    if pairs.negatives:
        n_compared = len(x) - 1 if pairs.groups is None else (~ignored).sum(1)
        used &= same.sum(1) < n_compared
        energy.masked_fill_(same > 0, 0)
    total = energy.sum(1)  # D_i
    weight = anchor_weights(used, importance, x.dtype)  # w_i
    if positive_energy is None:
        positive = None
        losses = total.log() - LN_2 * cast(Tensor, attraction)
    else:
        positive = positive_energy.sum(1)  # P_i
        losses = total.log() - positive.log() + n_positives.log()
    per_anchor = torch.where(used, losses, 0.0)
    value = per_anchor @ weight
    if not asked:
        return _Solved(value, per_anchor, used)
    weight = weight * LN_2  # derivatives with respect to bits, from here on
    pull = torch.where(used, weight / total, 0.0)  # p_i = dV / dD_i
    coefficient = energy.mul_(pull[:, None] + pull)  # dV / ds_ij + dV / ds_ji, of the denominator
    if positive is not None and positive_energy is not None:
        pull = torch.where(used, weight / positive, 0.0)  # -dV / dP_i
        coefficient.addcmul_(positive_energy, pull[:, None] + pull, value=-1)
    else:
        pull = weight / n_positives  # -dV / ds_ip
        if importance is None and pairs.groups is None:  # then p_i = p_j within a class
            coefficient.addcmul_(same, pull[:, None], value=-2)
        else:
            coefficient.addcmul_(same, pull[:, None] + pull, value=-1)
    return _Solved(value, per_anchor, used, coefficient @ x)


def _many_tiles(
    pairs: Compared,
    importance: Tensor | None,
    asked: bool,
    asked_keys: bool,
    size: int,
    kept_bytes: int,
) -> _Solved:
    """The sums over the tiles, and, once every anchor's total is known, the gradient over the same
    tiles.
    """
    x, y = pairs.x, pairs.keys
    classes = ClassSums(pairs.codes, pairs.key_codes, pairs.groups, pairs.alone, x.dtype)
    used = classes.n_positives > 0
    if pairs.negatives:
        used &= classes.n_negatives > 0
    n_positives = classes.n_positives.clamp(min=1)
    weight = anchor_weights(used, importance, x.dtype)  # w_i
    sweep = Sweep(pairs, size, kept_bytes if asked else 0)
    total, positive = sweep.sums()  # D_i, and P_i where inner
    in_batch = None if pairs.inner or pairs.alone else classes.over_batch(x)
    in_keys = None if pairs.inner or y is None else classes.over_keys(y)
    if pairs.inner:
        losses = total.log() - positive.log() + n_positives.log()
    else:
        sums = [part for part in (in_batch, in_keys) if part is not None]
        attraction = torch.linalg.vecdot(x, sums[0] if len(sums) == 1 else sums[0] + sums[1])
        losses = total.log() - LN_2 * attraction.div_(n_positives)
    per_anchor = torch.where(used, losses, 0.0)
    value = per_anchor @ weight
    if not asked:
        return _Solved(value, per_anchor, used)
    pull = torch.where(used, weight / total, 0.0)  # p_i = dV / dD_i
    pull_positive = torch.where(used, weight / positive, 0.0) if pairs.inner else None
    by_x, share_of_keys, by_keys = sweep.gradient(pull, pull_positive, asked_keys)
    each = (weight / n_positives)[:, None]  # -dV / ds_ip, of every positive
    if in_batch is not None:
        # an anchor pulls its positives and is pulled by them, all alike where a class is
        if importance is None and pairs.groups is None:
            by_x.addcmul_(in_batch, each, value=-2)
        else:
            by_x.addcmul_(in_batch, each, value=-1).sub_(classes.over_batch(x * each))
    if in_keys is not None and share_of_keys is not None:
        share_of_keys.addcmul_(in_keys, each, value=-1)
    if by_keys is not None:
        if not pairs.inner:
            by_keys.sub_(classes.to_keys(x * each))
        by_keys.mul_(LN_2)
    if share_of_keys is not None:
        by_x += share_of_keys
        share_of_keys.mul_(LN_2)
    return _Solved(value, per_anchor, used, by_x.mul_(LN_2), share_of_keys, by_keys)
