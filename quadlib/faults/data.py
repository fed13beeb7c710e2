"""Faults of the data: what was recorded is not what is read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from quadlib.faults.pipeline import Pipeline
from quadlib.faults.registry import fault


@fault(
    "D1",
    stage="data",
    code="QL-D01",
    title="files that fail to decode become zeros",
    occurrence="loaders that return zeros in `except`",
    when="T0",
)
def zeros_for_failures(p: Pipeline) -> None:
    name = p.modality
    array = np.array(p.store.arrays[name])
    array[p.random.permutation(len(array))[: len(array) // 10]] = 0
    p.put(name, array)


@fault(
    "D2",
    stage="data",
    code="QL-D02",
    title="a junk folder counts as a class",
    occurrence="mmpretrain#507",
    when="T0",
)
def junk_folder(p: Pipeline) -> None:
    p.table = replace(p.table, classes=(".ipynb_checkpoints", *p.table.class_names))


@fault(
    "D3",
    stage="data",
    code="QL-D03",
    title="30 % of the training files are there twice",
    occurrence="copied folders",
    when="T0",
)
def copies_in_train(p: Pipeline) -> None:
    rows = p.random.permutation(p.table.rows("train"))
    p.table = with_copies(p, rows[: int(0.3 * len(rows))], "train")


def with_copies(p: Pipeline, rows: np.ndarray, split: str):
    """The table with these rows once more, under new ids, in a split."""
    copies = p.table.frame.iloc[rows].assign(
        sample_id=lambda frame: frame["sample_id"] + "-copy", split=split
    )
    return replace(p.table, frame=pd.concat([p.table.frame, copies]), classes=p.table.class_names)


@fault(
    "D4",
    stage="data",
    code="QL-D04",
    title="half of the sessions are in m/s2, the others in g",
    occurrence="sensor logs of two firmware versions",
    when="T0",
    exact=False,
)
def two_units(p: Pipeline) -> None:
    name, groups = p.modality, p.table.frame["group"].to_numpy()
    chosen = p.random.permutation(np.unique(groups))
    array = np.array(p.store.arrays[name])
    array[np.isin(groups, chosen[: len(chosen) // 2])] *= 9.80665
    p.put(name, array)


@fault(
    "D6",
    stage="data",
    code="QL-D06",
    title="NaN in a few sensor rows",
    occurrence="UMLAUT",
    when="T0",
)
def nan_rows(p: Pipeline) -> None:
    name = p.modality
    array = np.array(p.store.arrays[name])
    rows = p.random.permutation(p.table.rows("train"))[: max(2, len(p.table) // 50)]
    array[rows] = np.nan
    p.put(name, array)
