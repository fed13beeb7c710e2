"""Whether a loader that keeps the order of the rows fills its batches with rows that are alike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.diagnosis.checks.batch.contracts import B05
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.dataset import training_items
from quadlib.diagnosis.evidence.observed.labels import labels
from quadlib.diagnosis.evidence.observed.passes import batches
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

FEWEST_BATCHES, FEWEST_OF_A_BATCH = 3, 4
FEWEST_SAMPLES = 64
SUMMED_UP = 32  # values of a sample, from which it is described by a few figures of them
PERMUTATIONS = 199
ALIKE = 0.8  # spread within the batches, as a share of that of all samples
TINY = 1e-9


@check(B05, "a loader that keeps the rows' order does not keep like with like", phase="observed")
def sorted_contents(x: Examination) -> Iterator[Finding]:
    numbers = [fetch.rows for fetch in batches(x.record) if fetch.rows]
    if len(numbers) < FEWEST_BATCHES or (np.diff(np.concatenate(numbers)) != 1).any():
        raise Unavailable("no three batches were seen that take row after row")
    if _has_labels(x):
        raise Unavailable("the order of the rows is judged by their labels")
    items, size = training_items(x.record), len(numbers[0])
    order = np.argsort(items.rows)
    batch = items.rows[order] // size
    for path, stream in items.streams.items():
        if stream.dtype.kind != "f" or len(stream) < FEWEST_SAMPLES:
            continue
        ratio, chance = _within(_figures(stream[order]), batch)
        if ratio < ALIKE and ratio < chance:
            yield B05.broken(
                "warning",
                "the loader takes row after row, and rows that follow each other are alike"
                + f" in batch{path}" * bool(path),
                "the training loader",
                (
                    f"spread within batches of {size}: {ratio:.0%} of that of all samples; of "
                    f"rows in any order never below {chance:.0%} in {PERMUTATIONS} tries",
                    f"the rows count up from {numbers[0][0]} to {numbers[-1][-1]}",
                ),
                "shuffle: DataLoader(..., shuffle=True)",
                ruled_out=("the labels: none reach the loss", "the learning rate"),
            )
            return


def _has_labels(x: Examination) -> bool:
    try:
        return bool(labels(x.record).values)
    except Unavailable:
        return False


def _figures(stream: np.ndarray) -> np.ndarray:
    """(n, figures): the values of each sample; of many the mean, spread and roughness of each of
    its channels, in which windows of one kind are alike wherever they begin.
    """
    if stream[0].size < SUMMED_UP:
        return stream.reshape(len(stream), -1).astype(np.float64)
    rows = stream.astype(np.float64)
    rows = rows.reshape(len(rows), -1, rows.shape[-1]) if rows.ndim > 2 else rows[:, None]
    spread, rough = rows.std(-1), np.diff(rows, axis=-1).std(-1)
    figures = rows.mean(-1), np.log(spread + TINY), np.log(rough + TINY)
    return np.concatenate([part.reshape(len(rows), -1) for part in figures], axis=1)


def _within(figures: np.ndarray, batch: np.ndarray) -> tuple[float, float]:
    """The variance within batches as a share of that of all samples, over the figures that vary;
    and the least that it is for samples in any order.
    """
    _, codes, counts = np.unique(batch, return_inverse=True, return_counts=True)
    kept = figures[:, figures.std(0) > TINY]
    if not kept.size or np.median(counts) < FEWEST_OF_A_BATCH or len(counts) < FEWEST_BATCHES:
        return 1.0, 1.0
    scaled = (kept - kept.mean(0)) / kept.std(0)
    random = np.random.default_rng(0)
    orders = [
        np.arange(len(scaled)),
        *(random.permutation(len(scaled)) for _ in range(PERMUTATIONS)),
    ]
    own, *others = (_share(scaled[order], codes, counts) for order in orders)
    return own, min(others)


def _share(scaled: np.ndarray, codes: np.ndarray, counts: np.ndarray) -> float:
    sums = np.zeros((len(counts), scaled.shape[1]))
    np.add.at(sums, codes, scaled)
    between = (sums**2 / counts[:, None]).sum()
    free = (len(scaled) - len(counts)) / (len(scaled) - 1)
    return float((1 - between / scaled.size) / free)
