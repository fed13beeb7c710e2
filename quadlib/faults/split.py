"""Faults of the split: train holds too little, or what is tested was trained on."""

from __future__ import annotations

import numpy as np

from quadlib.faults.data import with_copies
from quadlib.faults.pipeline import Pipeline
from quadlib.faults.registry import fault


@fault(
    "S1",
    stage="split",
    code="QL-S01",
    title="the train split holds one class",
    when="T0",
    occurrence="sklearn StratifiedKFold accepts a single-class target silently "
    "(rapidsai/cuml#8632)",
)
def one_class_split(p: Pipeline) -> None:
    # sorted by label and sliced: all that is left of train is one class, in whole batches as far as
    # it reaches
    own = np.flatnonzero(p.table.codes == p.random.integers(len(p.table.class_names)))
    size = max(2, min(p.settings.batch_size, len(own) // 16 * 16))
    split = np.where(p.table.frame["split"] == "train", "test", p.table.frame["split"])
    split[own] = "test"
    split[own[: len(own) // size * size]] = "train"
    p.table = p.table.with_columns(split=split)
    p.set(min_classes=1, batch_size=size)


@fault(
    "S2",
    stage="split",
    code="QL-S02",
    title="a class is missing from train",
    occurrence="deepchecks: new label",
    when="T0",
)
def class_not_in_train(p: Pipeline) -> None:
    frame = p.table.frame
    gone = (frame["label"] == p.random.choice(frame["label"])) & (frame["split"] == "train")
    p.table = p.table.with_columns(split=frame["split"].mask(gone, "").to_numpy())


@fault(
    "S3",
    stage="split",
    code="QL-S03",
    title="files of val were copied into train",
    occurrence="copied folders",
    when="T0",
)
def val_files_in_train(p: Pipeline) -> None:
    rows = p.random.permutation(p.table.rows("val"))
    p.table = with_copies(p, rows[: int(0.3 * len(rows))], "train")


@fault(
    "S4",
    stage="split",
    code="QL-S04",
    title="samples of one session are in train and in val",
    when="T0",
    occurrence="DEAP#1 (72 % after the fix), EEG-AAD#7, Wifi#47",
)
def sessions_divided(p: Pipeline) -> None:
    p.table = p.table.with_columns(group=_cut(p, 4)[0], split=_shuffled_within_class(p))


@fault(
    "S5",
    stage="split",
    code="QL-S05",
    title="overlapping windows are divided at random",
    occurrence="Diffusion-TS#67, logbert#57",
    when="T0",
)
def overlapping_windows(p: Pipeline) -> None:
    recording, place = _cut(p, 6)
    p.table = p.table.with_columns(
        recording=recording,
        group=p.table.frame["sample_id"].to_numpy(),
        start_s=0.5 * place,
        end_s=0.5 * place + 1,
        split=_shuffled_within_class(p),
    )


def _cut(p: Pipeline, size: int) -> tuple[list[str], np.ndarray]:
    """Stretches of `size` rows of one class: the name of every row's, and its place in it."""
    codes = p.table.codes
    place = np.zeros(len(codes), dtype=int)
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        place[rows] = np.arange(len(rows))
    return [f"r{code}-{at // size}" for code, at in zip(codes, place, strict=True)], place % size


def _shuffled_within_class(p: Pipeline) -> np.ndarray:
    split = p.table.frame["split"].to_numpy().copy()
    for code in np.unique(p.table.codes):
        rows = np.flatnonzero(p.table.codes == code)
        split[rows] = split[p.random.permutation(rows)]
    return split
