"""Faults of the labels: a sample is not called what it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quadlib.faults.pipeline import Pipeline, PlainBatches
from quadlib.faults.registry import fault


@fault(
    "L1",
    stage="labels",
    code="QL-L01",
    title="the label column is permuted",
    when="T0",
    exact=False,
    occurrence='trainproof: "no single-run loss rule can catch this"',
)
def shuffled_labels(p: Pipeline) -> None:
    p.table = p.table.with_columns(label=_exchanged(p, np.ones(len(p.table), dtype=bool)))


@fault(
    "L2",
    stage="labels",
    code="QL-L02",
    title="30 % of the labels are wrong",
    occurrence="cleanlab",
    when="Te",
    exact=False,
)
def noisy_labels(p: Pipeline) -> None:
    p.table = p.table.with_columns(label=_exchanged(p, p.random.random(len(p.table)) < 0.3))


def _exchanged(p: Pipeline, chosen: np.ndarray) -> np.ndarray:
    """Labels of which the chosen ones are permuted within their split, so that class sizes stay
    what they were.
    """
    labels, split = p.table.frame["label"].to_numpy().copy(), p.table.frame["split"].to_numpy()
    for name in np.unique(split):
        rows = np.flatnonzero(chosen & (split == name))
        labels[rows] = labels[p.random.permutation(rows)]
    return labels


@fault(
    "L4",
    stage="labels",
    code="QL-L04",
    title="the label is the id of the sample",
    occurrence="pytorch-metric-learning#744",
    when="T0",
)
def ids_as_labels(p: Pipeline) -> None:
    p.table = replace(
        p.table, frame=p.table.frame.assign(label=p.table.frame["sample_id"]), classes=()
    )
    p.set(rare="oversample")
    p.trainer.batches = PlainBatches(
        p.table.rows("train"), p.settings.batch_size, seed=p.settings.seed
    )


@fault(
    "L6",
    stage="labels",
    code="QL-L06",
    title="a class has another index in val than in train",
    when="T0",
    occurrence="timm#957, ultralytics#13936, DeepForest#1147",
)
def other_indices_in_val(p: Pipeline) -> None:
    codes = p.table.codes.copy()
    # the folder of the first class is empty in val, so every other class moves down by one
    rows = p.table.rows("val")
    codes[rows] -= 1
    frame = p.table.frame.assign(class_index=codes)
    frame.loc[(frame["split"] == "val") & (frame["class_index"] < 0), "split"] = ""
    p.table = replace(p.table, frame=frame, classes=p.table.class_names)
