"""Several runs on tables of vectors as one: the weights of QuadModel for each run side by side, so
that a step of five runs costs little more than a step of one.

The numbers are those of `QuadModel` and `QuadObjective` (tests/training/test_study.py holds them
together); what a run has besides, restarts and refits, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, normalize

from quadlib.model.fusion import attend, split_heads

FAR = -1e4  # a similarity that is not compared

Weights = dict[str, Tensor]  # each (R, ...), R runs


class Outputs(NamedTuple):
    """Unit embeddings: fused (R, B, D), by_modality (R, M, B, D); weights (R, B, M)."""

    fused: Tensor
    by_modality: Tensor
    weights: Tensor


def stack(models: Sequence[nn.Module]) -> Weights:
    """The weights of models alike. The layers of encoders and modality heads lie side by side,
    (R, M, ...), narrow inputs filled up with columns of 0.
    """
    states = [model.state_dict() for model in models]
    names = models[0].modalities  # type: ignore[union-attr]
    weights = {
        key: torch.stack([state[key] for state in states])
        for key in states[0]
        if not key.startswith(("encoders.", "modality_heads."))
        and key not in ("fusion.trust", "alone")
    }
    for part in ("encoders", "modality_heads"):
        first = f"{part}.{names[0]}."
        for key in [key.removeprefix(first) for key in states[0] if key.startswith(first)]:
            columns = max(
                state[f"{part}.{name}.{key}"].shape[-1] for state in states for name in names
            )
            weights[f"{part}.{key}"] = torch.stack(
                [
                    torch.stack([_wide(state[f"{part}.{name}.{key}"], columns) for name in names])
                    for state in states
                ]
            )
    return weights


def _wide(tensor: Tensor, columns: int) -> Tensor:
    return nn.functional.pad(tensor, (0, columns - tensor.shape[-1]))


def linear(weights: Weights, name: str, inputs: Tensor) -> Tensor:
    """Each run's own layer on inputs (R, n, d), or each modality's on (R, M, n, d)."""
    bias = weights[f"{name}.bias"][..., None, :]
    return inputs @ weights[f"{name}.weight"].transpose(-1, -2) + bias


def norm(weights: Weights, name: str, inputs: Tensor) -> Tensor:
    """Each run's own layer norm, shaped as `linear`."""
    scaled = nn.functional.layer_norm(inputs, inputs.shape[-1:])
    return scaled * weights[f"{name}.weight"][..., None, :] + weights[f"{name}.bias"][..., None, :]


