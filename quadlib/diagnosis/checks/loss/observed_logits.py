"""What a watched loss is given in place of logits and targets of each row's own."""

from __future__ import annotations

from collections.abc import Iterator

from quadlib.diagnosis.checks.loss.watched_contracts import P28, P29
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.passes import traced
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.observe.loss_events import Crossed, OddLogits
from quadlib.diagnosis.registry import check


@check(P28, "a watched cross-entropy is given logits over classes", phase="observed")
def logits(x: Examination) -> Iterator[Finding]:
    traced(x.record)  # raises Unavailable where no loss was traced
    for odd in x.record.of(OddLogits):
        over_rows = not odd.by
        yield P28.broken(
            "error" if odd.by != "relu" else "warning",
            "the softmax in front of a cross-entropy sums over the rows of the batch"
            if over_rows
            else f"a cross-entropy is given what a {odd.by} gave",
            f"{odd.softmax} of the loss, shape {odd.shape}",
            (
                f"dimension 0 of {odd.shape}: the {odd.shape[0]} rows compete with each other, "
                "the classes do not"
                if over_rows
                else f"{odd.by} stands directly in front of the softmax of the loss",
            ),
            "log_softmax(logits, dim=1)" if over_rows else f"leave the {odd.by} out",
            ruled_out=("the labels: the loss is wrong whatever they are",),
        )
        return


@check(P29, "each watched output is compared with its own sample's target", phase="observed")
def crossed(x: Examination) -> Iterator[Finding]:
    traced(x.record)
    for event in x.record.of(Crossed):
        yield P29.broken(
            "error",
            "every output is compared with the target of every sample",
            f"{event.operation} of {event.given} and {event.wanted}",
            (
                f"outputs of shape {event.given} against targets of shape {event.wanted} are "
                "spread to all pairs of rows",
            ),
            ruled_out=("the labels: each stands with its own row in the batch",),
        )
        return
