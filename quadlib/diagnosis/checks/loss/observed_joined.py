"""Logits that are joined from each row's own pair and its negatives."""

from __future__ import annotations

from collections.abc import Iterator

from quadlib.diagnosis.checks.loss.contracts import P03
from quadlib.diagnosis.checks.loss.watched_contracts import P22
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.passes import traced
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.observe.loss_events import JoinedLogits
from quadlib.diagnosis.registry import check

HARDLY = 0.1  # share of the rows whose target is their own column
UNLIKE = 1.5  # times one factor is the other


@check(P22, "the targets point at the column that is joined to the negatives", phase="observed")
def at_negatives(x: Examination) -> Iterator[Finding]:
    traced(x.record)
    for logits in x.record.of(JoinedLogits):
        if logits.share < HARDLY:
            yield P22.broken(
                "error",
                "the targets point at negatives, not at each row's own pair",
                f"a softmax over {logits.columns} columns",
                (
                    f"the logits join one column of each row's own, number {logits.own}, to "
                    f"{logits.columns - 1} others; it is the target of {logits.share:.0%} of the "
                    "rows",
                ),
                f"targets = torch.full((N,), {logits.own})",
                ruled_out=("the rows and the temperature: the targets alone decide this",),
            )
            return


@check(P03, "one temperature divides all logits that are joined", phase="observed")
def two_temperatures(x: Examination) -> Iterator[Finding]:
    traced(x.record)
    for logits in x.record.of(JoinedLogits):
        one, other = abs(logits.factor), abs(logits.others)
        if max(one, other) > UNLIKE * min(one, other):
            yield P03.broken(
                "error",
                "positives and negatives enter the softmax at two scales",
                f"a softmax over {logits.columns} columns",
                (
                    f"each row's own column is multiplied by {logits.factor:.4g}, the others by "
                    f"{logits.others:.4g}",
                ),
                "logits = torch.cat([positive, negative], dim=1) / temperature",
                ruled_out=("the rows: the factors stand in the loss itself",),
            )
            return
