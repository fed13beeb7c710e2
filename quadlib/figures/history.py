"""The records of a run's history as tables, and the axis of its epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

Record = Mapping[str, Any]


def epoch_axis(history: Sequence[Record]) -> dict[str, Any]:
    """An axis of epochs with ticks at whole ones."""
    last = max((record["epoch"] for record in history), default=1)
    return {
        "title": {"text": "epoch"},
        "tick0": 0,
        "dtick": max(1, round(last / 10)),
        "range": [0.45, last + 0.55],
    }


def without_refit(history: Sequence[Record]) -> list[Record]:
    """The records of the training that val judged: all but those of a refit."""
    return [record for record in history if not record.get("refit")]


def refit_epochs(history: Sequence[Record]) -> int:
    """How many epochs a refit took; 0 without one."""
    return sum(record["kind"] == "epoch" and bool(record.get("refit")) for record in history)


def split_history(history: Sequence[Record]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The step records and the epoch records, each as a table; a step's `at` is its place in
    epochs, epoch 1 from 0.5 to 1.5.
    """
    steps = pd.DataFrame([record for record in history if record["kind"] == "step"])
    epochs = pd.DataFrame([record for record in history if record["kind"] == "epoch"])
    if len(steps):
        by_epoch = steps.groupby("epoch")
        steps["at"] = (
            steps["epoch"]
            - 0.5
            + (by_epoch.cumcount() + 1) / by_epoch["epoch"].transform("size").max()
        )
    return steps, epochs
