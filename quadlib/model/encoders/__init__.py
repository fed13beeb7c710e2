"""Encoders by name; each maps one modality's batch to tokens (B, width).

An encoder is registered as a factory `(shape, width, dropout) -> torch.nn.Module`, `shape` being
one recording's without the batch; a kind names the one it takes. A frozen one (`frozen.py`) is
registered as a FrozenEncoder; what is trained of it are layers over its features.
"""

from __future__ import annotations

from torch import nn

from quadlib.data.kinds import Factory
from quadlib.registry import ENCODERS, KINDS, register_encoder


def build_encoder(
    kind: str,
    shape: tuple[int, ...],
    width: int,
    dropout: float,
    encoder: str | Factory = "",
) -> nn.Module:
    """The encoder of a kind for inputs of `shape` (one recording, without the batch), or the one of
    this name or factory; raises RegistryError on an unknown kind or encoder.
    """
    chosen = encoder or KINDS[kind].encoder
    factory: Factory = ENCODERS[chosen] if isinstance(chosen, str) else chosen
    return factory(shape, width, dropout)


register_encoder("video", "quadlib.model.encoders.video:VideoEncoder")
register_encoder("image", "quadlib.model.encoders.image:ImageEncoder")
register_encoder("audio", "quadlib.model.encoders.audio:AudioEncoder")
register_encoder("series", "quadlib.model.encoders.series:SeriesEncoder")
register_encoder("vector", "quadlib.model.encoders.vector:VectorEncoder")
register_encoder("features", "quadlib.model.encoders.features:FeatureEncoder")
register_encoder("ordered_features", "quadlib.model.encoders.features:OrderedFeatureEncoder")
register_encoder("efficientnet_lite0", "quadlib.model.encoders.efficientnet:ENCODER")
register_encoder("aisfx", "quadlib.model.encoders.aisfx:ENCODER")
register_encoder("transformers", "quadlib.model.encoders.hub:ENCODER")
