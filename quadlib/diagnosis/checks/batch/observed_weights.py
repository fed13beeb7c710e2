"""How a sampler that draws by weights treats the classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import WeightedRandomSampler

from quadlib.diagnosis.checks.batch.contracts import B03
from quadlib.diagnosis.checks.batch.watched_contracts import B23
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.dataset import training_items, training_loader
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

RARER = 0.7  # of its share of the data, below which a class was meant to have more


@check(B23, "weights of the draw favour rare classes, if any", phase="observed")
def weighted_draw(x: Examination) -> Iterator[Finding]:
    sampler = getattr(training_loader(x.record), "sampler", None)
    if not isinstance(sampler, WeightedRandomSampler):
        raise Unavailable("no sampler that draws by weights was seen")
    items = training_items(x.record)
    weights = np.asarray(sampler.weights, dtype=np.float64)
    if len(weights) < len(items.rows):
        yield _too_few(sampler, len(weights), len(items.rows))
        return
    if not items.whole or len(weights) != len(items.rows):
        raise Unavailable("not every row of the dataset has a weight and was read")
    names, codes, counts = np.unique(items.labels, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise Unavailable("the dataset holds one class")
    share = counts / counts.sum()
    drawn = np.bincount(codes, weights[items.rows]) / weights.sum()
    rare = int(counts.argmin())
    if drawn[rare] >= RARER * share[rare] or np.corrcoef(share, drawn / share)[0, 1] <= 0:
        return
    yield B23.broken(
        "warning",
        f"the rarest class makes {share[rare]:.1%} of the data and {drawn[rare]:.1%} of the draws",
        f"{type(sampler).__name__} of the training loader",
        (
            f"class {names[rare]} has {counts[rare]} samples; the commonest, "
            f"{names[counts.argmax()]}, {counts.max()}: {share.max():.1%} of the data, "
            f"{drawn[counts.argmax()]:.1%} of the draws",
        ),
        ruled_out=("chance: these are the weights' own sums",),
    )


def _too_few(sampler: WeightedRandomSampler, weights: int, rows: int) -> Finding:
    """A weight a class was given where each row needs one."""
    return B03.broken(
        "error",
        f"only the first {weights} of {rows} rows can be drawn",
        f"{type(sampler).__name__} of the training loader",
        (
            f"it holds {weights} weights, and draws row numbers below that; the dataset has {rows} "
            "rows",
        ),
        "give each row the weight of its class: weights[labels]",
        ruled_out=("chance: the other rows have no weight at all",),
        explains=("batches of a few rows, over and over",),
    )
