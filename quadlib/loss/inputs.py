"""What a contrastive loss is given, brought to one form: unit rows, and for each which others are
its positives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Anchors:
    """Embeddings (N, D) in float32 or float64, views one after the other, and a class code per row
    (N,) int64 or positive weights (N, N), diagonal 0.
    """

    rows: Tensor
    codes: Tensor | None
    weights: Tensor | None

    def positives(self, keys: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """How many positives each anchor has, (N,) int64, in the batch and among the keys'
        codes.
        """
        if self.weights is not None:
            return (self.weights > 0).sum(1)
        assert self.codes is not None
        ordered = torch.sort(self.codes if keys is None else torch.cat([self.codes, keys[1]]))[0]
        return (
            torch.searchsorted(ordered, self.codes, right=True)
            - torch.searchsorted(ordered, self.codes)
            - 1
        )


def read_anchors(
    embeddings: Tensor, labels: Any, mask: Tensor | None, n_views: int | None, unlabelled: int
) -> Anchors:
    """Checks embeddings, labels and mask against each other and brings them to Anchors; see
    SupConLoss.forward for the shapes.

    Raises ValueError or TypeError naming what was given and what was expected.
    """
    rows, n_samples, views = _stacked_rows(embeddings, n_views)
    if mask is not None:
        if labels is not None:
            raise ValueError(
                "labels and mask are both given; one of them says which rows are positives"
            )
        return Anchors(
            rows,
            None,
            _positive_weights(
                torch.as_tensor(mask, device=rows.device), n_samples, views, rows.dtype
            ),
        )
    if labels is None:
        return Anchors(rows, torch.arange(n_samples, device=rows.device).repeat(views), None)
    if getattr(labels, "ndim", 1) == 2:
        several = torch.as_tensor(labels, device=rows.device)
        if len(several) != n_samples:
            raise ValueError(
                f"{len(several)} rows of labels for {n_samples} samples; one row per sample was "
                "expected"
            )
        several = (several != 0).to(rows.dtype)
        return Anchors(
            rows, None, _positive_weights(several @ several.T > 0, n_samples, views, rows.dtype)
        )
    codes = label_codes(labels, unlabelled, rows.device)
    if len(codes) == n_samples:
        return Anchors(rows, codes.repeat(views), None)
    raise ValueError(
        f"{len(codes)} labels for embeddings of shape {tuple(embeddings.shape)}; one per sample "
        f"was expected, {n_samples}"
        + (
            ""
            if n_views or embeddings.ndim == 3
            else ". If the rows are views stacked one after the other, say n_views"
        )
    )


def label_codes(labels: Any, unlabelled: Any, device: torch.device) -> Tensor:
    """Integer codes (n,) int64 that are equal exactly where the labels are; each unlabelled row has
    a code of its own. Whole numbers stay exact.
    """
    if not isinstance(labels, Tensor):
        values = np.asarray(labels)
        if values.dtype.kind in "fc":
            raise TypeError(
                f"labels are {values.dtype}; integers or strings were expected, since large floats "
                "run together"
            )
        if values.dtype.kind not in "iub":
            found, inverse = np.unique(values.astype(str), return_inverse=True)
            without = torch.from_numpy((found == str(unlabelled))[inverse]).to(device)
            return _own_codes(torch.from_numpy(inverse.astype(np.int64)).to(device), without)
        labels = torch.from_numpy(np.ascontiguousarray(values.astype(np.int64)))
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(
            f"labels are {labels.dtype}; integers or strings were expected, since floats above "
            "2^24 run together. Use labels.long()"
        )
    codes = labels.to(device=device, dtype=torch.int64)
    if codes.ndim != 1:
        raise ValueError(f"labels of shape {tuple(codes.shape)}; one per sample was expected")
    return _own_codes(codes, codes == unlabelled)


def _own_codes(codes: Tensor, without: Tensor) -> Tensor:
    """The codes, and for each row `without` a label a code that no other row has."""
    if not len(codes):
        return codes
    own = codes.min().clamp(max=0) - 1 - torch.arange(len(codes), device=codes.device)
    return torch.where(without, own, codes)


def _stacked_rows(embeddings: Tensor, n_views: int | None) -> tuple[Tensor, int, int]:
    shape = tuple(embeddings.shape)
    if not embeddings.is_floating_point():
        raise TypeError(f"embeddings are {embeddings.dtype}; floating point was expected")
    if embeddings.ndim == 3:
        if n_views not in (None, shape[1]):
            raise ValueError(
                f"n_views is {n_views}, but embeddings of shape {shape} hold {shape[1]} views"
            )
        n_samples, views = shape[0], shape[1]
        embeddings = embeddings.transpose(0, 1).reshape(n_samples * views, shape[2])
    elif embeddings.ndim == 2:
        views = n_views or 1
        if shape[0] % views:
            raise ValueError(
                f"embeddings of shape {shape} cannot be {views} views; the number of rows is no "
                "multiple of n_views"
            )
        n_samples = shape[0] // views
    else:
        raise ValueError(
            f"embeddings of shape {shape}; (N, D), or (N, V, D) with V views of each sample, was "
            "expected"
        )
    if embeddings.dtype in (torch.float16, torch.bfloat16):
        embeddings = embeddings.float()
    return embeddings, n_samples, views


def _positive_weights(mask: Tensor, n_samples: int, views: int, dtype: torch.dtype) -> Tensor:
    if mask.shape != (n_samples, n_samples) and mask.shape != (
        n_samples * views,
        n_samples * views,
    ):
        raise ValueError(
            f"mask of shape {tuple(mask.shape)}; ({n_samples}, {n_samples}) was expected, one row "
            "and column per sample"
        )
    if len(mask) == n_samples:
        mask = mask.repeat(views, views)
    return mask.to(dtype).clone().fill_diagonal_(0)