def forward(
    weights: Weights,
    inputs: Tensor,
    present: Tensor,
    trust: Tensor,
    *,
    drop: float = 0.0,
    hide: float = 0.0,
    heads: int = 4,
) -> Outputs:
    """inputs (R, M, B, d), 0 where absent; present (R, B, M) bool; trust (R, M).

    `drop` and `hide` are dropout and modality_dropout, 0 in evaluation.
    """
    runs, _, rows, _ = inputs.shape

    def fall(values: Tensor) -> Tensor:
        return dropout(values, drop) if drop else values

    hidden = fall(gelu(linear(weights, "encoders.expand", inputs)))
    hidden = gelu(linear(weights, "encoders.head.hidden", hidden))
    tokens = hidden + linear(weights, "encoders.head.project", fall(hidden))
    tokens = norm(weights, "encoders.head.norm", tokens)  # (R, M, B, W)

    heads_in = gelu(linear(weights, "modality_heads.0", tokens))
    by_modality = normalize(linear(weights, "modality_heads.2", heads_in), dim=-1)
    offered = present & (torch.rand(present.shape) >= hide) if hide else present
    offered = torch.where(offered.any(-1, keepdim=True), offered, present)

    fused_in = tokens.transpose(1, 2) + weights["fusion.modality_embedding"][:, None]
    fused_in = fused_in.masked_fill(~offered[..., None], 0.0).flatten(1, 2)  # (R, B M, W)
    trusted = torch.where(offered, trust[:, None], 0.0)
    trusted = torch.where(trusted.any(-1, keepdim=True), trusted, offered.float())
    prior = trusted.log().flatten(0, 1)  # (R B, M)

    def by_row(values: Tensor) -> Tensor:
        return split_heads(values.unflatten(1, (rows, -1)).flatten(0, 1), heads)

    layer = "fusion.layers.0."
    parts = linear(
        weights, layer + "query_key_value", norm(weights, layer + "attention_norm", fused_in)
    )
    mixed, _ = attend(*(by_row(part) for part in parts.chunk(3, dim=-1)), prior)
    mixed = mixed.transpose(1, 2).flatten(2).unflatten(0, (runs, rows)).flatten(1, 2)
    fused_in = fused_in + fall(linear(weights, layer + "attention_out", mixed))
    inner = norm(weights, layer + "feed_forward.0", fused_in)
    inner = fall(gelu(linear(weights, layer + "feed_forward.1", inner)))
    fused_in = fused_in + fall(linear(weights, layer + "feed_forward.4", inner))

    parts = linear(weights, "fusion.key_value", norm(weights, "fusion.norm", fused_in))
    key, value = (by_row(part) for part in parts.chunk(2, dim=-1))
    query = split_heads(weights["fusion.query"].repeat_interleave(rows, 0)[:, None], heads)
    mixed, attention = attend(query, key, value, prior)
    fused = linear(
        weights, "fusion.out", mixed.transpose(1, 2).flatten(1).unflatten(0, (runs, rows))
    )
    fused = linear(weights, "fused_head.2", gelu(linear(weights, "fused_head.0", fused)))
    alone = trust * (trust.sum(1, keepdim=True) == 1)  # (R, M)
    own = (alone[:, None] * offered).transpose(1, 2)[..., None]  # (R, M, B, 1)
    fused = torch.where(own.any(1), (by_modality * own).sum(1), normalize(fused, dim=-1))
    return Outputs(fused, by_modality, attention.mean(dim=(1, 2)).unflatten(0, (runs, rows)))


def supcon(
    rows: Tensor, codes: Tensor, kept: Tensor, temperature: float, apart: Tensor | None = None
) -> Tensor:
    """The loss of each batch, (K,): unit rows (K, N, D), codes (K, N), kept (K, N) bool; 0 where no
    two kept rows are of one class. Pairs `apart` (K, N, N) count neither way.
    """
    pairs = kept[:, :, None] & kept[:, None, :]
    pairs = pairs & ~torch.eye(rows.shape[1], dtype=torch.bool)
    pairs = pairs if apart is None else pairs & ~apart
    same = (codes[:, :, None] == codes[:, None, :]) & pairs
    similarity = rows @ rows.transpose(1, 2) / temperature
    energy = similarity.masked_fill(~pairs, FAR).logsumexp(-1)
    positives = same.sum(-1)
    attraction = (similarity * same).sum(-1) / positives.clamp(min=1)
    used = positives > 0
    return ((energy - attraction) * used).sum(-1) / used.sum(-1).clamp(min=1)


def ends(codes: Tensor, kept: Tensor, n_classes: int, temperature: float) -> tuple[Tensor, Tensor]:
    """Collapse value and floor of each batch, (K,) each."""
    counts = (nn.functional.one_hot(codes, n_classes) * kept[..., None]).sum(1).float()
    total = counts.sum(1, keepdim=True)
    apart = math.exp(-2 / temperature)
    several = counts >= 2
    values = counts * (counts - 1 + (total - counts) * apart).clamp(min=1e-30).log()
    used = (counts * several).sum(1).clamp(min=1)
    return (total[:, 0] - 1).log(), (values * several).sum(1) / used


def copied(weights: Weights) -> Weights:
    return {key: value.detach().clone() for key, value in weights.items()}
