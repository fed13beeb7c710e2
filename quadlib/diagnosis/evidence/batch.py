"""A batch read leaf by leaf, whatever its shape: inputs by modality, who has which, labels."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quadlib.diagnosis import conventions
from quadlib.diagnosis.observe.leaves import tensors_in
from quadlib.diagnosis.subject import Unavailable, as_array

LAST_KEY = re.compile(r"(?:\['?|\.)([^\[\]'.]*)'?\]?$")


def input_paths(
    batch: Any, reaching: Collection[str] = (), *, whole_numbers: bool = False
) -> dict[str, str]:
    """Modality -> path of its leaf: the floating tensors of a row a sample, named by their last
    key; where `reaching` is given, those of these paths alone. whole_numbers: tokens and raw
    pictures too.

    Raises Unavailable where there is none, or where they differ in rows.
    """
    leaves = {
        path: value
        for path, value in tensors_in(batch)
        if value.ndim >= 2
        and (value.is_floating_point() or (whole_numbers and value.dtype != torch.bool))
        and _last_key(path) != "present"
        and (not reaching or path in reaching)
    }
    if not leaves:
        raise Unavailable("a batch holds no input tensors of shape (N, ...)")
    if len({len(value) for value in leaves.values()}) > 1:
        sizes = ", ".join(f"{path} {len(value)}" for path, value in leaves.items())
        raise Unavailable(f"the inputs differ in rows: {sizes}")
    names = [_last_key(path) for path in leaves]
    if len(names) == 1:
        return {names[0] if not names[0].isdigit() and names[0] else "input": next(iter(leaves))}
    if len(set(names)) < len(names):
        return {path: path for path in leaves}
    return {
        f"input {name}" if name.isdigit() else name: path
        for name, path in zip(names, leaves, strict=True)
    }


def inputs_of(batch: Any, *, whole_numbers: bool = False) -> dict[str, Tensor]:
    """Inputs of a batch by modality, (B, ...) each."""
    leaves, paths = dict(tensors_in(batch)), input_paths(batch, whole_numbers=whole_numbers)
    return {name: leaves[path] for name, path in paths.items()}


def presence_path(batch: Any, rows: int, modalities: int) -> str | None:
    """The path of a batch's mask `present` (B, M), or None."""
    return next(
        (
            path
            for path, value in tensors_in(batch)
            if _last_key(path) == "present" and value.shape == (rows, modalities)
        ),
        None,
    )


def presence_of(batch: Any, rows: int, modalities: int) -> Tensor | None:
    """A batch's mask `present` (B, M) as booleans, or None."""
    path = presence_path(batch, rows, modalities)
    return None if path is None else dict(tensors_in(batch))[path].bool()


def labels_in(batch: Any, path: str = "") -> np.ndarray:
    """Labels of a batch (N,): the leaf at this path, where a step showed which it is, else an entry
    of a usual name, else the only leaf of one number a row; raises Unavailable where several
    could be meant.
    """
    leaves = dict(tensors_in(batch))
    if path in leaves:
        return as_array(leaves[path])
    for name in conventions.BATCH_LABELS:
        value = batch.get(name) if isinstance(batch, Mapping) else getattr(batch, name, None)
        if value is not None:
            return as_array(value)
    flat = [
        value
        for name, value in leaves.items()
        if value.ndim == 1 and _last_key(name) not in conventions.BATCH_ROWS
    ]
    if len(flat) == 1:
        return as_array(flat[0])
    raise Unavailable(
        "which part of a batch is its labels was not seen; give train_step=..., which shows what "
        "the loss is given"
    )


def _last_key(path: str) -> str:
    match = LAST_KEY.search(path)
    return match.group(1) if match else ""
