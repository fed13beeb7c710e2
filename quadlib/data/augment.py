"""Random changes of training recordings, a pure function of (seed, epoch, recording).

Keyed that way, a recording changes alike whatever the batch it is in, the process that loads it and
the step a run was resumed at. What changes is the kind's own matter: `Kind.move` and `Kind.vary`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from quadlib.data.kinds import kind_of
from quadlib.data.samples import Modality


def generators(seed: int, epoch: int, rows: Sequence[int]) -> list[np.random.Generator]:
    """One generator a recording, first for `move` and then for `vary`.

    Philox makes independent streams of any two keys, so the three numbers are packed into its key
    and not hashed.
    """
    keys = [np.array([(seed << 32) | (epoch & 0xFFFFFFFF), row], dtype=np.uint64) for row in rows]
    return [np.random.Generator(np.random.Philox(key=key)) for key in keys]


def draw_copies(
    raw: Mapping[str, np.ndarray],
    copies: Mapping[str, Sequence[np.ndarray]],
    rows: Sequence[int],
    random: Sequence[np.random.Generator],
) -> None:
    """Takes for each recording its own stored features or those of one of its changed copies, each
    as likely: raw arrays (B, ...), in place.
    """
    for name, others in copies.items():
        for place, (row, generator) in enumerate(zip(rows, random, strict=True)):
            if chosen := int(generator.integers(1 + len(others))):
                raw[name][place] = others[chosen - 1][row]


def move(
    raw: Mapping[str, np.ndarray],
    modalities: Mapping[str, Modality],
    random: Sequence[np.random.Generator],
) -> None:
    """Shifts videos and photos, and swaps left and right of half of the photos: raw arrays (B,
    ...), in place.

    Done before normalising, where a pixel is one byte.
    """
    for name, modality in modalities.items():
        if change := kind_of(modality).move:
            for array, generator in zip(raw[name], random, strict=True):
                change(array, generator)


def vary(
    inputs: Mapping[str, np.ndarray],
    modalities: Mapping[str, Modality],
    random: Sequence[np.random.Generator],
) -> None:
    """Changes levels and masks parts of normalised arrays (B, ...), in place; what is masked
    becomes 0, the mean.
    """
    for name, modality in modalities.items():
        if change := kind_of(modality).vary:
            for array, generator in zip(inputs[name], random, strict=True):
                change(array, generator)
