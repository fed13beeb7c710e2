"""Contracts of the loader: a batch's labels are those of its rows, and random changes are not the
same ones again and again.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.batch.contracts import B04, B07
from quadlib.diagnosis.evidence.contents import sample_ids
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.evidence.observed.dataset import same_randomness, training_loader
from quadlib.diagnosis.evidence.observed.passes import batches
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import as_array
from quadlib.diagnosis.words import some

SEEDS = (20_251, 77_003)


@check(B04, "the labels of a batch are those of its rows", "batch")
def stale_labels(x: Examination) -> Iterator[Finding]:
    rows, labels, told = _rows_and_labels(x)
    given = np.asarray(x.labels)[rows]
    names = getattr(x.subject.table, "class_names", None)
    if names and np.issubdtype(labels.dtype, np.integer):
        expected = np.array([list(names).index(name) if name in names else -1 for name in given])
        wrong = np.flatnonzero(labels != expected)
    else:
        pairs = pd.DataFrame({"own": given.astype(str), "batch": labels.astype(str)})
        wrong = np.flatnonzero(
            pairs.groupby("own")["batch"].transform(lambda seen: seen.mode().iloc[0])
            != pairs["batch"]
        )
    if not len(wrong):
        return
    if not told and len(wrong) > x.limits.stale_labels * len(rows):
        raise Unavailable(
            "the dataset does not seem to be in the table's order, and its batches do not say "
            "which rows they hold (index)"
        )
    first = wrong[0]
    yield B04.broken(
        "error",
        f"{len(wrong)} of {len(rows)} labels in the loader's batches are not the labels of their "
        "rows",
        where=f"loader: {some(sample_ids(x, rows[wrong[:5]]))}",
        evidence=(
            f"{sample_ids(x, [rows[first]])[0]} is {given[first]} in the table and "
            f"{labels[first]} in its batch; 0 differences are expected",
        ),
        ruled_out=("labels of the table (they were compared with themselves)", "split"),
        help="return the label together with its sample from the dataset; do not keep labels from "
        "an earlier batch or order   "
        "[changes the labels of batches; retrain]",
    )


def _rows_and_labels(x: Examination) -> tuple[np.ndarray, np.ndarray, bool]:
    """Table rows and labels of some batches, and whether the rows are told or follow from the order
    of the table alone.

    They are told by the batch's own index or by a Subset; else the dataset is asked for rows that
    were drawn.
    """
    batches = x.batches
    index = [_index_of(batch) for batch in batches]
    told = all(own is not None for own in index) or x.rows_of_subset is not None
    if all(own is not None for own in index):
        rows = np.concatenate([own for own in index if own is not None])
        rows = x.as_rows([rows])[0]
    else:
        loader = x.subject.loader
        if (
            not isinstance(loader, DataLoader)
            or loader.batch_sampler is None
            or x.subject.batch_sampler not in (None, loader.batch_sampler)
        ):
            raise Unavailable("a batch does not say which rows it holds (index)")
        positions = x.drawn_positions[:2]
        batches = list(
            DataLoader(
                loader.dataset,
                batch_sampler=[own.tolist() for own in positions],
                collate_fn=loader.collate_fn,
                generator=torch.Generator(),
            )
        )
        rows = np.concatenate(x.drawn[:2])
    labels = np.concatenate([x.labels_in(batch) for batch in batches])
    if len(rows) != len(labels) or rows.max(initial=-1) >= len(x.labels) or rows.min(initial=0) < 0:
        raise Unavailable(
            f"{len(rows)} rows for {len(labels)} labels in the batches, {len(x.labels)} in the "
            "table"
        )
    return rows, labels, told


def _index_of(batch: Any) -> np.ndarray | None:
    for name in conventions.BATCH_ROWS:
        value = batch.get(name) if isinstance(batch, Mapping) else getattr(batch, name, None)
        if isinstance(value, (Tensor, np.ndarray)):
            return as_array(value).astype(np.int64)
    return None


@check(B07, "random changes differ between epochs and between workers", "batch")
def repeated_draws(x: Examination) -> Iterator[Finding]:
    if not x.drawn_positions or not len(x.drawn_positions[0]):
        raise Unavailable("the sampler yields nothing to ask for")
    yield from _repeats(x, x.subject.loader, x.drawn_positions[0][:4].tolist())


@check(B07, "the watched loader's workers draw random changes of their own", "observed")
def repeated_draws_watched(x: Examination) -> Iterator[Finding]:
    fetch = batches(x.record)[0]
    if fetch.rows is None:
        raise Unavailable("the batches do not say which rows they hold")
    yield from _repeats(x, training_loader(x.record), list(fetch.rows[:4]))


def _repeats(x: Examination, loader: Any, rows: list[int]) -> Iterator[Finding]:
    dataset = getattr(loader, "dataset", None)
    if dataset is None or not hasattr(dataset, "__getitem__"):
        raise Unavailable("no loader with a dataset that can be asked for one sample")
    workers = int(getattr(loader, "num_workers", 0) or 0)
    start = getattr(loader, "worker_init_fn", None)
    first = _draws(dataset, rows, SEEDS[0], epoch=0)
    declared = bool(getattr(dataset, "augment", False))
    if _same(first[0], first[1]):
        later = _draws(dataset, rows, SEEDS[1], epoch=1)
        if not _same(first[0], later[0]):
            return  # a function of epoch and sample, or of the global generators, and it moves on
        if not declared:
            raise Unavailable("no random change was seen, and none is declared (dataset.augment)")
        yield _finding(
            x,
            "the random changes of a sample are the same in every epoch",
            rows,
            workers,
            "drawn for two epochs with different global seeds: equal, value for value",
        )
        return
    if workers == 0:
        return  # one process: the generator moves on from batch to batch
    one, two = (
        _draws(dataset, rows, seed, epoch=epoch, start=start, worker=worker)
        for worker, (seed, epoch) in enumerate(zip(SEEDS, (0, 1), strict=True))
    )
    if _same(one[0], two[0]):
        yield _finding(
            x,
            f"{workers} workers draw the same random changes, again in every epoch",
            rows,
            workers,
            "two fresh copies of the dataset with different global seeds, as two workers or two "
            "epochs have: equal, value for value",
        )


def _finding(x: Examination, title: str, rows: list[int], workers: int, evidence: str) -> Finding:
    return B07.broken(
        "error",
        title,
        where=f"dataset of the loader, num_workers={workers}, samples {some(rows)}",
        evidence=(evidence, "two draws that are random coincide with probability 0"),
        ruled_out=(
            "no augmentation (draws were seen or are declared)",
            "the sampler (the same samples were asked for by hand)",
        ),
        help="seed from (seed, epoch, sample), or draw from torch's generator, which workers seed "
        "anew; keep no generator in the dataset   "
        "[changes the augmentation; retrain]",
    )


def _draws(
    dataset: Any,
    rows: list[int],
    seed: int,
    *,
    epoch: int,
    start: Callable[[int], Any] | None = None,
    worker: int = 0,
) -> list[Any]:
    """Two draws of the same samples by a fresh copy of the dataset, under global generators seeded
    as a worker's would be.
    """
    try:
        own = copy.deepcopy(dataset)
    except Exception as error:
        raise Unavailable(f"the dataset cannot be copied: {type(error).__name__}") from error
    with same_randomness():
        random.seed(seed)
        # what is examined may draw from the legacy generator
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        if start is not None:
            start(worker)
        if hasattr(own, "set_epoch"):
            own.set_epoch(epoch)
        return [
            own.__getitems__(rows) if hasattr(own, "__getitems__") else [own[row] for row in rows]
            for _ in range(2)
        ]


def _same(first: Any, second: Any) -> bool:
    """Whether two nested samples are equal in every number; what is no number is taken as equal."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second)
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return np.array_equal(first, second)
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return all(_same(first[name], second[name]) for name in first)
    if isinstance(first, (tuple, list)) and isinstance(second, (tuple, list)):
        return all(_same(a, b) for a, b in zip(first, second, strict=False))
    if hasattr(first, "__dict__") and type(first) is type(second):
        return _same(vars(first), vars(second))
    if isinstance(first, (int, float)) and isinstance(second, (int, float)):
        return first == second
    return True
