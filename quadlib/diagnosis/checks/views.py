"""Checks that hold for one embedding a sample, judged as soon as that is known: before training
where it is declared, else by the first batch's step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from quadlib.diagnosis import conventions
from quadlib.diagnosis.contract import Contract
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed import rows
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

Views = Callable[[Examination], int]
Look = Callable[[Examination, Views], Iterator[Finding]]


def check_by_views(contract: Contract, name: str) -> Callable[[Look], Look]:
    """Registers a look that takes the embeddings per sample, once for each place where they are
    known; the look asks for them last, when nothing else excuses what it found.
    """

    def register(look: Look) -> Look:
        check(contract, name)(lambda x: look(x, declared_views))
        check(contract, f"{name}, by the views of a step", "batch")(
            lambda x: look(x, stepped_views)
        )
        return look

    return register


def declared_views(x: Examination) -> int:
    """Embeddings per sample, without a step: declared, or seen in a watched one, or one where
    nothing could take a step.
    """
    declared = x.subject.setting(*conventions.VIEWS)
    if isinstance(declared, int):
        return declared
    if x.subject.record is not None:
        try:
            return rows.views(x.subject.record)
        except Unavailable:
            return 1
    if x.subject.model is None:
        return 1  # no model to tell: one view is what labels are made for
    raise Unavailable("how many embeddings a sample has is seen in a step, or declared as n_views")


def views_of(x: Examination) -> int:
    """Embeddings per sample: declared, else as many as the first batch's step gives, else one."""
    try:
        return declared_views(x)
    except Unavailable:
        pass
    try:
        return max(1, len(x.embeddings) // max(len(x.batch_labels), 1))
    except Exception:  # a step that raises is what other contracts say
        return 1


def stepped_views(x: Examination) -> int:
    """The same, where only a step tells; Unavailable where `declared_views` has judged already."""
    try:
        declared_views(x)
    except Unavailable:
        return views_of(x)
    raise Unavailable("the embeddings per sample are known without a step")
