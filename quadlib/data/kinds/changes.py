"""Random changes that several kinds share, in place; strengths are in standard deviations of the
training recordings.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

Change = Callable[[np.ndarray, np.random.Generator], None]
BRIGHTNESS = 0.2
CONTRAST = 0.15
SHIFT_FRACTION = 0.06


def shift(frames: np.ndarray, vertical: float, horizontal: float) -> None:
    """Moves (..., H, W) by up to SHIFT_FRACTION of its size, each way; the edge is repeated where
    nothing moves in.
    """
    for along, share in ((frames.swapaxes(-1, -2), vertical), (frames, horizontal)):
        moved = round(SHIFT_FRACTION * along.shape[-1] * (2 * share - 1))
        if moved > 0:
            along[..., moved:] = along[..., :-moved].copy(order="K")
            along[..., :moved] = along[..., moved : moved + 1]
        elif moved < 0:
            along[..., :moved] = along[..., -moved:].copy(order="K")
            along[..., moved:] = along[..., moved - 1 : moved]


def relight(frames: np.ndarray, random: np.random.Generator) -> None:
    """Another contrast and brightness, the same for all of the array."""
    contrast, brightness = 2 * random.random(2) - 1
    frames *= np.float32(1 + CONTRAST * contrast)
    frames += np.float32(BRIGHTNESS * brightness)


def features_of_copy(
    features: Callable[[np.ndarray, str], np.ndarray],
    change: Change,
    copy: int,
    array: np.ndarray,
    device: str,
) -> np.ndarray:
    """Features of a changed copy of a decoded recording; which change follows from the copy's
    number and the recording's contents alone.
    """
    changed = np.array(array)
    change(changed, np.random.default_rng([copy, zlib.crc32(changed.tobytes())]))
    return features(changed, device)


def span(length: int, widest: float, random: np.random.Generator) -> slice:
    """A random stretch of an axis, at most the share `widest` of it; empty at times."""
    width = int(random.random() * (widest * length + 1))
    start = int(random.random() * (length - width + 1))
    return slice(start, start + width)
