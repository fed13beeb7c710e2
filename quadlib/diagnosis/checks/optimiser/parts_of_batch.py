"""Contracts of the loss's share: it sees the declared batch, not a micro-batch or one process."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.diagnosis.checks.optimiser.contracts import O09, O10
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.evidence.plateau import declared
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check


@check(O09, "the loss sees the declared batch", "batch")
def accumulation_for_batch(x: Examination) -> Iterator[Finding]:
    sizes = declared(x)
    if sizes.accumulation < 2 and sizes.micro_batch is None and sizes.world_size < 2:
        raise Unavailable("no gradient accumulation is declared")
    seen = len(x.batch_labels)
    if (
        not sizes.batch_size
        or seen >= sizes.batch_size
        or seen not in (sizes.micro_batch, sizes.batch_size // sizes.accumulation)
    ):
        return
    if sizes.accumulation < 2 and sizes.micro_batch is None:
        return
    yield _micro(
        x,
        seen,
        sizes.batch_size,
        f"the first batch holds {seen} samples, batch_size declares {sizes.batch_size}",
    )


@check(O09, "the loss is given whole batches", "steps")
def loss_given_parts(x: Examination) -> Iterator[Finding]:
    given, held, sizes = x.probe.loss_rows, len(x.batch_labels), declared(x)
    if not given:
        raise Unavailable(
            "the loss is no module that the training step calls, so its inputs are not seen"
        )
    # a term over some of the rows beside one over all of them is a choice
    if len(given) < 2 or max(given) > held / 2 or sum(given) < 0.9 * held:
        return
    evidence = (
        f"in one training step the loss was called {len(given)} times with {max(given)} samples at "
        f"most; the batch holds {held}"
    )
    yield (
        _shard(x, max(given), held, evidence)
        if sizes.world_size > 1
        else _micro(x, max(given), held, evidence)
    )


@check(O09, "the plateau is that of the declared batch, not of a micro-batch", "epoch")
def plateau_of_micro_batch(x: Examination) -> Iterator[Finding]:
    found = x.pinned
    if found is not None and found.how == "micro-batch":
        yield _micro(x, found.size, declared(x).batch_size or 0, found.text)


def _micro(x: Examination, seen: int, batch_size: int, evidence: str) -> Finding:
    return O09.broken(
        "warning",
        f"the loss sees micro-batches of {seen}, not the batch of {batch_size}: accumulation "
        "shares no negatives",
        where=f"training step of {x.subject.name}",
        evidence=(
            evidence,
            f"plateau ln {seen - 1} = {np.log(seen - 1):.4f} instead of ln {batch_size - 1} = "
            f"{np.log(batch_size - 1):.4f}"
            if seen > 2
            else f"{max(seen - 1, 0)} other samples to compare an anchor with",
        ),
        ruled_out=("the sampler: it gives what it was asked for",),
        help="embed all micro-batches, then one loss over the whole batch (gradient caching)   "
        "[changes the loss; retrain]",
    )


@check(O10, "the plateau is that of the whole batch, not of one process", "epoch")
def plateau_of_a_shard(x: Examination) -> Iterator[Finding]:
    found = x.pinned
    if found is None or found.how != "share of a process":
        return
    yield _shard(x, found.size, declared(x).batch_size or 0, found.text)


def _shard(x: Examination, seen: int, batch_size: int, evidence: str) -> Finding:
    sizes = declared(x)
    return O10.broken(
        "warning",
        f"the loss sees the {seen} samples of one process, not the batch of {batch_size}",
        where=f"training step of {x.subject.name}, {sizes.world_size} processes",
        evidence=(evidence,),
        ruled_out=(f"the batch size: its own plateau would be ln {batch_size * sizes.views - 1}",),
        help="gather embeddings and labels of all processes before the loss   [changes the loss; "
        "retrain]",
    )
