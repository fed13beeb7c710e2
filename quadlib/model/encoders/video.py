"""Video encoder: a small frame trunk, then convolution over time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quadlib.model.encoders.layers import FrameTrunk, TokenHead, mean_and_peak


class VideoEncoder(nn.Module):
    """Grey video to a token: (B, T, C, H, W) to (B, width); frames share one trunk, their order is
    kept.
    """

    def __init__(self, shape: tuple[int, ...], width: int, dropout: float) -> None:
        super().__init__()
        frames, channels, height, width_px = shape
        features = 64
        self.trunk = FrameTrunk(channels, height, width_px, features)
        self.position = nn.Parameter(torch.zeros(features, frames))
        self.motion = nn.Conv1d(features, features, 3, padding=1)
        self.head = TokenHead(2 * features, width, dropout)

    def forward(self, video: Tensor) -> Tensor:
        batch, frames = video.shape[:2]
        features = (
            self.trunk(video.flatten(0, 1)).view(batch, frames, -1).transpose(1, 2) + self.position
        )
        features = features + nn.functional.gelu(self.motion(features))
        return self.head(mean_and_peak(features))
