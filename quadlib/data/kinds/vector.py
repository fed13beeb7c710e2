"""Ready features: a vector a recording, from an .npz or from .npy files, which are read with the
table.
"""

from __future__ import annotations

import numpy as np

from quadlib.data.decoding.look import Values
from quadlib.data.kinds import Kind

NOISE = 0.1


def vary(vector: np.ndarray, random: np.random.Generator) -> None:
    """(d,): noise alone; a short vector does not survive the loss of a feature."""
    vector += np.float32(NOISE) * random.standard_normal(vector.shape, dtype=np.float32)


def look_at(vector: np.ndarray) -> Values:
    """The numbers."""
    return Values(vector)


KIND = Kind(
    axes=("d",),
    encoder="vector",
    extensions=(".npy",),
    vary=vary,
    heavy_tails=True,
    look_at=look_at,
)
