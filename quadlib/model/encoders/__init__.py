"""One encoder per kind of modality; each maps one modality's batch to tokens (B, width)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from quadlib.model.encoders.audio import AudioEncoder
from quadlib.model.encoders.image import ImageEncoder
from quadlib.model.encoders.series import SeriesEncoder
from quadlib.model.encoders.vector import VectorEncoder
from quadlib.model.encoders.video import VideoEncoder

ENCODERS: Mapping[str, type[nn.Module]] = {
    "video": VideoEncoder,
    "image": ImageEncoder,
    "audio": AudioEncoder,
    "series": SeriesEncoder,
    "vector": VectorEncoder,
}


def build_encoder(kind: str, shape: tuple[int, ...], width: int, dropout: float) -> nn.Module:
    """The encoder of a kind for inputs of `shape` (one recording, without the batch); raises
    ValueError on an unknown kind.
    """
    if kind not in ENCODERS:
        raise ValueError(f"no encoder for kind {kind!r}; known are {', '.join(ENCODERS)}")
    return ENCODERS[kind](shape, width, dropout)


__all__ = [
    "ENCODERS",
    "AudioEncoder",
    "ImageEncoder",
    "SeriesEncoder",
    "VectorEncoder",
    "VideoEncoder",
    "build_encoder",
]
