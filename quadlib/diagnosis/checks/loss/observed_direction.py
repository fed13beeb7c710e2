"""What a watched loss asks of rows: to come to their positives, and not to leave themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator

from quadlib.diagnosis.checks.loss.contracts import P06
from quadlib.diagnosis.checks.loss.watched_contracts import P20, P21
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.attraction import misdirected
from quadlib.diagnosis.evidence.observed.loss_kind import OWN_POSITIVE, WITH_SELF, loss_kind
from quadlib.diagnosis.evidence.observed.pulls import pulls
from quadlib.diagnosis.evidence.observed.rows import compared, effective_scale
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable


@check(P06, "the watched gradient draws rows to their positives", phase="observed")
def pushed_apart(x: Examination) -> Iterator[Finding]:
    if compared(x.record)[0].by == "outputs":
        raise Unavailable("the loss was not seen to compare rows with each other")
    if misdirected(x.record):
        return
    cosines = pulls(x.record)
    shares = [float((each > 0).float().mean()) for each in cosines]
    means = [float(each.mean()) for each in cosines]
    if max(shares) > x.limits.drawn_rows or max(means) > x.limits.pushed_away:
        return
    yield P06.broken(
        "error",
        "a training step drives rows away from their positives",
        f"the loss's gradient by the {len(cosines[0])} compared rows",
        (
            f"{shares[0]:.0%} of the rows move towards their positives rather than the others; the "
            f"cosine of a step with that way is {means[0]:.2f} on average (of a contrastive loss "
            "above 0)",
        ),
        "look for a distance where a similarity is meant, a missing minus, or positives and "
        "negatives exchanged",
        ruled_out=("the learning rate: the direction is wrong, not the size",),
        explains=("scores below chance, while the loss falls",),
    )


@check(
    P21, "the value of the watched loss leaves a row out of its own denominator", phase="observed"
)
def own_denominator(x: Examination) -> Iterator[Finding]:
    kind = loss_kind(x.record)
    if WITH_SELF not in kind.name:
        return
    comparison = compared(x.record)[0]
    scale = effective_scale(comparison)
    harm = f"no embedding brings the loss below {math.log1p(1.0):.3f}, where it would reach 0"
    title = "each row stands in its own denominator"
    if OWN_POSITIVE in kind.name:
        harm = "and it takes a place among its positives, where no model can change it"
        title += " and among its own positives"
    yield P21.broken(
        "warning",
        title,
        f"a loss over {len(comparison.left)} rows",
        (
            f"the value {x.record.losses[0]:.5g} is that of {kind.name}, to a thousandth",
            f"the row itself adds e^{scale:.3g} to every sum: {harm}",
        ),
        "mask the diagonal out of the similarities before the softmax: masked_fill(eye(N), -inf)",
        ruled_out=("the temperature and the labels: the value agrees with both",),
        explains=("a loss that stays above its floor, and a weaker pull on close positives",),
    )


@check(P20, "the value of the watched loss has no row among its own positives", phase="observed")
def own_positive(x: Examination) -> Iterator[Finding]:
    kind = loss_kind(x.record)
    if OWN_POSITIVE not in kind.name or WITH_SELF in kind.name:
        return
    yield P20.broken(
        "error",
        "every row is a positive of itself",
        f"a loss over {len(compared(x.record)[0].left)} rows",
        (
            f"the value {x.record.losses[0]:.5g} is that of {kind.name}, to a thousandth",
            "the similarity of a row with itself is 1 whatever the model does: it fills the mean "
            "over positives with a constant, and stands in no denominator",
        ),
        "multiply the mask of positives by 1 - eye(N) before it is counted and summed",
        ruled_out=("the labels: a row is alike itself for any labels",),
    )
