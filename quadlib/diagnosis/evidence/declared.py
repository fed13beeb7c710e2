"""What a subject says of itself, read without running any of it: labels, splits, history,
checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from quadlib.diagnosis import conventions
from quadlib.diagnosis.evidence.fact import COSTS, Cost, TooDear, fact
from quadlib.diagnosis.subject import Subject, Unavailable, as_array


class DeclaredFacts:
    """Facts that a subject brings along, each read once; one that it does not bring raises
    Unavailable with the reason.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.known: dict[str, Any] = {}
        self.allowed: Cost = COSTS[-1]

    def affords(self, cost: Cost) -> bool:
        """Whether a fact of this cost may be asked for now."""
        return COSTS.index(cost) <= COSTS.index(self.allowed)

    def afford(self, name: str, cost: Cost) -> None:
        """Raises TooDear for a fact that costs more than is allowed now."""
        if not self.affords(cost):
            raise TooDear(f"{name} {cost}, where a check only {self.allowed}")

    @fact("reads")
    def frame(self) -> pd.DataFrame:
        """The table's rows."""
        frame = getattr(self.subject.table, "frame", self.subject.table)
        if not isinstance(frame, pd.DataFrame):
            raise Unavailable("no table")
        return frame

    @fact("reads")
    def labels(self) -> np.ndarray:
        """A label for every row."""
        if self.subject.labels is not None:
            return as_array(self.subject.labels)
        if self.subject.table is not None and "label" in self.frame:
            column = self.frame["label"]
            words = pd.api.types.infer_dtype(column, skipna=False) == "string"
            # text of fixed width is sorted and compared ten times as fast as objects
            return column.to_numpy(dtype=np.str_ if words else None)
        raise Unavailable("no labels")

    @fact("reads")
    def splits(self) -> dict[str, np.ndarray]:
        """Row numbers of every split, by name."""
        given = self.subject.splits
        if isinstance(given, Mapping):
            return {str(name): np.asarray(rows, dtype=np.int64) for name, rows in given.items()}
        if given is None and self.subject.table is not None and "split" in self.frame:
            given = self.frame["split"]
        if given is None:
            raise Unavailable("no splits")
        names = np.asarray(given).astype(str)
        return {name: np.flatnonzero(names == name) for name in dict.fromkeys(names) if name}

    @fact("reads")
    def train_rows(self) -> np.ndarray:
        """Rows that are trained on: the train split, or every row where no split is given."""
        try:
            splits = self.splits
        except Unavailable:
            return np.arange(len(self.labels))
        for name in conventions.TRAIN_SPLITS:
            if name in splits:
                return splits[name]
        raise Unavailable(f"no split is named train; found {', '.join(splits)}")

    @fact("reads")
    def train_labels(self) -> np.ndarray:
        labels: np.ndarray = self.labels[self.train_rows]
        return labels

    @fact("reads")
    def classes(self) -> np.ndarray:
        """Distinct labels, sorted: the columns of `batch_counts`."""
        return np.unique(self.labels)

    @fact("reads")
    def run_folder(self) -> Path:
        folder = getattr(self.subject.run, "folder", self.subject.run)
        if folder is None:
            raise Unavailable("no run")
        return Path(folder)

    @fact("reads")
    def history(self) -> list[dict[str, Any]]:
        """Records of the history, each a dict; plain numbers become {"loss": value}."""
        given = self.subject.history
        if (
            given is None
            and self.subject.run is not None
            and (self.run_folder / "history.jsonl").is_file()
        ):
            given = self.run_folder / "history.jsonl"
        if given is None:
            raise Unavailable("no history")
        if isinstance(given, (str, Path)):
            try:
                given = [
                    json.loads(line)
                    for line in Path(given).read_text().splitlines()
                    if line.strip()
                ]
            except (OSError, ValueError) as error:
                raise Unavailable(f"the history cannot be read: {error}") from error
        return [
            dict(item) if isinstance(item, Mapping) else {"loss": float(item)} for item in given
        ]

    @fact("reads")
    def losses(self) -> np.ndarray:
        """The contrastive loss over the history, step by step where there are steps, else epoch by
        epoch.
        """
        steps = [
            item for item in self.history if item.get("kind", "step") == "step"
        ] or self.history
        values = [item.get("fused", item.get("loss", item.get("train_loss"))) for item in steps]
        numbers = np.array([np.nan if value is None else float(value) for value in values])
        if not len(numbers) or np.isnan(numbers).all():
            raise Unavailable("the history holds no loss")
        return numbers

    @fact("reads")
    def checkpoint(self) -> dict[str, Any]:
        """The checkpoint's content."""
        given = self.subject.checkpoint
        if given is None and self.subject.run is not None:
            found = self.run_folder / "checkpoints" / "latest_model.pth"
            given = found if found.is_file() else None
        if given is None:
            raise Unavailable("no checkpoint")
        if isinstance(given, Mapping):
            return dict(given)
        try:
            content: dict[str, Any] = torch.load(Path(given), map_location="cpu", weights_only=True)
            return content
        except Exception as error:
            raise Unavailable(
                f"the checkpoint {given} cannot be read: {type(error).__name__}"
            ) from error
