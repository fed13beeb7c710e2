"""Contracts of the split: given the labels and sessions, what train, val and test must hold and must not share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib import bounds
from quadlib.diagnosis.engine import check
from quadlib.diagnosis.examination import Examination
from quadlib.diagnosis.finding import Finding


@check("S01", "the train split holds two classes or more")
def one_class_train(x: Examination) -> Iterator[Finding]:
    everything, train = x.classes, np.unique(x.train_labels)
    if len(train) != 1 or len(everything) < 2:
        return
    size = int(x.subject.setting("batch_size", default=0)) or (len(x.drawn[0]) if x.subject.batch_sampler is not None and x.drawn else 32)
    plateau = bounds.collapse_value(size)
    counts = [int((x.labels == name).sum()) for name in everything]
    yield Finding(
        "QL-S01", "error", f"the train split holds one class, so the loss cannot fall below {plateau:.4f}",
        where=f'split "train", {len(x.train_rows)} recordings',
        evidence=(f"labels in train: {{{train[0]}: {len(x.train_rows)}}}; in the whole table: {len(everything)} classes of "
                  f"{min(counts)}-{max(counts)}",
                  f"floor of every possible batch of {size} = plateau = ln {size - 1} = {plateau:.4f}"),
        ruled_out=("sampler (P(one-class batch | this split) = 1)", f"too few positives ({size - 1} per anchor)", "batch size",
                   "learning rate", "temperature"),
        consequences=("QL-B01", "QL-B05", "QL-S02", "QL-P10", "QL-P11", "QL-E*", "QL-O01"),
        help='split by class and session: assign_splits(table, stratify="label", group="group")   [changes the split; retrain]')
