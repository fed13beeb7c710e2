"""The direction of a watched loss: a step draws each row to its positives."""

from __future__ import annotations

from collections.abc import Iterator

from quadlib.diagnosis.checks.loss.contracts import P06
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.pulls import pulls
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check


@check(P06, "the watched gradient draws rows to their positives", phase="observed")
def pushed_apart(x: Examination) -> Iterator[Finding]:
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
