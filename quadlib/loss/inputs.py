"""What a contrastive loss is given, brought to one form: unit rows, and for each which others are
its positives and which it is compared with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from quadlib.loss.labels import joint_codes, read_labels
from quadlib.loss.pairs import Sizes, anchor_importance, ignored_pairs, mask_weights

Against: TypeAlias = tuple[Tensor, Any]


@dataclass(frozen=True)
class Anchors:
    """N anchors and the K rows that they are compared with: the batch, unless alone, then others.

    rows (N, D) in float32 or float64, views one after the other. codes: a class code per row (N,)
    int64, or None where weights (N, K), the positives' weights, say it. others (M, D) of
    other_codes (M,): a memory, or what is compared `against`. groups (N,) int64: pairs of one group
    count neither way. ignored (N, K) bool: so do these. importance (N,): an anchor's weight in the
    mean. unlabelled (N,) bool: rows without a label, whose code no other sample has.
    """

    rows: Tensor
    codes: Tensor | None
    weights: Tensor | None = None
    others: Tensor | None = None
    other_codes: Tensor | None = None
    alone: bool = False
    groups: Tensor | None = None
    ignored: Tensor | None = None
    importance: Tensor | None = None
    unlabelled: Tensor | None = None

    def compared(self) -> Tensor:
        """Which pairs are compared at all, (N, K) bool: no anchor with itself."""
        n, device = len(self.rows), self.rows.device
        blocks = []
        if not self.alone:
            apart = torch.arange(n, device=device)
            apart = apart if self.groups is None else self.groups
            blocks.append(apart[:, None] != apart)
        if self.others is not None:
            blocks.append(torch.ones(n, len(self.others), dtype=torch.bool, device=device))
        compared = torch.cat(blocks, 1)
        return compared if self.ignored is None else compared & ~self.ignored

    def positive_weights(self) -> Tensor:
        """The weight of every positive (N, K), 0 elsewhere; compared or not."""
        if self.weights is not None:
            return self.weights
        assert self.codes is not None
        columns = [] if self.alone else [self.codes]
        columns += [] if self.other_codes is None else [self.other_codes]
        return (self.codes[:, None] == torch.cat(columns)).to(self.rows.dtype)

    def positives(self) -> Tensor:
        """How many positives each anchor has, (N,) int64."""
        plain = self.ignored is None and self.groups is None and not self.alone
        if self.codes is None or not plain:
            return ((self.positive_weights() > 0) & self.compared()).sum(1)
        every = (
            self.codes if self.other_codes is None else torch.cat([self.codes, self.other_codes])
        )
        ordered = torch.sort(every)[0]
        after = torch.searchsorted(ordered, self.codes, right=True)
        return after - torch.searchsorted(ordered, self.codes) - 1


def read_anchors(
    embeddings: Tensor,
    labels: Any,
    mask: Any = None,
    n_views: int | None = None,
    unlabelled: int | str | None = -1,
    *,
    against: Against | None = None,
    ignore: Any = None,
    weights: Any = None,
) -> Anchors:
    """Checks everything that SupConLoss.forward takes against each other and brings it to Anchors.

    Raises ValueError or TypeError naming what was given and what was expected.
    """
    rows, sizes = stacked_rows(embeddings, n_views)
    alone = against is not None
    others, other_labels, other_sizes = None, None, sizes
    if against is not None:
        others, other_labels, other_sizes = _read_against(against, rows)
    if mask is not None:
        if labels is not None or other_labels is not None:
            raise ValueError(
                "labels and mask are both given; one of them says which rows are positives"
            )
        anchors = Anchors(rows, None, mask_weights(mask, sizes, other_sizes, rows, alone))
    elif labels is None and other_labels is None:
        anchors = _by_position(rows, sizes, other_sizes if alone else None)
    else:
        parts = [(labels, sizes)] + ([(other_labels, other_sizes)] if alone else [])
        anchors = _by_labels(rows, parts, unlabelled)
    if alone:
        anchors = replace(anchors, others=others, alone=True)
    if ignore is not None:
        groups, ignored = ignored_pairs(ignore, sizes, other_sizes, rows.device, alone)
        anchors = replace(anchors, groups=groups, ignored=ignored)
    if weights is not None:
        each = anchor_importance(weights, labels, sizes, unlabelled, rows)
        anchors = replace(anchors, importance=each)
    return anchors


def stacked_rows(embeddings: Tensor, n_views: int | None) -> tuple[Tensor, Sizes]:
    """Embeddings (N, D) or (N, V, D) as rows, view by view, never in half precision."""
    shape = tuple(embeddings.shape)
    if not embeddings.is_floating_point():
        raise TypeError(f"embeddings are {embeddings.dtype}; floating point was expected")
    if embeddings.ndim == 3:
        if n_views not in (None, shape[1]):
            raise ValueError(
                f"n_views is {n_views}, but embeddings of shape {shape} hold {shape[1]} views"
            )
        sizes = Sizes(shape[0], shape[1])
        embeddings = embeddings.transpose(0, 1).reshape(sizes.rows, shape[2])
    elif embeddings.ndim == 2:
        views = n_views or 1
        if shape[0] % views:
            raise ValueError(
                f"embeddings of shape {shape} cannot be {views} views; the number of rows is no "
                "multiple of n_views"
            )
        sizes = Sizes(shape[0] // views, views)
    else:
        raise ValueError(
            f"embeddings of shape {shape}; (N, D), or (N, V, D) with V views of each sample, was "
            "expected"
        )
    if embeddings.dtype in (torch.float16, torch.bfloat16):
        embeddings = embeddings.float()
    return embeddings, sizes


def _read_against(against: Against, rows: Tensor) -> tuple[Tensor, Any, Sizes]:
    if not (isinstance(against, tuple | list) and len(against) == 2):
        raise TypeError(
            f"against is {type(against).__name__}; (embeddings, labels) was expected, with None "
            "for labels where row i belongs to anchor i or a mask says what belongs together"
        )
    others, sizes = stacked_rows(against[0], None)
    if others.shape[1] != rows.shape[1]:
        raise ValueError(
            f"against holds embeddings of {others.shape[1]} dimensions, the anchors have "
            f"{rows.shape[1]}; both must come from the same space"
        )
    return others.to(rows.dtype), against[1], sizes


def _by_position(rows: Tensor, sizes: Sizes, other_sizes: Sizes | None) -> Anchors:
    """No labels: an anchor's positives are its sample's other views, or the same row of others."""
    codes = torch.arange(sizes.samples, device=rows.device).repeat(sizes.views)
    without = torch.ones_like(codes, dtype=torch.bool)
    if other_sizes is None:
        if sizes.views == 1:
            raise ValueError(
                f"embeddings of shape {tuple(rows.shape)} came without labels and with one view, "
                "so that no row has a positive and the loss would always be 0; pass labels, or "
                "embeddings (N, V, D), or n_views"
            )
        return Anchors(rows, codes, unlabelled=without)
    if other_sizes.samples != sizes.samples:
        raise ValueError(
            f"{sizes.samples} samples against {other_sizes.samples} without labels; without labels "
            "row i belongs to row i, so as many were expected. Pass labels with both"
        )
    other_codes = codes[: sizes.samples].repeat(other_sizes.views)
    return Anchors(rows, codes, other_codes=other_codes, unlabelled=without)


def _by_labels(
    rows: Tensor, parts: list[tuple[Any, Sizes]], unlabelled: int | str | None
) -> Anchors:
    """Labels of the anchors and, where there are two parts, of the others."""
    read = []
    for name, (labels, sizes) in zip(("labels", "labels of against"), parts, strict=False):
        if labels is None:
            raise ValueError(f"{name} are None, but those on the other side are not; pass both")
        one = read_labels(labels, unlabelled)
        if len(one.values) != sizes.samples:
            raise ValueError(
                f"{len(one.values)} {name} for embeddings of shape {(sizes.rows, rows.shape[1])}; "
                f"one per sample was expected, {sizes.samples}"
                + (
                    ". If the rows are views stacked one after the other, say n_views"
                    if sizes.views == 1
                    else ""
                )
            )
        read.append(one)
    views = [sizes.views for _, sizes in parts]
    missing = _repeated(torch.as_tensor(read[0].missing, device=rows.device), views[0])
    if any(one.values.ndim == 2 for one in read):
        values = [torch.as_tensor(one.values, device=rows.device).to(rows.dtype) for one in read]
        if {value.ndim for value in values} != {2} or len({v.shape[1] for v in values}) > 1:
            raise ValueError(
                "labels and labels of against are not of the same classes; (N, L) and (M, L) were "
                "expected"
            )
        share = values[0] @ values[-1].T > 0
        if len(parts) == 1:
            # a sample without any label still has its own views
            share = share | torch.eye(len(share), dtype=torch.bool, device=rows.device)
        weights = share.to(rows.dtype).repeat(views[0], views[-1])
        weights = weights if len(parts) == 2 else weights.fill_diagonal_(0)
        return Anchors(rows, None, weights, unlabelled=missing)
    codes = joint_codes(read, rows.device)
    other_codes = _repeated(codes[1], views[1]) if len(parts) == 2 else None
    own_codes = _repeated(codes[0], views[0])
    return Anchors(rows, own_codes, other_codes=other_codes, unlabelled=missing)


def _repeated(values: Tensor, views: int) -> Tensor:
    return values if views == 1 else values.repeat(views)
