"""Whether an observed loop numbers one class in two ways."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from quadlib.diagnosis.checks.labels.contracts import L06
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable
from quadlib.diagnosis.words import some

FEWEST_SHARED = 3  # names; fewer are yes and no, or levels of two different columns
OF_ONE_KIND = 0.5  # share of the fewer names, that the two have in common
AS_MANY = 0.8  # samples of the one for each of the other: columns of one table, or folds


@check(L06, "the classes are numbered once", phase="variables")
def numbered_once(x: Examination) -> Iterator[Finding]:
    every = x.record.log.encodings
    if not every:
        raise Unavailable("no names of classes were numbered by LabelEncoder or factorize")
    for first, other in combinations(every, 2):
        shared = sorted(set(first.numbers) & set(other.numbers))
        fewer, more = sorted((first.rows, other.rows))
        of_one_kind = len(shared) >= OF_ONE_KIND * min(len(first.numbers), len(other.numbers))
        wrong = [name for name in shared if first.numbers[name] != other.numbers[name]]
        if len(shared) < FEWEST_SHARED or not of_one_kind or not wrong or fewer > AS_MANY * more:
            continue
        yield L06.broken(
            "error",
            f"{len(wrong)} of {len(shared)} classes are given another number a second time",
            f"{first.how} of {first.rows} labels, and {other.how} of {other.rows}",
            (
                f"first: {some([f'{name} = {first.numbers[name]}' for name in wrong])}; then: "
                f"{some([f'{name} = {other.numbers[name]}' for name in wrong])}",
                f"{len(first.numbers)} names are numbered first, {len(other.numbers)} then",
            ),
            "number the names once, and transform those of every part by that",
            ruled_out=("the model: a number means one class here and another there",),
            explains=("scores far below what the loss promises",),
        )
        return
