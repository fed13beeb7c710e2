"""Vector encoder: a small residual network for ready features."""

from __future__ import annotations

from torch import Tensor, nn

from quadlib.model.encoders.layers import TokenHead


class VectorEncoder(nn.Module):
    """A feature vector to a token: (B, d) to (B, width)."""

    def __init__(self, shape: tuple[int, ...], width: int, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(shape[0], 2 * width)
        self.drop = nn.Dropout(dropout)
        self.head = TokenHead(2 * width, width, dropout)

    def forward(self, vector: Tensor) -> Tensor:
        return self.head(self.drop(nn.functional.gelu(self.expand(vector))))
