"""Contracts of a resume: it finds the optimiser, its steps and the schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.checkpoint.contracts import C03
from quadlib.diagnosis.checks.checkpoint.weights import where_is
from quadlib.diagnosis.checks.evaluation.scores import optimiser_steps
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check


@check(C03, "a resume finds the optimiser, its steps and the schedule", "epoch")
def resume_state(x: Examination) -> Iterator[Finding]:
    content = x.checkpoint
    done = _number(content, *conventions.STEP_KEYS)
    epoch = _number(content, *conventions.EPOCH_KEYS)
    if not (done or epoch):
        raise Unavailable("the checkpoint does not say how far training was (epoch, step)")
    state = next(
        (
            content[key]
            for key in conventions.OPTIMISER_KEYS
            if isinstance(content.get(key), Mapping)
        ),
        None,
    )
    progress = f"epoch {epoch}" if not done else f"step {done}"
    declared = x.subject.setting("resume", default="")
    resumes = declared not in ("", "never", False, None) or any(
        word in Path(where_is(x)).name for word in conventions.RESUMED_FILES
    )
    if state is None:
        if resumes or x.subject.optimizer is not None:
            yield _reset(
                x,
                f"the checkpoint of {progress} holds no optimiser state, so a resume starts it at "
                "step 0",
                f"it holds {', '.join(map(str, list(content)[:8]))}",
                "error" if resumes else "warning",
            )
    else:
        steps = optimiser_steps(dict(state))
        # plain SGD keeps no state and counts no steps
        stateless = steps is None and all(
            "momentum" in g and not g["momentum"] for g in state.get("param_groups", [])
        )
        if not state.get("state") and not stateless:
            yield _reset(
                x,
                f"the optimiser state of {progress} is empty, so a resume starts its moments at 0",
                "state_dict()['state'] is {}",
                "error",
            )
        elif steps == 0:
            yield _reset(
                x,
                f"the optimiser has counted 0 steps at {progress}",
                "the step counter of every parameter is 0",
                "error",
            )
    scheduler = x.subject.scheduler
    if scheduler is not None:
        kept = next(
            (
                content[key]
                for key in conventions.SCHEDULER_KEYS
                if isinstance(content.get(key), Mapping)
            ),
            None,
        )
        if kept is None or kept.get("last_epoch", 1) == 0:
            state_text = "no" if kept is None else "a fresh"
            yield _reset(
                x,
                f"the schedule restarts: the checkpoint of {progress} holds {state_text} "
                "scheduler state",
                "the pipeline has a scheduler; its rate would be that of step 0 again",
                "error" if resumes else "warning",
            )


@check(C03, "the optimiser has counted the steps of the history", "epoch")
def live_steps(x: Examination) -> Iterator[Finding]:
    if x.subject.optimizer is None:
        raise Unavailable("no optimiser")
    steps = [item["step"] for item in x.history if isinstance(item.get("step"), int)]
    done = max(steps, default=0)
    if done < 2:
        raise Unavailable("the history counts no steps")
    state = x.subject.optimizer.state_dict()
    counted = optimiser_steps(state)
    adaptive = any(
        "betas" in group or group.get("momentum") for group in x.subject.optimizer.param_groups
    )
    if counted is None and (state["state"] or not adaptive):
        return  # plain SGD keeps nothing; SGD with momentum keeps its buffers and counts no steps
    accumulation = (
        x.subject.setting(
            *conventions.ACCUMULATION,
            default=1,
        )
        or 1
    )
    share = done / counted if counted else 0.0
    if 1.9 < share < 65 and abs(share - round(share)) < 0.02 * share:
        raise Unavailable(
            f"the optimiser has counted one step for {round(share)} of the history: gradients are "
            "accumulated"
        )
    if (counted or 0) < x.limits.counted_steps * done / accumulation:
        yield _reset(
            x,
            f"the optimiser has counted {counted or 0} steps where the history has {done}: its "
            "state was not restored",
            "its moments, and Adam's bias correction, start again with the counter",
            "error",
        )


def _reset(x: Examination, title: str, evidence: str, severity: Any) -> Finding:
    return C03.broken(
        severity,
        title,
        where=where_is(x),
        evidence=(evidence,),
        ruled_out=("the weights: they are judged by themselves",),
        help="save and load model, optimizer, scheduler and random state together   [changes "
        "resumed runs]",
    )


def _number(content: Mapping[str, Any], *names: str) -> int:
    values = [content.get(name) for name in names]
    return next(
        (
            int(value)
            for value in values
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        ),
        0,
    )
