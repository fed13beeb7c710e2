"""Which model is trained, and which encoder reads each modality."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from quadlib.config.media import MediaSettings
from quadlib.registry import MODELS


def _absolute(encoder: str) -> str:
    """An encoder with the folder of its network, where it has one here, as an absolute path."""
    name, colon, place = encoder.partition(":")
    folder = Path(place).expanduser()
    return f"{name}:{folder.resolve()}" if colon and folder.is_dir() else encoder


class ModelSettings(MediaSettings):
    """Which model, and the sizes of its encoders, fusion and embedding."""

    model: str = Field("quad", description="quad, or a name given to register_model")
    encoders: dict[str, str] = Field(
        {}, description="modality: its encoder, such as image=efficientnet_lite0"
    )
    tune: dict[str, str] = Field(
        {}, description="modality: last:2 or lora:8 trains a part of its transformers network"
    )
    width: int = Field(96, ge=8, description="width of the modality tokens")
    embedding_dim: int = Field(64, ge=2, description="dimensions of the unit embedding")
    fusion_heads: int = Field(4, ge=1, description="attention heads of the fusion")
    fusion_layers: int = Field(
        1, ge=0, description="self-attention layers over the modality tokens before pooling"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout in encoders and fusion")
    modality_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="chance of hiding a modality in training, never the last",
    )
    fusion_trust: bool = Field(
        True,
        description="weigh a modality by how well it alone tells the val recordings",
    )
    freeze: list[str] = Field(
        [], description="modules, by the start of their name, whose weights stay fixed"
    )

    @field_validator("encoders")
    @classmethod
    def _folders_are_absolute(cls, value: dict[str, str]) -> dict[str, str]:
        # the run is opened from other folders later
        return {name: _absolute(encoder) for name, encoder in value.items()}

    @field_validator("model")
    @classmethod
    def _model_is_registered(cls, value: str) -> str:
        # the default is known without loading torch
        return value if value == "quad" else MODELS.require(value)

    @field_validator("fusion_heads")
    @classmethod
    def _heads_divide_width(cls, value: int, info: ValidationInfo) -> int:
        width = info.data.get("width", value)
        if width % value:
            raise ValueError(f"it does not divide width {width}; choose a divisor of it")
        return value
