"""A kind from outside quadlib: point clouds from .xyz text files, with their encoder."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from quadlib import register_encoder, register_kind
from quadlib.data.kinds import DamageError, Decoded, Job, Kind, open_regular

POINTS = 48
JITTER = 0.02


def decode(job: Job) -> Decoded:
    """Evenly picked points of a text file with x, y and z in each line: (POINTS, 3)."""
    with open_regular(job.path) as file:
        try:
            points = np.loadtxt(file, dtype=np.float32, ndmin=2)
        except ValueError as error:
            raise DamageError(job.path, f"is no table of numbers ({error})") from None
    if points.shape[1] != 3:
        raise DamageError(job.path, f"has {points.shape[1]} columns, x, y and z were expected")
    return Decoded(points[np.linspace(0, len(points) - 1, POINTS).round().astype(int)])


def vary(points: np.ndarray, random: np.random.Generator) -> None:
    """(POINTS, 3): noise on every coordinate."""
    points += np.float32(JITTER) * random.standard_normal(points.shape, dtype=np.float32)


class PointEncoder(nn.Module):
    """Points to a token, whatever their order (PointNet, Qi et al. 2017): (B, P, 3) to (B,
    width).
    """

    def __init__(self, shape: tuple[int, ...], width: int, dropout: float) -> None:
        super().__init__()
        self.points = nn.Sequential(nn.Linear(shape[1], width), nn.GELU(), nn.Linear(width, width))
        self.head = nn.Sequential(nn.Dropout(dropout), nn.LayerNorm(width))

    def forward(self, cloud: Tensor) -> Tensor:
        return self.head(self.points(cloud).amax(dim=1))


register_encoder("point_net", PointEncoder)
register_kind(
    "point_cloud",
    Kind(
        axes=("points", 3),
        encoder="point_net",
        extensions=(".xyz",),
        decode=decode,
        shape=lambda known, settings: (POINTS, 3),
        constants={"points": POINTS},
        kept_axes=(1,),
        vary=vary,
    ),
)
