"""What is trained of a frozen encoder: a few layers over the features that the store keeps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quadlib.model.encoders.layers import TokenHead, mean_and_peak


class FeatureEncoder(nn.Module):
    """Features of a recording's pieces (its photos, frames or stretches of sound) to a token: (B,
    pieces, features) to (B, width); the order of the pieces does not matter.
    """

    def __init__(self, shape: tuple[int, ...], width: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Linear(shape[1], 2 * width)
        self.drop = nn.Dropout(dropout)
        self.head = TokenHead(4 * width, width, dropout)

    def forward(self, features: Tensor) -> Tensor:
        pieces = self.drop(nn.functional.gelu(self.project(features)))
        return self.head(mean_and_peak(pieces.transpose(1, 2)))


class OrderedFeatureEncoder(FeatureEncoder):
    """The same with a position for each piece and a convolution over three of them: what happens
    when is kept.
    """

    def __init__(self, shape: tuple[int, ...], width: int, dropout: float) -> None:
        super().__init__(shape, width, dropout)
        self.position = nn.Parameter(torch.zeros(2 * width, shape[0]))
        self.motion = nn.Conv1d(2 * width, 2 * width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        pieces = self.drop(nn.functional.gelu(self.project(features)))
        line = pieces.transpose(1, 2) + self.position
        return self.head(mean_and_peak(line + nn.functional.gelu(self.motion(line))))
