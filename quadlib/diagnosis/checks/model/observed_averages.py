"""Whether copies of the trained weights follow them as averages do."""

from __future__ import annotations

from collections.abc import Iterator

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.model.watched_contracts import N24, N25
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.later import later
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

FEWEST_STEPS = 4
TAKEN_OVER = 0.05  # share of the way, within which a copy is the weights; 0 is a copy on purpose
STAYED, LEFT = 0.8, 0.3  # of the way that the weights have gone
ENOUGH_STEPS = 40  # from which an average that is evaluated should have left its start


@check(N24, "a copy that follows the watched weights stays behind them", phase="observed")
def takes_over(x: Examination) -> Iterator[Finding]:
    if not x.record.averages:
        raise Unavailable("no copy of the trained weights was seen")
    for average in x.record.averages:
        if average.step >= FEWEST_STEPS and 0 < average.behind < TAKEN_OVER:
            kind = type(average.module).__name__
            yield N24.broken(
                "warning",
                f"the copy of {average.trained} takes its weights over in every step",
                f"{kind}, in no optimiser",
                (
                    f"before step {average.step + 1} it is {average.behind:.1%} of the way away "
                    "that the trained weights have gone; with m = 0.99 nearly all of it",
                ),
                "teacher = m * teacher + (1 - m) * student with m near 1; lerp_ takes 1 - m",
                ruled_out=("a copy on purpose: it would be the same, bit for bit",),
            )
            return


@check(N24, "an average that is evaluated at the end has left its start", phase="later")
def stayed_behind(x: Examination) -> Iterator[Finding]:
    seen = later(x)
    if seen.ended != "finished" or not seen.averages:
        raise Unavailable("the run's last evaluation of an average was not seen")
    for average in seen.averages:
        loaded = [load.module for load in seen.loads]
        still = any(module is average.module for module in (*seen.still, *loaded))
        if (
            average.step >= ENOUGH_STEPS
            and average.behind > STAYED
            and average.gone < LEFT
            and not still
        ):
            kind = type(average.module).__name__
            yield N24.broken(
                "warning",
                f"the average of {average.trained} that is evaluated has hardly left its start",
                f"{kind}, called without gradients",
                (
                    f"after {average.step} steps it is still {average.behind:.0%} of the way away "
                    "that the trained weights have gone since the first",
                ),
                "a decay whose 1 / (1 - decay) is a small part of the steps, or one that grows: "
                "min(decay, (1 + step) / (10 + step))",
                ruled_out=("a copy that nothing updates: this one moves",),
                explains=("scores near those of random weights",),
            )
            return


@check(N25, "a teacher of the watched model is a module of its own", phase="observed")
def two_names(x: Examination) -> Iterator[Finding]:
    if not x.record.modules:
        raise Unavailable("no module was called")
    for owner, module in x.record.modules.items():
        names: dict[int, list[str]] = {}
        for name, child in module._modules.items():
            if child is not None and next(child.parameters(), None) is not None:
                names.setdefault(id(child), []).append(name)
        for own in names.values():
            teachers = [name for name in own if _is_teacher(name)]
            students = [name for name in own if not _is_teacher(name)]
            if not teachers or not students:
                continue
            frozen = not any(p.requires_grad for p in module._modules[own[0]].parameters())  # type: ignore[union-attr]
            yield N25.broken(
                "error" if frozen else "note",  # without a momentum one may well serve as both
                f"{teachers[0]} is {students[0]} itself",
                f"{owner}.{students[0]} and {owner}.{teachers[0]}",
                (
                    "both names hold one module"
                    + (", whose parameters are all frozen" if frozen else ""),
                ),
                f"{teachers[0]} = copy.deepcopy({students[0]})",
                ruled_out=("weights that are equal for now: it is the very object",),
            )
            return


def _is_teacher(name: str) -> bool:
    return not set(name.lower().split("_")).isdisjoint(conventions.TEACHER_WORDS)
