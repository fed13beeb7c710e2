"""Which columns the targets of a watched softmax point at, where each row brings several."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.diagnosis.checks.batch.watched_contracts import B20
from quadlib.diagnosis.checks.loss.watched_contracts import P22
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.collated import same_row
from quadlib.diagnosis.evidence.observed.groups import groups
from quadlib.diagnosis.evidence.observed.rows import compared
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

WRONG = 0.5  # share of rows whose target is another row's column
COPIES = 0.1  # share of rows with a copy of their positive beside it


@check(P22, "each row's target is a column that the row itself brings", phase="observed")
def foreign_targets(x: Examination) -> Iterator[Finding]:
    own, targets = groups(x.record), _targets(x)
    n, each = len(targets), len(own.owner) // len(targets)
    right = float((own.owner[targets] == np.arange(n)).mean())
    if 1 - right < WRONG:
        return
    scaled = f"targets = torch.arange(N) * {each}"
    yield P22.broken(
        "error",
        f"the targets point at columns of other rows: {right:.0%} at a row's own",
        f"a softmax over {n} x {len(own.owner)} similarities, columns batch{own.path}",
        (
            f"columns {', '.join(map(str, np.flatnonzero(own.owner == 1)[:4]))} are of row 1 of "
            f"the batch (its item alone gives the same), and its target is {targets[1]}",
            f"each of {n} rows brings {each} columns",
        ),
        scaled if own.owner[1] == 0 else "targets = torch.arange(N)",
        ruled_out=("the rows and the temperature: the targets alone decide this",),
        explains=(f"a loss that stays near ln {len(own.owner)} = {np.log(len(own.owner)):.2f}",),
    )


@check(B20, "no row's positive stands among its own negatives", phase="observed")
def positive_as_negative(x: Examination) -> Iterator[Finding]:
    own, targets = groups(x.record), _targets(x)
    if (own.owner[targets] != np.arange(len(targets))).any():
        raise Unavailable("the targets are not the rows' own columns")
    copied = np.array(
        [
            [
                any(
                    same_row(values[target], values[column])
                    for column in np.flatnonzero(own.owner == row)
                    if column != target
                )
                for row, target in enumerate(targets)
            ]
            for values in own.values
        ]
    )
    if copied.mean() < COPIES:
        return
    yield B20.broken(
        "warning",
        f"{copied.mean():.0%} of the rows have their positive among their own negatives too",
        f"batch{own.path}, {len(own.values)} batches",
        (
            f"in {copied.sum()} of {copied.size} rows another column of the same item equals the "
            "target's, value for value",
            f"such a row's loss cannot fall below ln 2: the floor is {copied.mean():.2f} x 0.693 = "
            f"{copied.mean() * np.log(2):.3f}",
        ),
        "leave the positive out where negatives are mined or drawn: compare the ids of passages "
        "with passages",
        ruled_out=("chance: negatives of other rows are not counted",),
    )


def _targets(x: Examination) -> np.ndarray:
    targets = compared(x.record)[0].targets
    assert targets is not None
    return targets.numpy()
