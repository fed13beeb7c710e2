"""What an examination saw of its subject, and whether that was enough to judge it.

A model that was given and never ran, or a loop in which no optimiser stepped, is not judged
healthy: nothing was seen of it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quadlib.diagnosis.observe.record import (
    Backward,
    Fetch,
    Load,
    ModuleCall,
    OptimiserStep,
    Record,
)
from quadlib.diagnosis.subject import Unavailable

if TYPE_CHECKING:
    from quadlib.diagnosis.evidence.examination import Examination

PARTS = (
    "model",
    "loss",
    "optimiser",
    "batches",
    "labels",
    "split",
    "history",
    "evaluation",
    "checkpoint",
)


@dataclass(frozen=True)
class Sight:
    """seen and not_seen: parts by name, with a colon and the reason where it is known. steps:
    optimiser steps that were observed. blocked: why the subject cannot be judged, with the one line
    that would help; "" where it can.
    """

    seen: tuple[str, ...] = ()
    not_seen: tuple[str, ...] = ()
    steps: int = 0
    blocked: str = ""

    def __or__(self, later: Sight) -> Sight:
        """What was seen in two looks at one subject."""
        reasons = {text.split(":")[0]: text for text in later.not_seen if ":" in text}
        seen = {*self.seen, *later.seen} - set(reasons)
        return Sight(
            tuple(name for name in PARTS if name in seen),
            tuple(reasons.get(name, name) for name in PARTS if name not in seen),
            max(self.steps, later.steps),
            "" if self.steps else later.blocked,
        )


def sight_of(x: Examination, phases: Collection[str]) -> Sight:
    """What was seen of a subject, once its checks have run."""
    subject = x.subject
    seen = {
        "labels": subject.labels is not None or _has_column(x, "label"),
        "split": subject.splits is not None or _has_column(x, "split"),
        "batches": subject.loader is not None or subject.batch_sampler is not None,
        "history": subject.history is not None,
        "evaluation": subject.evaluate is not None,
        "checkpoint": subject.checkpoint is not None or subject.run is not None,
    }
    steps, blocked = 0, ""
    if subject.record is not None:
        seen = {name: seen.get(name, False) or was for name, was in _recorded(subject.record)}
        steps, blocked = subject.record.n_steps, _why_unseen(subject.record)
    elif subject.model is not None and "steps" in phases:
        steps, blocked = _steps_taken(x)
        seen |= dict.fromkeys(("model", "loss", "optimiser"), steps > 0)
    reasons = {} if subject.record is None else _out_of_reach(subject.record)
    return Sight(
        tuple(name for name in PARTS if seen.get(name)),
        tuple(reasons.get(name, name) for name in PARTS if not seen.get(name)),
        steps,
        blocked,
    )


def _has_column(x: Examination, name: str) -> bool:
    return x.subject.table is not None and name in getattr(x.subject.table, "frame", ())


def _recorded(record: Record) -> list[tuple[str, bool]]:
    later = record.later
    calls = list(record.of(ModuleCall))
    fetches = list(record.of(Fetch))
    labelled = any(
        len(leaf.shape) == 1 and not leaf.is_float for fetch in fetches for leaf in fetch.leaves
    )
    return [
        ("model", any(call.gradient for call in calls)),
        ("loss", next(record.of(Backward), None) is not None),
        ("optimiser", next(record.of(OptimiserStep), None) is not None),
        ("batches", bool(fetches) or any(call.inputs for call in calls)),
        ("labels", labelled),
        ("split", False),
        ("history", False),
        (
            "evaluation",
            any(not fetch.training for fetch in fetches)
            or any(not call.gradient and call.depth == 0 for call in calls)
            if later is None
            else later.evaluated,
        ),
        (
            "checkpoint",
            next(record.of(Load), None) is not None
            or (later is not None and bool(later.saves or later.loads)),
        ),
    ]


def _out_of_reach(record: Record) -> dict[str, str]:
    """What a watch that went on did not reach, and why."""
    later = record.later
    if later is None:
        return {}
    why = {
        "limit": f"none within {later.seconds:g} s after training began",
        "left": "none before the loop was left",
        "finished": "none after the watched steps",
    }.get(later.ended, f"the loop ended first ({later.ended})")
    return {name: f"{name}: {why}" for name in ("evaluation", "checkpoint")}


def _why_unseen(record: Record) -> str:
    """Why nothing can be said of a loop in which no optimiser stepped."""
    if record.n_steps:
        return ""
    if record.error is not None:
        text = str(record.error).strip().splitlines() or [""]
        return (
            f"the loop raised {type(record.error).__name__}: {text[0]}, before its first optimiser "
            "step; it must run by itself first"
        )
    if record.functional_gradients:
        return (
            "gradients were taken with torch.autograd.grad and applied by hand, which cannot be "
            "watched; update the parameters with a torch.optim optimiser"
        )
    if next(record.of(Backward), None) is not None:
        return "gradients were computed, but no optimiser stepped; call optimizer.step()"
    return (
        f"the loop ended ({record.ended or 'at once'}) without a backward pass or an optimiser "
        "step; watch the code that trains, and pass what its script needs behind --"
    )


def _steps_taken(x: Examination) -> tuple[int, str]:
    """How many steps were taken with a subject's parts, and why none was."""
    try:
        return len(x.trajectory.losses), ""
    except Unavailable as reason:
        why = str(reason)
    except Exception as error:  # the subject's own code raised; that is what the verdict says
        why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    if x.subject.train_step is not None:
        why = f"no training step of it was seen: {why}"
    return 0, f"the model was given, but {why}"
