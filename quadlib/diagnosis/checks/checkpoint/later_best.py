"""Whether what a loop calls best is the best, by the variables that hold it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.checkpoint.contracts import C05
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.later import later
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable
from quadlib.diagnosis.words import has_part

FEWEST_FIGURES = 3
START, LARGE = (0.0, -1.0, 1.0), 1e3  # what a best is before there is any, or infinite


@check(C05, "what the loop's variables call best is its best figure", phase="later")
def best_figure(x: Examination) -> Iterator[Finding]:
    looks = later(x).figures
    bests = {name for look in looks for name in look if has_part(name, conventions.BEST_NAMES)}
    if not bests:
        raise Unavailable("no variable is named as the best of a figure")
    for name in sorted(bests):
        higher = has_part(name, conventions.HIGHER_IS_BETTER)
        if higher == has_part(name, conventions.LOWER_IS_BETTER):
            continue  # the name does not say which is best
        values = _changes([look[name] for look in looks if name in look])
        finite = [value for value in values if math.isfinite(value)]
        steps = [b - a for a, b in zip(finite, finite[1:], strict=False)]
        worse = [step for step in steps if (step < 0) == higher]
        sense = "highest" if higher else "lowest"
        if steps and len(worse) == len(steps):
            yield _broken(
                name,
                f"it went {' -> '.join(f'{value:.4g}' for value in finite[:6])}; the {sense} is "
                "the best of such a figure, and can only go the other way",
            )
            return
        figure, figures = _followed(name, looks)
        at_start = values[-1] in START or abs(values[-1]) > LARGE
        if (
            at_start
            and len(values) == 1
            and len(figures) >= FEWEST_FIGURES
            and not {*values} & {*figures}
        ):
            yield _broken(
                name,
                f"it stays {values[-1]:g}, while {figure} was "
                f"{', '.join(f'{value:.4g}' for value in figures[:6])}: nothing was ever kept",
            )
            return


def _broken(name: str, evidence: str) -> Finding:
    return C05.broken(
        "error",
        f"{name} follows its figure in the wrong direction",
        f"the loop's variable {name}",
        (evidence,),
        "a loss: if loss < best, from best = inf; a score: if score > best, from best = -inf",
        explains=("weights that are kept, and are not the best",),
    )


def _followed(name: str, looks: list[dict[str, float]]) -> tuple[str, list[float]]:
    """The figure whose best a variable holds, which has its name without that word."""
    own = name.lower()
    for part in conventions.BEST_NAMES:
        own = own.replace(part, "").strip("_")
    names = {other for look in looks for other in look if other.lower() == own}
    figure = min(names, default="")
    return figure, _changes([look[figure] for look in looks if figure in look])


def _changes(values: list[float]) -> list[float]:
    """The values without those that repeat the one before."""
    return [v for n, v in enumerate(values) if not n or v != values[n - 1]]
