"""The tensors of a watched batch that belong together row by row, as triplets do."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import torch

from quadlib.diagnosis.checks.batch.watched_contracts import B20
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.passes import inputs
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

FEWEST_PARTS = 3  # two may be views of one sample, of which a change may leave one as it is
FEWEST_VALUES = 4  # of a row, below which two are equal by chance
FEWEST_ROWS = 2
MANY = 0.2  # share of the rows; a positive that is drawn from a small class may be its anchor


@check(
    B20, "anchor, positive and negative of a watched triplet are three samples", phase="observed"
)
def equal_parts(x: Examination) -> Iterator[Finding]:
    parts: dict[tuple[int, ...], list[tuple[str, torch.Tensor]]] = {}
    for mark, values in inputs(x.record).items():
        if values[0].is_floating_point() and values[0][0].numel() >= FEWEST_VALUES:
            parts.setdefault(tuple(values[0].shape), []).append((mark, values[0].flatten(1)))
    groups = [group for group in parts.values() if len(group) >= FEWEST_PARTS]
    if not groups:
        raise Unavailable("no batch of three tensors or more of one shape was seen")
    for (one, left), (other, right) in (pair for g in groups for pair in combinations(g, 2)):
        varying = left.std(1) > 0  # rows of zeros stand for what is missing
        same = int(((left == right).all(1) & varying).sum())
        if FEWEST_ROWS <= same < int(varying.sum()):
            yield B20.broken(
                "warning" if same >= MANY * len(left) else "note",
                f"{same} of {len(left)} rows hold one sample twice, in batch{one} and batch{other}",
                f"batch{one} and batch{other}",
                (
                    "equal in every value: what is to be drawn near, or driven away, is the anchor "
                    "itself",
                ),
                "draw positives without the anchor, and negatives of other classes",
                ruled_out=("two tensors that are one: the other rows differ",),
            )
            return
