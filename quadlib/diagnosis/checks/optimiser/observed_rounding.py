"""Whether the weights of a watched loop resolve the steps that are taken."""

from __future__ import annotations

from collections.abc import Iterator

from quadlib.diagnosis.checks.optimiser.watched_contracts import O23
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.roles import parts, steps
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

MOST_LOST = 1 / 3


@check(O23, "the watched weights resolve their updates", phase="observed")
def lost_to_rounding(x: Examination) -> Iterator[Finding]:
    judged = False
    for place, optimiser in enumerate(x.record.optimisers):
        mine = [step for step in steps(x.record) if step.optimiser == place and max(step.rates) > 0]
        if len(mine) < 3 or max(mine[-1].rates) > 1.5 * max(mine[0].rates):
            continue  # a warm-up begins with steps that are too small
        coarse = {n: p for n, p in mine[-1].parameters.items() if p.unmoved is not None}
        numbers = {n: x.record.parameters[n].numel() for n in coarse}
        total = sum(numbers.values())
        if not total:
            continue
        judged = True
        lost = sum(numbers[n] * (coarse[n].unmoved or 0.0) for n in coarse) / total
        if lost < MOST_LOST:
            continue
        dtype = str(x.record.parameters[next(iter(coarse))].dtype).removeprefix("torch.")
        yield O23.broken(
            "warning",
            f"{lost:.0%} of the {dtype} weights do not change in a step",
            f"{type(optimiser).__name__}: {parts(set(coarse))}",
            (
                f"{total} numbers receive gradient at rate {max(mine[-1].rates):.3g}; {lost:.0%} "
                f"of them are bit for bit the same after step {len(mine)}",
                f"{dtype} tells a number from the next only where they differ by "
                f"{_spacing(dtype):.1%}",
            ),
            ruled_out=("the gradient: it arrives and is not 0 for these", "the rate: it is not 0"),
            explains=("a loss that stays above that of float32",),
        )
        return
    if not judged:
        raise Unavailable("no weights in half precision were stepped at a steady rate")


def _spacing(dtype: str) -> float:
    return 2**-8 if dtype == "bfloat16" else 2**-11
