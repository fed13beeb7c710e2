"""What kind of loss it is: its value against formulas on the rows that it compares."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from quadlib.diagnosis.evidence.observed.fact import fact
from quadlib.diagnosis.evidence.observed.labels import labels
from quadlib.diagnosis.evidence.observed.passes import traced
from quadlib.diagnosis.evidence.observed.rows import compared, unit
from quadlib.diagnosis.observe.graph import Comparison
from quadlib.diagnosis.observe.record import Record
from quadlib.diagnosis.subject import Unavailable

CLOSE = 1e-3
WITH_SELF = "each row in its own denominator"
OWN_POSITIVE = "each row among its own positives"
# Temperatures by which people divide a loss of bare cosines, in place of the cosines.
OUTSIDE = (0.05, 0.07, 0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True)
class LossKind:
    """name: "SupCon", "SupCon with the mean inside", "NT-Xent", "in-batch cross-entropy" or
    "another loss", and what each row does to itself. factor: its value divided by the formula's.
    plateau: its value where all rows are equal, None where that is not known.
    """

    name: str
    factor: float
    plateau: float | None


@fact
def loss_kind(record: Record) -> LossKind:
    """The formula that gives the loss's value in every traced pass: one value alone may agree with
    one of so many by chance.
    """
    passes = zip(compared(record), traced(record), strict=False)
    found = [_kinds(record, c, item.backward.loss, k) for k, (c, item) in enumerate(passes)]
    for kind in found[0]:
        if all((kind.name, kind.factor) in {(k.name, k.factor) for k in own} for own in found[1:]):
            return kind
    return LossKind("another loss", 1.0, None)


def _kinds(record: Record, comparison: Comparison, value: float, number: int) -> list[LossKind]:
    factors = [1.0, -1.0]
    if unit(comparison) and math.isclose(comparison.scale, 1.0, rel_tol=CLOSE):
        factors += [1 / temperature for temperature in OUTSIDE]
    return [
        LossKind(name, factor, plateau)
        for name, formula, plateau in _formulas(record, comparison, number)
        for factor in factors
        if math.isclose(value, factor * formula, rel_tol=CLOSE, abs_tol=1e-5)
    ]


def _formulas(record: Record, c: Comparison, number: int) -> list[tuple[str, float, float]]:
    if c.by != "product" or not c.softmax:
        return []
    logits = c.left @ c.right.T * c.scale
    n, m = logits.shape
    made: list[tuple[str, float, float]] = []
    if c.targets is not None and len(c.targets) == n and int(c.targets.max()) < m:
        rows = float(cross_entropy(logits, c.targets))
        made.append(("in-batch cross-entropy", rows, math.log(m)))
        if n == m:
            both = (rows + float(cross_entropy(logits.T, c.targets))) / 2
            made.append(("in-batch cross-entropy", both, math.log(m)))
    if n == m and c.same:
        off = ~torch.eye(n, dtype=torch.bool)
        log_odds = logits - torch.logsumexp(logits.masked_fill(~off, -torch.inf), 1, keepdim=True)
        masks = [("NT-Xent", _two_views(n))] if n % 2 == 0 else []
        mask = c.mask if c.mask is not None else _label_mask(record, n, number)
        if mask is not None:
            masks.append(("SupCon", mask.bool() & off))
        for name, positives in masks:
            counts = positives.sum(1)
            chosen = counts > 0
            if not bool(chosen.any()):
                continue
            inside = log_odds.masked_fill(~positives, 0).sum(1) / counts.clamp(min=1)
            for mean in (inside[chosen].mean(), inside.mean()):  # lone anchors left out, or 0
                made.append((name, -float(mean), math.log(max(n - 1, 1))))
            itself = logits - torch.logsumexp(logits, 1, keepdim=True)
            crowded = itself.masked_fill(~positives, 0).sum(1) / counts.clamp(min=1)
            crowded_by = f"{name} with {WITH_SELF}"
            made.append((crowded_by, -float(crowded[chosen].mean()), math.log(n)))
            with_self = positives | ~off
            for log_of, what in (
                (itself, f"{OWN_POSITIVE} and {WITH_SELF}"),
                (log_odds, OWN_POSITIVE),
            ):
                own = log_of.masked_fill(~with_self, 0).sum(1) / with_self.sum(1)
                made.append((f"{name} with {what}", -float(own.mean()), math.log(n)))
            odds = log_odds.exp().masked_fill(~positives, 0).sum(1) / counts
            made.append(
                (
                    f"{name} with the mean inside",
                    -float(odds[chosen].log().mean()),
                    math.log(max(n - 1, 1)),
                )
            )
    return made


def _two_views(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.bool).roll(n // 2, 1)


def _label_mask(record: Record, n: int, number: int) -> Tensor | None:
    """By the labels of a traced pass."""
    try:
        own = torch.as_tensor(labels(record).values[number])
    except (Unavailable, IndexError):
        return None
    if n % len(own):
        return None
    tiled = own.repeat(n // len(own))
    return tiled[:, None] == tiled
