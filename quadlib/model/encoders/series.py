"""Series encoder: convolution over time, beside the plain statistics of each channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quadlib.model.encoders.layers import TimeTrunk, TokenHead, level_and_power, mean_and_peak


class SeriesEncoder(nn.Module):
    """Sensor channels over time to a token: (B, channels, steps) to (B, width)."""

    def __init__(self, shape: tuple[int, ...], width: int, dropout: float) -> None:
        super().__init__()
        channels, steps = shape
        features, stages = 64, 3
        self.trunk = TimeTrunk(channels, features, stages)
        self.position = nn.Parameter(torch.zeros(features, -(-steps // 2**stages)))
        self.head = TokenHead(2 * features + 4 * channels, width, dropout)

    def forward(self, series: Tensor) -> Tensor:
        features = mean_and_peak(self.trunk(series) + self.position)
        level = torch.cat(
            [level_and_power(series), series.amin(dim=-1), series.amax(dim=-1)], dim=1
        )
        return self.head(torch.cat([features, level], dim=1))
