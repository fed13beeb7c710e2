"""Audio encoder: convolution over time with the mel bands as channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quadlib.model.encoders.layers import TimeTrunk, TokenHead, level_and_power, mean_and_peak


class AudioEncoder(nn.Module):
    """Log-mel spectrogram to a token: (B, C, mel, frames) to (B, width).

    The machine's resonances lie at fixed frequencies, so bands are channels and only time is
    convolved.
    """

    def __init__(self, shape: tuple[int, ...], width: int, dropout: float) -> None:
        super().__init__()
        channels, mel_bins, frames = shape
        features, stages = 64, 3
        self.trunk = TimeTrunk(channels * mel_bins, features, stages)
        self.position = nn.Parameter(torch.zeros(features, -(-frames // 2**stages)))
        self.head = TokenHead(2 * features + 2 * channels * mel_bins, width, dropout)

    def forward(self, spectrum: Tensor) -> Tensor:
        bands = spectrum.flatten(1, 2)
        features = mean_and_peak(self.trunk(bands) + self.position)
        return self.head(torch.cat([features, level_and_power(bands)], dim=1))
