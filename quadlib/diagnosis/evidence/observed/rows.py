"""The rows that the loss compares: which row of the batch each is, and what they say."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from quadlib.diagnosis.evidence.observed.fact import fact
from quadlib.diagnosis.evidence.observed.labels import labels
from quadlib.diagnosis.evidence.observed.passes import Pass, passes, traced
from quadlib.diagnosis.observe.graph import MOST_ROWS, Comparison
from quadlib.diagnosis.observe.record import Record
from quadlib.diagnosis.observe.variation import cosine_spread
from quadlib.diagnosis.subject import Unavailable

SAME_ROW = 0.9999  # cosine of a module's output with the compared row that is made of it
LEFT_OVER = 0.2  # share of the log-odds' variation that a margin on the target may take
UNIT = 0.02  # relative deviation of norms that counts as none; half precision gives 1e-3


@fact
def compared(record: Record) -> list[Comparison]:
    """What the loss compares in each traced pass, rows of samples (not of features)."""
    kept = [
        item.backward.comparison
        for item in traced(record)
        if item.backward.comparison is not None and not _features(item.backward.comparison, record)
    ]
    if not kept:
        raise Unavailable("the rows that the loss compares were not found behind its value")
    return kept


@fact
def spreads(record: Record) -> list[tuple[int, float]]:
    """(step, standard deviation of the cosines) of the compared rows, first to last."""
    read = []
    for item in passes(record):
        comparison = item.backward.comparison
        if comparison is not None and len(comparison.left) > 2:
            rows = comparison.left.T if _features(comparison, record) else comparison.left
            read.append((item.backward.step, cosine_spread(rows[:MOST_ROWS])))
    if not read:
        raise Unavailable("the rows that the loss compares were not found behind its value")
    return read


def batch_rows(record: Record) -> int:
    """Rows of a batch; raises Unavailable where they are not known."""
    for item in traced(record):
        for fetch in item.fetches:
            sizes = [leaf.shape[0] for leaf in fetch.leaves if leaf.shape]
            if sizes:
                return max(set(sizes), key=sizes.count)
    raise Unavailable("the number of rows in a batch is not known")


def _features(comparison: Comparison, record: Record) -> bool:
    """Whether columns are compared, as redundancy-reducing losses do, rather than rows."""
    if comparison.by != "product":
        return False
    try:
        size = batch_rows(record)
    except Unavailable:
        return False
    n, width = comparison.left.shape
    return n % size != 0 and width % size == 0


def unit(comparison: Comparison) -> bool:
    """Whether every compared row has the same norm, as normalised ones do."""
    for rows in (comparison.left, comparison.right):
        norms = rows.norm(dim=1)
        if float(norms.std(unbiased=False)) > UNIT * float(norms.mean()):
            return False
    return True


def effective_scale(comparison: Comparison) -> float:
    """By how much a cosine is multiplied on its way to the softmax: 1 / temperature."""
    left, right = (rows.norm(dim=1).mean() for rows in (comparison.left, comparison.right))
    return abs(comparison.scale) * float(left) * float(right)


def measured_scale(comparison: Comparison) -> float:
    """The same as the softmax's log-odds show it, which holds where margins or copies hide factors
    on the way: those of a row's target, which a margin changes, are left out where they must be. As
    the graph says where the log-odds are not those of the compared rows.
    """
    log_odds, table = comparison.log_odds, cosines(comparison)
    if log_odds is None or log_odds.shape != table.shape or not bool(log_odds.isfinite().all()):
        return effective_scale(comparison)
    every = torch.ones_like(table)
    others = every.clone()
    if comparison.targets is not None and len(comparison.targets) == len(table):
        others[torch.arange(len(table)), comparison.targets] = 0
    for entries in (every, others):
        slope, left = _slope(log_odds, table, entries)
        if left < LEFT_OVER:
            return abs(slope)
    return effective_scale(comparison)


def _slope(log_odds: Tensor, table: Tensor, entries: Tensor) -> tuple[float, float]:
    """Of the log-odds by the cosines within each row, over some entries; and the share of their
    squares that it leaves.
    """
    counts = entries.sum(1, keepdim=True).clamp(min=1)
    odds, table = (
        (rows - (rows * entries).sum(1, keepdim=True) / counts) * entries
        for rows in (log_odds, table)
    )
    slope = float((odds * table).sum() / table.square().sum().clamp(min=1e-12))
    left = float((odds - slope * table).square().sum() / odds.square().sum().clamp(min=1e-12))
    return slope, left


def cosines(comparison: Comparison) -> Tensor:
    """Cosines of all pairs, (n, m)."""
    return normalize(comparison.left, dim=1) @ normalize(comparison.right, dim=1).T


def partners(comparison: Comparison, order: np.ndarray | None = None) -> np.ndarray | None:
    """(n,) the column that the views' likeness names as each row's own partner; None where no
    layout stands out by six standard deviations. order: (n,) the module's output row that each
    compared row is, whose layouts are tried too.
    """
    table = cosines(comparison)
    n, m = table.shape
    if n != m or n < 8 or bool(torch.isnan(table).any()):
        return None
    place = np.arange(n)
    layouts = [] if comparison.same else [place]
    if comparison.same and n % 2 == 0:
        layouts = [(place + n // 2) % n, place ^ 1]
        if order is not None and not np.array_equal(order, place):
            back = np.argsort(order)
            layouts += [back[layout[order]] for layout in layouts]
    off = ~torch.eye(n, dtype=torch.bool) if comparison.same else torch.ones(n, n, dtype=torch.bool)
    mean, deviation = float(table[off].mean()), float(table[off].std()) + 1e-9
    scores = [(float(table[place, c].mean()) - mean) / deviation * n**0.5 for c in layouts]
    best = int(np.argmax(scores)) if scores else -1
    others = [score for k, score in enumerate(scores) if k != best]
    if best < 0 or scores[best] < 6 or (others and scores[best] < 2 * max(others)):
        return None
    return layouts[best]


def output_order(item: Pass) -> np.ndarray | None:
    """(n,) which row of the one compared output each compared row is; None where that is not
    plain.
    """
    comparison = item.backward.comparison
    if comparison is None or len(item.rows) != 1 or not comparison.same:
        return None
    rows = item.rows[0].rows
    if rows.shape != comparison.left.shape:
        return None
    likeness, order = (normalize(comparison.left, dim=1) @ normalize(rows, dim=1).T).max(1)
    plain = bool((likeness > SAME_ROW).all()) and len(order.unique()) == len(order)
    return order.numpy() if plain else None


def views(record: Record) -> int:
    """Rows of a sample that the loss compares with each other: those of its views, or of two
    towers, where each is compared with as many of the other kind.
    """
    comparison = compared(record)[0]
    one, other = comparison.left, comparison.right
    if not comparison.same and len(one) == len(other) and not torch.equal(one, other):
        return 2
    return max(1, len(one) // max(len(labels(record).values[0]), 1))
