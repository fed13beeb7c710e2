"""Parts the encoders share: strided convolution blocks and the frame trunk.

Normalisation is per recording and sits inside the network only (never BatchNorm: a recording's
embedding may not depend on its batch or rank). It forgets level, so every encoder also passes the
plain level of its input on.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def groups_of(channels: int) -> int:
    """Groups of a GroupNorm: eight channels each where that divides, else one group."""
    return channels // 8 if channels % 8 == 0 else 1


class SeparableBlock2d(nn.Sequential):
    """Halves height and width: depthwise 3x3 of stride 2, pointwise to `out_channels`, norm,
    SiLU.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels, in_channels, 3, stride=2, padding=1, groups=in_channels, bias=False
            ),
            nn.Conv2d(in_channels, out_channels, 1),
            nn.GroupNorm(groups_of(out_channels), out_channels),
            nn.SiLU(),
        )


class FrameTrunk(nn.Module):
    """Features of single frames: (F, C, H, W) to (F, features).

    A strided stem, then halving blocks until the map is at most 6 wide and high; the small map is
    flattened, so that where in the frame something happens is kept. Raw level statistics of each
    channel are passed beside it.
    """

    def __init__(self, in_channels: int, height: int, width_px: int, features: int) -> None:
        super().__init__()
        channels = 16
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, channels, 5, stride=4, padding=2),
            nn.SiLU(),
        ]
        height, width_px = -(-height // 4), -(-width_px // 4)
        while max(height, width_px) > 6:
            grown = min(2 * channels, 64)
            layers.append(SeparableBlock2d(channels, grown))
            height, width_px, channels = -(-height // 2), -(-width_px // 2), grown
        self.convolutions = nn.Sequential(*layers)
        self.project = nn.Linear(channels * height * width_px + 2 * in_channels, features)

    def forward(self, frames: Tensor) -> Tensor:
        return self.project(
            torch.cat(
                [self.convolutions(frames).flatten(1), level_and_power(frames.flatten(2))], dim=1
            )
        )


class TimeTrunk(nn.Module):
    """Features of a time line: (B, C, L) to (B, channels, L / 2^stages), by strided convolutions
    over time.
    """

    def __init__(self, in_channels: int, channels: int, stages: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv1d(in_channels, channels, 5, stride=2, padding=2),
            nn.SiLU(),
        ]
        for _ in range(stages - 1):
            layers += [
                nn.Conv1d(channels, channels, 3, stride=2, padding=1),
                nn.GroupNorm(groups_of(channels), channels),
                nn.SiLU(),
            ]
        self.convolutions = nn.Sequential(*layers)

    def forward(self, line: Tensor) -> Tensor:
        return self.convolutions(line)


def mean_and_peak(line: Tensor) -> Tensor:
    """(B, C, L) to (B, 2 C): mean and maximum over the last dimension."""
    return torch.cat([line.mean(dim=-1), line.amax(dim=-1)], dim=1)


def level_and_power(line: Tensor) -> Tensor:
    """(B, C, L) to (B, 2 C): mean and root mean square over the last dimension, untouched by any
    normalisation.

    Not the standard deviation: `torch.std` costs a third of a whole encoder on a CPU, and the two
    say the same.
    """
    return torch.cat(
        [line.mean(dim=-1), torch.linalg.vector_norm(line, dim=-1) * line.shape[-1] ** -0.5], dim=1
    )


class TokenHead(nn.Module):
    """Pooled features to one modality token: (B, in_features) to (B, width)."""

    def __init__(self, in_features: int, width: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(in_features, width)
        self.drop = nn.Dropout(dropout)
        self.project = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor) -> Tensor:
        hidden = nn.functional.gelu(self.hidden(features))
        return self.norm(hidden + self.project(self.drop(hidden)))
