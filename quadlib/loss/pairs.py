"""What says more of pairs and anchors than labels do: masks, pairs that do not count, weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from quadlib.loss.labels import joint_codes, name_rows, read_labels


class Sizes(NamedTuple):
    """How many samples, and how many views of each; rows are their product, view by view."""

    samples: int
    views: int

    @property
    def rows(self) -> int:
        """Rows of the embeddings."""
        return self.samples * self.views


def mask_weights(mask: Any, sizes: Sizes, others: Sizes, rows: Tensor, alone: bool) -> Tensor:
    """The positives' weights of a mask, (N, K) in the dtype of the rows; no row is its own."""
    mask = torch.as_tensor(mask, device=rows.device)
    _check_weights(mask, "mask")
    weights = _expanded(mask, "mask", sizes, others).to(rows.dtype)
    return weights if alone else weights.clone().fill_diagonal_(0)


def ignored_pairs(
    ignore: Any, sizes: Sizes, others: Sizes, device: torch.device, alone: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Groups (N,) int64 or pairs (N, K) bool that count neither way; the other of them is None.

    A sample's own views, and a row with itself, are never ignored.
    """
    shape = tuple(np.shape(ignore))
    if len(shape) == 2 and (alone or shape[1] != 1):
        ignored = torch.as_tensor(ignore, device=device)
        if ignored.dtype != torch.bool:
            raise TypeError(
                f"ignore of shape {shape} is {ignored.dtype}; bool pairs, or one group per sample, "
                "shape (N,), were expected"
            )
        ignored = _expanded(ignored, "ignore", sizes, others)
    elif alone:
        raise ValueError(
            f"ignore has the shape {shape}; with against, (N, M) bool pairs were expected, for "
            "example sessions[:, None] == other_sessions"
        )
    else:
        groups = joint_codes([read_labels(ignore)], device)[0]
        if len(groups) != sizes.samples:
            raise ValueError(
                f"ignore holds {len(groups)} groups for {sizes.samples} samples; one per sample, "
                "or (N, N) bool pairs, were expected"
            )
        if sizes.views == 1:
            return groups, None
        ignored = (groups[:, None] == groups).repeat(sizes.views, sizes.views)
    if not alone:
        sample = torch.arange(sizes.samples, device=device).repeat(sizes.views)
        ignored = ignored & (sample[:, None] != sample)
    return None, ignored


def anchor_importance(
    weights: Any, labels: Any, sizes: Sizes, unlabelled: int | str | None, rows: Tensor
) -> Tensor:
    """What each row counts in the mean (N,): weights of samples, or of classes by a mapping, where
    unlabelled samples count 1.
    """
    if isinstance(weights, Mapping):
        values, missing = read_labels(labels, unlabelled)
        if values.ndim != 1:
            raise ValueError("weights of classes need one label per sample, not several")
        classes = [
            None if without else value
            for value, without in zip(values.tolist(), missing.tolist(), strict=True)
        ]
        unknown = sorted({str(c) for c in classes if c is not None and c not in weights})
        if unknown:
            raise ValueError(
                f"weights has no entry for class {', '.join(unknown[:5])}; it has "
                f"{', '.join(map(str, list(weights)[:8]))}. Every class of the batch needs one"
            )
        weights = [1.0 if c is None else float(weights[c]) for c in classes]
    each = torch.as_tensor(weights, device=rows.device).to(rows.dtype)
    if tuple(each.shape) != (sizes.samples,):
        raise ValueError(
            f"weights of shape {tuple(each.shape)}; one per sample was expected, "
            f"({sizes.samples},), or a mapping from class to weight"
        )
    _check_weights(each, "weights")
    return each.repeat(sizes.views)


def _expanded(matrix: Tensor, name: str, sizes: Sizes, others: Sizes) -> Tensor:
    """A matrix of pairs of samples, or of rows, as one of rows (N, K)."""
    of_samples = (sizes.samples, others.samples)
    if tuple(matrix.shape) == of_samples:
        return matrix.repeat(sizes.views, others.views)
    if tuple(matrix.shape) == (sizes.rows, others.rows):
        return matrix
    raise ValueError(
        f"{name} of shape {tuple(matrix.shape)}; {of_samples} was expected, one row per sample and "
        "one column per sample that it is compared with"
    )


def _check_weights(weights: Tensor, name: str) -> None:
    """Weights are finite and from 0 up; not asked while torch.compile traces, nor of no data."""
    if weights.dtype == torch.bool or torch.compiler.is_compiling() or weights.is_meta:
        return
    wrong = ~((weights >= 0) & (weights < torch.inf))
    if wrong.any():
        rows = name_rows(wrong if wrong.ndim == 1 else wrong.flatten(1).any(1))
        raise ValueError(
            f"{name} has values that are negative, infinite or NaN in {rows}; finite weights from "
            "0 up were expected"
        )
