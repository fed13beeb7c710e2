"""Image encoder: one trunk for all views, pooled over the views."""

from __future__ import annotations

from torch import Tensor, nn

from quadlib.model.encoders.layers import FrameTrunk, TokenHead, mean_and_peak


class ImageEncoder(nn.Module):
    """Photos to a token: (B, V, 3, H, W) to (B, width); the order of the views does not matter."""

    def __init__(self, shape: tuple[int, ...], width: int, dropout: float) -> None:
        super().__init__()
        _, channels, height, width_px = shape
        features = 64
        self.trunk = FrameTrunk(channels, height, width_px, features)
        self.head = TokenHead(2 * features, width, dropout)

    def forward(self, photos: Tensor) -> Tensor:
        batch, views = photos.shape[:2]
        features = self.trunk(photos.flatten(0, 1)).view(batch, views, -1).transpose(1, 2)
        return self.head(mean_and_peak(features))
