"""Whether the best epoch is chosen by the samples that the last score is of."""

from __future__ import annotations

from collections.abc import Iterator

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.evaluation.contracts import E23
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.later import later
from quadlib.diagnosis.evidence.observed.parts import words_of
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable
from quadlib.diagnosis.words import has_part, some

FEWEST_EVALUATIONS = 3


@check(E23, "the best epoch is chosen by other samples than those that are tested", phase="later")
def chosen_by_the_test(x: Examination) -> Iterator[Finding]:
    seen = later(x)
    tested = [names for names in map(_tested, seen.evaluations) if names]
    words = {word for names in seen.evaluations for name in names for word in words_of(name)}
    if not words:
        raise Unavailable("no function was seen that evaluates and does not train")
    if len(tested) < FEWEST_EVALUATIONS or not words.isdisjoint(conventions.VALIDATED_WORDS):
        return
    for look in reversed(seen.figures):
        for best in (name for name in look if has_part(name, conventions.BEST_NAMES)):
            figures = {other for part in seen.figures for other in _held(best, look[best], part)}
            if figures:
                yield E23.broken(
                    "warning",
                    f"{best} keeps the best of {len(tested)} evaluations of {tested[-1][0]}",
                    f"the loop's variables {best} and {some(sorted(figures))}",
                    (
                        f"{best} is {look[best]:.4g}, a figure of one of them; what was evaluated "
                        f"goes by {some(tested[-1])} and by no name of a validation part",
                    ),
                    ruled_out=("the last epoch's figure: another one is kept as the best",),
                    explains=("a score that new samples would not give",),
                )
                return


def _tested(names: set[str]) -> list[str]:
    return sorted(n for n in names if not set(words_of(n)).isdisjoint(conventions.TESTED_WORDS))


def _held(best: str, value: float, look: dict[str, float]) -> Iterator[str]:
    """The scores of a look that have this value."""
    for name, figure in look.items():
        of_training = not set(words_of(name)).isdisjoint(conventions.TRAINED_WORDS)
        score = has_part(name, conventions.HIGHER_IS_BETTER) and not of_training
        if score and figure == value and not has_part(name, conventions.BEST_NAMES):
            yield name
