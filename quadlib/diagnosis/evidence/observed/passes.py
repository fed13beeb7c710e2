"""The backward passes of a loop, each with the batches, calls and gradients that belong to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from quadlib.diagnosis.evidence.observed.fact import fact
from quadlib.diagnosis.observe.record import (
    Backward,
    Fetch,
    Force,
    Gradients,
    Leaf,
    ModuleCall,
    Record,
    RowGradient,
    ScalerStep,
)
from quadlib.diagnosis.subject import Unavailable

MOST_BATCHES = 8  # before one backward pass; a loop that fetched more only read them


@dataclass(frozen=True)
class Pass:
    """One backward pass and what led to it."""

    fetches: tuple[Fetch, ...]
    calls: tuple[ModuleCall, ...]
    backward: Backward
    gradients: Mapping[str, float | None]
    rows: tuple[RowGradient, ...] = ()
    forces: tuple[Force, ...] = ()


@fact
def passes(record: Record) -> list[Pass]:
    """Every backward pass; raises Unavailable where there was none."""
    made: list[Pass] = []
    fetches: list[Fetch] = []
    calls: list[ModuleCall] = []
    backward: Backward | None = None
    rows: list[RowGradient] = []
    forces: list[Force] = []
    for event in record.events:
        if isinstance(event, Fetch):
            fetches.append(event)
        elif isinstance(event, ModuleCall):
            calls.append(event)
        elif isinstance(event, Backward):
            backward = event
        elif isinstance(event, RowGradient):
            rows.append(event)
        elif isinstance(event, Force):
            forces.append(event)
        elif isinstance(event, Gradients) and backward is not None:
            trained = [item for item in fetches if item.training][-MOST_BATCHES:]
            own = tuple(calls), backward, event.norms, tuple(rows), tuple(forces)
            made.append(Pass(tuple(trained), *own))
            fetches, calls, backward, rows, forces = [], [], None, [], []
    if not made:
        raise Unavailable("no backward pass was seen")
    return made


@fact
def traced(record: Record) -> list[Pass]:
    """The passes that were followed operation by operation, those with a batch first of all."""
    followed = [item for item in passes(record) if item.backward.reaches is not None]
    if not followed:
        raise Unavailable("no backward pass was traced")
    return followed


@fact
def batches(record: Record) -> list[Fetch]:
    """The batches that were trained on, in order."""
    fetched = [fetch for item in passes(record) for fetch in item.fetches]
    if not fetched:
        raise Unavailable("no batch was seen: the loop has no DataLoader")
    return fetched


@fact
def reached(record: Record) -> frozenset[str]:
    """Marks of the leaves that reach the loss in a traced pass, or may do so unseen."""
    marks: frozenset[str] = frozenset()
    for item in traced(record):
        marks |= (item.backward.reaches or frozenset()) | item.backward.hidden
    return marks


def lost_losses(record: Record) -> list[int]:
    """Passes whose loss is not finite; none where a gradient scaler skipped just these steps, as it
    does to find its scale.
    """
    lost = [k for k, item in enumerate(passes(record)) if not math.isfinite(item.backward.loss)]
    skipped = sum(event.skipped for event in record.of(ScalerStep))
    recovered = math.isfinite(passes(record)[-1].backward.loss)
    return [] if recovered and len(lost) <= skipped else lost


def missing_is_masked(record: Record) -> bool:
    """Whether batches with NaN or infinity were trained on, and every loss, gradient and outermost
    module's output of theirs is finite: the model takes them for missing values.
    """
    concerned = [item for item in passes(record) if any(f.not_finite for f in item.fetches)]
    return bool(concerned) and all(
        math.isfinite(item.backward.loss)
        and all(norm is None or math.isfinite(norm) for norm in item.gradients.values())
        and all(call.finite for call in item.calls if not call.depth)
        for item in concerned
    )


def leaf_values(record: Record) -> dict[str, list[tuple[Leaf, Tensor]]]:
    """Mark -> description and values of each traced batch's leaf."""
    values: dict[str, list[tuple[Leaf, Tensor]]] = {}
    for item in traced(record):
        for fetch in item.fetches:
            for leaf in fetch.leaves:
                if leaf.path in fetch.values:
                    pair = (leaf, fetch.values[leaf.path])
                    values.setdefault(fetch.mark(leaf.path), []).append(pair)
    return values


@fact
def inputs(record: Record) -> dict[str, list[Tensor]]:
    """Mark -> values in each traced batch of what is learned from: float leaves of a row each, and
    sequences of whole numbers, that reach the loss.
    """
    return {
        mark: [value for _, value in pairs]
        for mark, pairs in leaf_values(record).items()
        if mark in reached(record) and len(pairs[0][0].shape) >= 2 and len(pairs[0][1]) > 1
    }
