"""Masks of padding that hide what is there and show what is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from quadlib.diagnosis import conventions
from quadlib.diagnosis.observe.record import Event
from quadlib.diagnosis.words import has_part

KEYS = ("src_key_padding_mask", "key_padding_mask", "memory_key_padding_mask")  # True: left out
LAYERS = (nn.MultiheadAttention, nn.TransformerEncoder, nn.TransformerEncoderLayer)
AGREE, SELDOM = 0.95, 0.5  # share of the places


@dataclass(frozen=True)
class TurnedMask(Event):
    """A module that leaves out what its mask marks was given one that marks what is there. leaf: of
    the batch, whose places show it. named: it says itself what is there; else its blank places do.
    """

    module: str
    argument: str
    leaf: str
    named: bool
    agree: float


def read_masks(
    step: int,
    name: str,
    module: nn.Module,
    kwargs: Mapping[str, Any],
    leaves: Iterable[tuple[str, Tensor]],
) -> Iterator[TurnedMask]:
    """leaves: (mark, tensor) of the batch."""
    if not isinstance(module, LAYERS):
        return
    leaves = list(leaves)
    for key in KEYS:
        mask = kwargs.get(key)
        if not isinstance(mask, Tensor) or mask.ndim != 2 or mask.dtype != torch.bool:
            continue
        for mark, leaf in leaves:
            if (
                leaf.ndim < 2
                or len(leaf) != len(mask)
                or not 0 <= mask.shape[1] - leaf.shape[1] <= 1
            ):
                continue
            part = mask[:, mask.shape[1] - leaf.shape[1] :]  # a token may stand in front
            named = (
                has_part(mark, conventions.PRESENT_WORDS)
                and leaf.ndim == 2
                and not leaf.is_floating_point()
            )
            there = leaf.bool() if named else ~_blank(leaf)
            is_flag = leaf.dtype == torch.bool or bool(((leaf == 0) | (leaf == 1)).all())
            if not bool(there.any()) or bool(there.all()) or (is_flag and not named):
                continue
            agree = float((part == there).float().mean())
            if agree >= AGREE and float((part == ~there).float().mean()) < SELDOM:
                yield TurnedMask(step, name, key, mark, named, agree)
                return


def _blank(leaf: Tensor) -> Tensor:
    """(n, T) where a row of it is 0 throughout, or the number that the longest rows do not end in
    and the others all do.
    """
    if leaf.is_floating_point():
        return (leaf.flatten(2) == 0).all(-1) if leaf.ndim > 2 else leaf == 0
    filler = leaf[:, -1].flatten().mode().values
    return leaf.flatten(2).eq(filler).all(-1) if leaf.ndim > 2 else leaf == filler
