"""Contracts of the best checkpoint: chosen by the figure it names, in the figure's own
direction.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.checkpoint.contracts import C05, C06
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check


def direction(name: str) -> int:
    """1 where a higher figure is better, -1 where a lower one is, 0 where its name does not
    tell.
    """
    lowered = name.lower()
    return (
        -1
        if any(word in lowered for word in conventions.LOWER_IS_BETTER)
        else 1
        if any(word in lowered for word in conventions.HIGHER_IS_BETTER)
        else 0
    )


def monitored(x: Examination) -> str:
    """The figure that picks the best model, by the settings or the checkpoint. Raises
    Unavailable.
    """
    name = x.subject.setting(*conventions.MONITOR)
    if name is None and (x.subject.checkpoint is not None or x.subject.run is not None):
        name = next((x.checkpoint[key] for key in conventions.MONITOR if key in x.checkpoint), None)
    if not isinstance(name, str):
        raise Unavailable("no monitor is declared")
    return name


def declared_mode(x: Examination) -> int:
    mode = x.subject.setting(*conventions.MONITOR_MODE)
    if isinstance(mode, bool):
        return 1 if mode else -1
    return {"max": 1, "min": -1}.get(str(mode).lower(), 0)


@check(C05, "best is chosen in the direction of its figure", "before")
def declared_direction(x: Examination) -> Iterator[Finding]:
    name = monitored(x)
    mode, natural = declared_mode(x), direction(name)
    if mode and natural and mode != natural:
        word = {1: "highest", -1: "lowest"}
        yield _wrong(
            x,
            name,
            f"the settings keep the {word[mode]} {name}, of which the {word[natural]} is best",
            (),
        )


@check(C05, "what keeps the best weights follows its figure's direction", "observed")
def watched_direction(x: Examination) -> Iterator[Finding]:
    if not x.record.monitors:
        raise Unavailable("nothing was seen that keeps the best weights by a figure")
    for kind, name, highest in x.record.monitors:
        if direction(name) and (direction(name) > 0) != highest:
            yield _wrong(
                x, name, f"{kind} keeps the {'highest' if highest else 'lowest'} {name}", ()
            )
            return


@check(C05, "the best epoch of the history is the best by its figure", "epoch")
def best_epoch(x: Examination) -> Iterator[Finding]:
    name = monitored(x)
    records = [
        item
        for item in x.history
        if isinstance(item.get(name), (int, float)) and item.get("kind") != "step"
    ]
    # a collapsed run that begins again chooses anew
    records = [item for item in records if item.get("restarts") == records[-1].get("restarts")]
    marked = _marked(x, records)
    natural = direction(name)
    if marked is None or not natural or len(records) < 3:
        raise Unavailable(
            "the history does not mark its best epoch"
            if marked is None
            else f"too few epochs with {name}"
        )
    values = [natural * float(item[name]) for item in records]
    slack = float(records[marked].get(f"{name}_error") or 0.0)  # as good within a standard error
    if values[marked] >= max(values) - slack or min(values) == max(values):
        return
    kept = records[marked]
    shown = (
        f"epoch {kept.get('epoch', marked + 1)} with {name} {kept[name]:.4g}; the best was "
        f"{natural * max(values):.4g}"
    )
    if values[marked] == min(values):
        yield _wrong(
            x, name, f"the worst epoch was kept as the best: {shown}", ("a tie: the values differ",)
        )
    else:
        yield C05.broken(
            "warning",
            f"the best checkpoint is not the best epoch by {name}: {shown}",
            where=f"history of {x.subject.name}",
            evidence=(
                f"{sum(value > values[marked] for value in values)} of {len(values)} epochs are "
                f"better by {name}",
            ),
            candidates=(
                "another figure picked it",
                "a margin (min_delta) or a smoothed figure picked it",
                "the best checkpoint was not updated",
            ),
            decide="the line of code that compares with the best value so far",
            help=f"compare {name} itself, every epoch   [changes which weights are kept]",
        )


def _marked(x: Examination, records: list[dict[str, Any]]) -> int | None:
    """Position of the epoch that was kept last, by its mark, or by the checkpoint's best_epoch."""
    flagged = [position for position, item in enumerate(records) if item.get("best") is True]
    if flagged:
        return flagged[-1]
    if x.subject.checkpoint is None and x.subject.run is None:
        return None
    wanted = x.checkpoint.get("best_epoch")
    return next(
        (
            position
            for position, item in enumerate(records)
            if wanted is not None and item.get("epoch") == wanted
        ),
        None,
    )


def _wrong(x: Examination, name: str, evidence: str, ruled_out: tuple[str, ...]) -> Finding:
    better = "higher" if direction(name) > 0 else "lower"
    return C05.broken(
        "error",
        f"best_model is the worst by {name}: {better} is better, and it was chosen the other way",
        where=f"choice of the best checkpoint of {x.subject.name}",
        evidence=(evidence,),
        ruled_out=ruled_out,
        help=f"keep the weights of the {'highest' if direction(name) > 0 else 'lowest'} {name}   "
        "[changes which weights are kept]",
    )


@check(C06, "best is not chosen by a raw contrastive loss")
def raw_loss(x: Examination) -> Iterator[Finding]:
    name = monitored(x)
    contrastive = any(
        x.subject.setting(key) is not None for key in ("temperature", "tau")
    ) or hasattr(x.subject.loss, "temperature")
    if "loss" not in name.lower() or not contrastive:
        return
    yield C06.broken(
        "note",
        f"best is chosen by {name}, and a contrastive loss depends on what each batch holds",
        where=f"choice of the best checkpoint of {x.subject.name}",
        evidence=(
            "floor and plateau move with the classes of a batch; a validation batch of one class "
            "cannot go below ln(N-1)",
        ),
        help="choose by the loss above its floor, or by a retrieval score: monitor='val_excess' or "
        "'val_macro_f1'   "
        "[changes which weights are kept]",
    )
