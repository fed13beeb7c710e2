"""What a training loop reports of itself: batch composition against the bounds, gradients and
updates per module.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from quadlib.config import OptimiserSettings
from quadlib.training.errors import TrainingError

if TYPE_CHECKING:
    from quadlib.training.trainer import Trainer

log = logging.getLogger(__name__)


class Bounded(Protocol):
    """An objective as far as its bounds go: QuadObjective."""

    @property
    def bounded(self) -> bool: ...

    def bounds(self, labels: Tensor) -> tuple[float, float] | None: ...


def batch_facts(labels: Tensor, objective: Bounded) -> dict[str, Any]:
    """What a batch's labels alone say of its loss: anchors, classes, fewest positives of an anchor,
    and, where the loss declares bounds, floor and collapse value.

    A row of label -1 is unlabelled, as in the loss: no anchor, and of no class. The bounds of a
    batch without any positive pair are None: it has no anchor to average over.
    """
    counts = torch.unique(labels[labels >= 0].cpu(), return_counts=True)[1]
    facts: dict[str, Any] = {
        "anchors": int(counts.sum()),
        "classes": len(counts),
        "positives_min": int(counts.min()) - 1 if len(counts) else None,
    }
    if objective.bounded:
        facts["collapse"], facts["floor"] = objective.bounds(labels) or (None, None)
    return facts


def progress(value: float, collapse: float | None, floor: float | None) -> float | None:
    """How far a loss has come from collapse (0) to the batch's floor (1); None where it is
    undefined: one class, or no positive pair.
    """
    if collapse is None or floor is None:
        return None
    room = collapse - floor
    share = (collapse - value) / room if room > 1e-9 else math.nan
    return share if math.isfinite(share) else None


def debug_line(labels: Tensor) -> str:
    """The label composition of a batch in one line: distinct labels and how often each occurs."""
    unique, counts = torch.unique(labels.cpu(), return_counts=True)
    return f"[DEBUG] Batch labels - unique: {unique.tolist()}, counts: {counts.tolist()}"


def keep_lines(
    trainer: Trainer, pending: list[tuple[dict[str, Any], dict[str, Tensor]]], number: int
) -> None:
    """Puts the batches up to this number, each with its facts and values, into the history; raises
    TrainingError where a figure is not finite.
    """
    for facts, values in pending:
        figures = {
            ("loss" if name == "total" else name): float(value) for name, value in values.items()
        }
        if not math.isfinite(figures.get("gradient_norm", 0.0)) and trainer.scaler.is_enabled():
            figures.pop("gradient_norm")  # of a skipped step
        refuse_infinite(facts, figures, trainer.settings)
        if trainer.objective.bounded:
            facts["progress"] = progress(figures["fused"], facts["collapse"], facts["floor"])
        trainer.history.append({"kind": "step", **facts, **figures})
    pending.clear()
    count = len(trainer.batches)
    if number % trainer.settings.log_every_steps == 0 and number < count:
        log.info(
            f"epoch {trainer.epoch:3d}/{trainer.last_epoch}  batch {number:4d}/{count}  loss "
            f"{trainer.history[-1]['loss']:.4f}"
        )


def epoch_means(steps: list[dict[str, Any]]) -> dict[str, float]:
    """Means over an epoch's batches, of each figure that every batch has; the mean excess places
    the epoch above its floors.

    Batches without a positive pair leave the means, as lone anchors leave the loss, unless there
    are no others.
    """
    steps = [line for line in steps if line.get("floor", "none declared") is not None] or steps
    names = (
        *("loss", "fused", "memory", "within", "cross", "cross_entropy"),
        *("floor", "collapse", "progress"),
    )
    means = {
        name: float(np.mean([line[name] for line in steps]))
        for name in names
        if all(line.get(name) is not None for line in steps)
    }
    if "fused" in means and "floor" in means:
        means["excess"] = means["fused"] - means["floor"]
    return means


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
        name: get_total_norm([p.grad for p in part.parameters() if p.grad is not None])
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
        name: get_total_norm(
            [p.detach() - old for p, old in zip(part.parameters(), before[name], strict=True)]
        )
        / get_total_norm(before[name]).clamp_min(1e-12)
        for name, part in parts.items()
    }


def finite(figures: dict[str, Tensor]) -> dict[str, float]:
    """Figures as numbers, without those that overflowed, as they do in a step that is skipped."""
    return {name: float(figure) for name, figure in figures.items() if torch.isfinite(figure)}


def epoch_record(history: list[dict[str, Any]], epoch: int, step: int) -> dict[str, Any]:
    """The line of an epoch so far: the means of its batches."""
    steps = [line for line in history if line["kind"] == "step" and line["epoch"] == epoch]
    return {"kind": "epoch", "epoch": epoch, "step": step, **epoch_means(steps)}


class Stopwatch:
    """Seconds by what they went into; it does not wait for a GPU, whose work shows up where the
    next sync point is.
    """

    def __init__(self, before: Mapping[str, float] | None = None) -> None:
        self.seconds = Counter[str](before or {})  # type: ignore[arg-type]
        self.last = time.perf_counter()

    def lap(self, name: str = "") -> None:
        """Books the seconds since the last lap under a name, or under none."""
        now = time.perf_counter()
        if name:
            self.seconds[name] += now - self.last  # type: ignore[assignment]
        self.last = now


def epoch_line(record: dict[str, Any], epochs: int, monitor: str, remaining: float) -> str:
    """An epoch in one line: where its loss lies, the monitor, and the seconds still to go."""
    place = (
        f"fused {record['fused']:.3f} (floor {record['floor']:.3f}, collapse "
        f"{record['collapse']:.3f})"
        if "fused" in record and "floor" in record
        else f"loss {record['loss']:.4f}"
    )
    score = "refit" if record.get("refit") else f"{monitor} {record[monitor]:.3f}"
    score += " best" if record["best"] else ""
    return f"epoch {record['epoch']:3d}/{epochs}  {place}  {score}  ~{remaining:.0f} s left"


def refuse_infinite(
    facts: Mapping[str, Any], figures: Mapping[str, float], settings: OptimiserSettings
) -> None:
    """Raises TrainingError where a figure of a batch is not finite."""
    wrong = {name: figure for name, figure in figures.items() if not math.isfinite(figure)}
    if wrong:
        raise TrainingError(
            f"epoch {facts['epoch']}, batch {facts['batch']}: {wrong}; the last checkpoint "
            f"is whole. Lower learning_rate ({settings.learning_rate:g}), raise "
            f"warmup_steps ({settings.warmup_steps}), or set amp ({settings.amp}) to off"
        )


def patience_line(monitor: str, patience: int, best_epoch: int) -> str:
    """Why training ends before its last epoch."""
    return f"stopped early: {patience} epochs without a better {monitor} than epoch {best_epoch}'s"
