"""What a watched loss does to the pairs of the batch's rows: whom it draws and whom it drives."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.diagnosis.checks.loss.contracts import P06
from quadlib.diagnosis.checks.loss.watched_contracts import P20, P21, P22, P25, P26, P27
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.attraction import (
    Attraction,
    attraction,
    misled,
    not_labelled,
    pulls_only,
    self_pulls,
    turned,
)
from quadlib.diagnosis.evidence.observed.loss_kind import loss_kind
from quadlib.diagnosis.evidence.observed.rows import compared
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check

NEARLY_ALL = 0.9
FELT = 2.0  # times a usual pull, from which that on a row's similarity with itself counts


@check(P20, "no row is drawn to itself", phase="observed")
def drawn_to_itself(x: Examination) -> Iterator[Finding]:
    pull = self_pulls(x.record)
    share = float((pull > FELT).mean())
    if share < NEARLY_ALL:
        return
    yield P20.broken(
        "error",
        "every row is a positive of itself",
        f"the similarities of {len(pull)} compared rows with themselves",
        (
            f"the gradient raises the similarity of {share:.0%} of the rows with themselves, by "
            f"{np.median(pull):.3g} times what it does to another pair",
            "of unit rows it is 1 whatever the model does",
        ),
        "multiply the mask of positives by 1 - eye(N), and set the diagonal to -inf in front of "
        "the softmax",
        ruled_out=("the labels: a row is alike itself for any labels",),
    )


@check(P21, "no row is driven away from itself", phase="observed")
def driven_from_itself(x: Examination) -> Iterator[Finding]:
    pull = self_pulls(x.record)
    share = float((pull < -FELT).mean())
    if share < NEARLY_ALL:
        return
    yield P21.broken(
        "warning",
        "each row stands in its own denominator",
        f"the similarities of {len(pull)} compared rows with themselves",
        (
            f"the gradient lowers the similarity of {share:.0%} of the rows with themselves, by "
            f"{-np.median(pull):.3g} times what it does to another pair",
        ),
        "set the diagonal to -inf in front of the softmax: masked_fill(eye(N), -inf)",
        ruled_out=("the temperature and the labels: a row with itself is no pair",),
    )


@check(P06, "pairs that belong together are drawn together", phase="observed")
def against_what_is_alike(x: Examination) -> Iterator[Finding]:
    if (found := turned(x.record)) is None:
        return
    seen, same, what = found
    yield P06.broken(
        "error",
        f"the loss drives {what} apart and draws strangers together",
        f"{len(seen.pull)} pairs of compared rows",
        (
            f"the gradient drives {seen.driven(same):.0%} of {int(same.sum())} pairs of {what} "
            f"apart, and draws {seen.drawn(seen.strangers):.0%} of {int(seen.strangers.sum())} "
            "others together",
        ),
        "look for a distance where a similarity is meant, a missing minus, or positives and "
        "negatives exchanged",
        ruled_out=("the learning rate: the direction is wrong, not the size",),
        explains=("scores below chance, while the loss falls",),
    )


@check(P22, "each watched row's target is a column of its own", phase="observed")
def drawn_to_strangers(x: Examination) -> Iterator[Finding]:
    seen, share = misled(x.record)
    comparison = compared(x.record)[0]
    if comparison.targets is not None:
        yield P22.broken(
            "error",
            "the targets point at columns of other rows",
            f"{len(seen.pull)} pairs of compared rows",
            _misled_evidence(seen, share),
            "make the targets from the order in which the columns were joined: column i of one "
            "view is the positive of row i of the other",
            ruled_out=("the rows and the temperature: the targets alone decide this",),
        )


@check(P25, "each watched row is drawn to what is its own", phase="observed")
def own_driven_away(x: Examination) -> Iterator[Finding]:
    seen, share = misled(x.record)
    if compared(x.record)[0].targets is None:
        yield P25.broken(
            "error",
            "rows are drawn to strangers, and driven away from what is their own",
            f"{len(seen.pull)} pairs of compared rows",
            _misled_evidence(seen, share),
            ruled_out=("the sign of the loss: some pairs are drawn, they are the wrong ones",),
        )


@check(P26, "the labels say which watched rows are drawn together", phase="observed")
def not_by_labels(x: Examination) -> Iterator[Finding]:
    seen = not_labelled(x.record)
    if seen is None or loss_kind(x.record).factor < 0:
        return
    mark, same = next(iter(seen.alike.items()))
    yield P26.broken(
        "error",
        f"pairs are drawn together whatever batch{mark} says",
        f"{len(seen.pull)} pairs of compared rows",
        (
            f"the gradient draws {seen.drawn(same):.0%} of {int(same.sum())} pairs of one class "
            f"together, and {seen.drawn(seen.strangers):.0%} of {int(seen.strangers.sum())} pairs "
            "of two classes",
            f"batch{mark} reaches the loss",
        ),
        ruled_out=("the labels of the batch: they were read as the loss was given them",),
        explains=("a loss that falls while classes stay mixed",),
    )


@check(P27, "a watched loss drives some rows apart", phase="observed")
def nothing_drives_apart(x: Examination) -> Iterator[Finding]:
    seen = attraction(x.record)
    if not pulls_only(x.record):
        return
    drawn = float((seen.pull > 0).mean())
    yield P27.broken(
        "error",
        "nothing in the loss drives rows apart",
        f"{len(seen.pull)} pairs of compared rows",
        (
            f"the gradient draws {drawn:.0%} of the compared pairs together, and drives none "
            "apart; the loss depends on the models through these pairs alone",
            "gradient reaches both sides of each pair: embeddings that are all equal are its "
            "minimum",
        ),
        ruled_out=("a teacher or a stopped gradient: both sides are trained",),
        explains=("embeddings that become all equal while the loss goes to its minimum",),
    )


def _misled_evidence(seen: Attraction, share: float) -> tuple[str, ...]:
    return (
        f"the gradient draws {share:.0%} of the compared rows to one that is made of another "
        f"row of the batch, and {seen.drawn(seen.own):.0%} of {int(seen.own.sum())} pairs that are "
        "made of one row together",
    )
