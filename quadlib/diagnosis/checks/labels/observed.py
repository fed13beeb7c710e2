"""The labels that a watched loop trains with against those that are declared or sampled by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from quadlib.diagnosis.checks.labels.contracts import L12, L20
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.dataset import training_items, training_loader
from quadlib.diagnosis.evidence.observed.labels import labels
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable, as_array

SAMPLER_LABELS = ("labels", "targets", "y", "classes")


@check(L12, "the watched labels are those declared for their rows", phase="observed")
def declared_labels(x: Examination) -> Iterator[Finding]:
    if x.subject.labels is None:
        raise Unavailable("no labels are declared")
    own, declared = labels(x.record), as_array(x.subject.labels)
    wrong = total = 0
    for values, rows in zip(own.values, own.rows, strict=True):
        if rows is None or len(rows) != len(values) or max(rows) >= len(declared):
            raise Unavailable("the rows of the batches have no numbers in the declared labels")
        wrong += int((values != declared[list(rows)]).sum())
        total += len(values)
    if wrong:
        yield _stale(wrong, total, "the declared labels", own.mark)


@check(L12, "the sampler draws by the labels that are trained on", phase="observed")
def sampler_labels(x: Examination) -> Iterator[Finding]:
    loader = training_loader(x.record)
    sampler = getattr(loader, "batch_sampler", None)
    own = labels(x.record)
    items = training_items(x.record)
    for part in (sampler, getattr(sampler, "sampler", None)):
        kept = _labels_of(part, len(loader.dataset))
        if kept is None:
            continue
        expected = kept[items.rows]
        pairs = np.unique(np.stack([expected, items.labels]), axis=1)
        classes = max(len(np.unique(expected)), len(np.unique(items.labels)))
        if pairs.shape[1] <= classes:  # the same classes, perhaps by other names
            continue
        wrong = int((expected != items.labels).sum())
        yield _stale(wrong, len(expected), f"those that {type(part).__name__} draws by", own.mark)


def _labels_of(sampler: Any, n: int) -> np.ndarray | None:
    groups = getattr(sampler, "labels_to_indices", None)
    if isinstance(groups, dict):
        kept = np.full(n, -1)
        for code, rows in enumerate(groups.values()):
            rows = np.asarray(rows, dtype=np.int64)
            if len(rows) and rows.max() >= n:
                return None
            kept[rows] = code
        return kept if (kept >= 0).all() else None
    for name in SAMPLER_LABELS:
        value = getattr(sampler, name, None)
        if value is not None and hasattr(value, "__len__") and len(value) == n:
            kept = as_array(value)
            return kept if kept.dtype.kind in "iu" else None
    return None


def _stale(wrong: int, total: int, other: str, mark: str) -> Finding:
    return L12.broken(
        "error",
        f"the labels in the batches are not {other}",
        f"batch{mark} against {other}",
        (f"{wrong} of {total} labels differ for the same rows",),
        "make both from one array, after every filter, sort and shuffle of the rows",
        ruled_out=("the model and the loss: they get the labels that the loader gives",),
    )


@check(L20, "a loss that is handed labels uses them", phase="observed")
def unused_labels(x: Examination) -> Iterator[Finding]:
    from quadlib.diagnosis.evidence.observed.passes import traced

    for item in traced(x.record)[:1]:
        backward = item.backward
        for fetch in item.fetches:
            for leaf in fetch.leaves:
                mark = fetch.mark(leaf.path)
                if len(leaf.shape) != 1 or leaf.is_float or mark in backward.hidden:
                    continue
                values = fetch.values[leaf.path]
                if mark in (backward.reaches or ()) or len(values.unique()) < 2:
                    continue
                takers = [
                    call.module
                    for call in item.calls
                    if mark in call.inputs.values()
                    and len(call.outputs) == 1
                    and call.outputs[0].shape == ()
                ]
                if not takers or (fetch.rows and tuple(values.tolist()) == fetch.rows):
                    continue
                yield L20.broken(
                    "warning",
                    f"{takers[0]} is given batch{mark}, and its value does not depend on it",
                    f"the loss {takers[0]}",
                    (
                        f"batch{mark} ({len(values)} whole numbers, {len(values.unique())} "
                        "different) is an argument; no operation leads from it to the loss",
                    ),
                    "pass the labels on inside the loss, or leave them out of the call",
                    ruled_out=("the labels: they reach the loss's door",),
                )
