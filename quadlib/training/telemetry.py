"""What a training loop reports of itself: batch composition against the bounds, gradients and
updates per module.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quadlib.loss import bounds


def batch_facts(labels: Tensor, temperature: float) -> dict[str, Any]:
    """What a batch's labels alone say of its loss: anchors, classes, fewest positives of an anchor,
    floor and collapse value.

    The bounds of a batch without any positive pair are None: it has no anchor to average over.
    """
    counts = torch.bincount(labels.cpu()).numpy()
    counts = counts[counts > 0]
    anchors = int(counts.sum())
    paired = bool((counts > 1).any())
    return {
        "anchors": anchors,
        "classes": len(counts),
        "positives_min": int(counts.min()) - 1,
        "collapse": float(bounds.collapse_value(anchors)) if paired else None,
        "floor": float(bounds.floor(counts, temperature, kind="counts")) if paired else None,
    }


def place(value: float, facts: dict[str, Any]) -> float | None:
    """Progress of a loss value from collapse (0) to the batch's floor (1); None where it is
    undefined: one class, or no positive pair.
    """
    if facts["floor"] is None:
        return None
    progress = bounds.progress(value, facts["anchors"], facts["floor"])
    return float(progress) if math.isfinite(progress) else None


def debug_line(labels: Tensor) -> str:
    """The label composition of a batch in one line: distinct labels and how often each occurs."""
    unique, counts = torch.unique(labels.cpu(), return_counts=True)
    return f"[DEBUG] Batch labels - unique: {unique.tolist()}, counts: {counts.tolist()}"


def epoch_means(steps: list[dict[str, Any]]) -> dict[str, float]:
    """Means over an epoch's batches, of each figure that every batch has; the mean excess places
    the epoch above its floors.

    Batches without a positive pair leave the means, as lone anchors leave the loss, unless there
    are no others.
    """
    steps = [line for line in steps if line["floor"] is not None] or steps
    names = ("loss", "fused", "within", "cross", "cross_entropy", "floor", "collapse", "progress")
    means = {
        name: float(np.mean([line[name] for line in steps]))
        for name in names
        if all(line.get(name) is not None for line in steps)
    }
    if "fused" in means and "floor" in means:
        means["excess"] = means["fused"] - means["floor"]
    return means


def total_norm(tensors: list[Tensor]) -> Tensor:
    """The Euclidean norm of all the tensors together; 0 for none."""
    return torch.stack([tensor.norm() for tensor in tensors]).norm() if tensors else torch.zeros(())


def followed_modules(model: nn.Module, objective: nn.Module) -> dict[str, nn.Module]:
    """The parts with trainable weights whose gradients and updates are followed: each encoder,
    fusion, heads, objective.
    """
    parts: dict[str, nn.Module] = {}
    for name, child in [*model.named_children(), ("objective", objective)]:
        nested = (
            {f"{name}.{key}": part for key, part in child.items()}
            if isinstance(child, nn.ModuleDict)
            else {name: child}
        )
        parts.update(
            {
                key: part
                for key, part in nested.items()
                if any(p.requires_grad for p in part.parameters())
            }
        )
    return parts


def gradient_norms(parts: dict[str, nn.Module]) -> dict[str, Tensor]:
    """Gradient norm of each part, before clipping."""
    return {
        name: total_norm([p.grad for p in part.parameters() if p.grad is not None])
        for name, part in parts.items()
    }


def weights_of(parts: dict[str, nn.Module]) -> dict[str, list[Tensor]]:
    """A copy of each part's weights, for `update_ratios` after the step."""
    return {name: [p.detach().clone() for p in part.parameters()] for name, part in parts.items()}


def update_ratios(
    parts: dict[str, nn.Module], before: dict[str, list[Tensor]]
) -> dict[str, Tensor]:
    """Size of the last step relative to the weights, of each part."""
    return {
        name: total_norm(
            [p.detach() - old for p, old in zip(part.parameters(), before[name], strict=True)]
        )
        / total_norm(before[name]).clamp_min(1e-12)
        for name, part in parts.items()
    }
