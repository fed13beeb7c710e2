"""Rows of the streams behind a watched loader: each goes with the label and with its siblings."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.diagnosis.checks.labels.contracts import L01
from quadlib.diagnosis.checks.modality.contracts import M01
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.features import summaries
from quadlib.diagnosis.evidence.observed.dataset import Items, from_a_pool, training_items
from quadlib.diagnosis.evidence.observed.fact import fact
from quadlib.diagnosis.evidence.signature import Signature, signature
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.limits import DEFAULT
from quadlib.diagnosis.observe.record import Record
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

FEWEST_ROWS = 100
MOST_ROWS = 300
LINKED, UNLINKED = 0.005, 0.05  # of 199 permutations the smallest p is 0.005
SHIFTS = (-3, -2, -1, 1, 2, 3)
CLEAR = 0.001  # the smallest p of 999 permutations: six shifts find it by chance in 0.6 %


def _features(items: Items) -> dict[str, np.ndarray]:
    streams = {p: a for p, a in items.streams.items() if a.dtype.kind == "f"}
    return {
        path: summaries(array.astype(np.float32), DEFAULT)
        for path, array in streams.items()
        if np.isfinite(array).all() and (array != array[:1]).any()
    }


@fact
def links(record: Record) -> Signature:
    """Which streams of the dataset's items depend on the label and on each other."""
    items = training_items(record)
    features = _features(items)
    if len(items.rows) < FEWEST_ROWS or not features:
        raise Unavailable(f"{len(items.rows)} rows with float streams; {FEWEST_ROWS} are needed")
    if len(np.unique(items.labels)) < 2:
        raise Unavailable("the labels are all the same")
    own = signature(features, items.labels, most_rows=MOST_ROWS, within=False)
    if not own.labels:
        raise Unavailable("too few rows a class to compare the streams with the labels")
    return own


@check(M01, "each stream behind the watched loader goes with the others", phase="observed")
def aligned(x: Examination) -> Iterator[Finding]:
    own = links(x.record)
    if len(own.labels) < 2:
        raise Unavailable("fewer than two streams can be compared")
    items = training_items(x.record)
    if from_a_pool(items):
        raise Unavailable("the streams of an item are drawn from one pool of recordings")
    features = _features(items)
    for name in own.labels:
        others = [other for other in own.labels if other != name]
        if own.labels[name].p <= UNLINKED or own.linked(name, UNLINKED):
            continue
        if not all(own.labels[o].p <= LINKED or own.linked(o, LINKED) for o in others):
            continue
        shift = _shift_that_restores(features[name], items)
        if shift is None and len(others) < 2:
            continue
        restored = (
            (f"moved by {shift} row{'s' * (abs(shift) > 1)}, it is linked again",) if shift else ()
        )
        yield M01.broken(
            "error" if shift else "warning",
            f"the rows of {name} belong to other samples",
            f"{name}, {len(items.rows)} rows of the training loader's dataset",
            (
                f"{name} and label p = {own.labels[name].p:.3f}; the others and label p <= "
                f"{max(own.labels[o].p for o in others):.3f} (permutation tests of distance "
                "covariance)",
                f"{name} and the {len(others)} other streams: p >= {_smallest(own, name):.3f}",
                *restored,
            ),
            f"join {name} to the samples by their ids instead of by position",
            ruled_out=("shuffled labels: the other streams keep their link", "a constant stream"),
            candidates=()
            if shift
            else (f"{name} is in another order", f"{name} tells nothing of the samples"),
            decide="" if shift else f"compare {name} of three rows with their ids at the source",
            scope=name,
        )


@check(L01, "the labels behind the watched loader are those of their rows", phase="observed")
def labelled(x: Examination) -> Iterator[Finding]:
    own = links(x.record)
    if any(link.p <= UNLINKED for link in own.labels.values()):
        return
    items = training_items(x.record)
    features = _features(items)
    for shift in SHIFTS:
        moved = np.roll(items.labels, shift)
        if items.whole and any(_linked_to_label(values, moved) for values in features.values()):
            yield L01.broken(
                "error",
                f"the labels are shifted by {abs(shift)} row{'s' * (abs(shift) > 1)}",
                f"{items.label} of {len(items.rows)} rows of the training loader's dataset",
                (
                    "no input depends on its row's label (p >= "
                    f"{min(link.p for link in own.labels.values()):.3f}); moved by {shift}, the "
                    "labels depend on the inputs (p <= 0.001)",
                ),
                "join labels and samples by id; look for a header line or a dropped first row",
            )
            return
    if len(items.rows) >= 200 and all(link.p > 0.2 for link in own.labels.values()):
        yield L01.broken(
            "note",
            "no input is seen to depend on the label",
            f"{len(items.rows)} rows of the training loader's dataset",
            (f"permutation tests: p >= {min(k.p for k in own.labels.values()):.2f}",),
            "compare the labels of three rows with their source",
            candidates=("shuffled labels", "labels that are truly hard to see in the raw input"),
            decide="a model of one class against another on 100 rows, scored on 100 more",
        )


def _shift_that_restores(values: np.ndarray, items: Items) -> int | None:
    if not items.whole:
        return None
    for shift in SHIFTS:
        if _linked_to_label(np.roll(values, shift, axis=0), items.labels):
            return shift
    return None


def _linked_to_label(values: np.ndarray, labels: np.ndarray) -> bool:
    own = signature({"moved": values}, labels, most_rows=MOST_ROWS, within=False).labels
    return any(link.p <= CLEAR for link in own.values())


def _smallest(own: Signature, name: str) -> float:
    return min((link.p for pair, link in own.pairs.items() if name in pair), default=1.0)
