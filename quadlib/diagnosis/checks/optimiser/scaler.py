"""Contract of the gradient scaler: it lets steps through."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.optimiser.contracts import O07
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check


@check(O07, "the gradient scaler does not skip every step", "steps")
def every_step_skipped(x: Examination) -> Iterator[Finding]:
    scale = _scale(x)
    seen, probe = x.trajectory, x.probe
    gradients = [value for value in probe.gradients.values() if value is not None]
    broken = sum(not math.isfinite(value) for value in gradients)
    still = [value == 0 for value in seen.update_ratios]
    skipped = len(still) >= x.limits.skipped_steps and all(still) and broken > 0
    vanished = scale is not None and scale < x.limits.lowest_loss_scale
    if not skipped and not vanished:
        return
    what = (
        f"all {len(still)} trial steps were skipped"
        if skipped
        else f"the loss scale has fallen to {scale:.3g}"
    )
    evidence = [
        f"{broken} of {len(gradients)} gradients are not finite; updates that are exactly 0: "
        f"{sum(still)} of {len(still)}"
    ]
    if scale is not None:
        evidence.append(
            f"loss scale now {scale:.3g}; it starts at 65536 and halves at every skip, so a few "
            "first skips are healthy"
        )
    yield O07.broken(
        "error",
        f"mixed precision skips its steps: {what}, since the gradients are not finite",
        where=f"training step of {x.subject.name}",
        evidence=tuple(evidence),
        ruled_out=(
            "learning rate",
            "frozen parameters",
            "the first skips of a scaler: these do not end",
        ),
        help="find the first tensor that is not finite; compute the loss in float32, or use "
        "bfloat16   [changes the precision; retrain]",
    )


def _scale(x: Examination) -> float | None:
    """The scaler's loss scale: its own, or the checkpoint's; None where there is none."""
    scaler = x.subject.scaler
    if scaler is not None and hasattr(scaler, "get_scale"):
        return (
            float(scaler.get_scale())
            if not hasattr(scaler, "is_enabled") or scaler.is_enabled()
            else None
        )
    if x.subject.checkpoint is None:
        return None
    state: Any = next(
        (x.checkpoint[key] for key in conventions.SCALER_KEYS if x.checkpoint.get(key)), {}
    )
    return (
        float(state["scale"])
        if isinstance(state, dict) and isinstance(state.get("scale"), (int, float))
        else None
    )
