"""SampleTable: one row a recording, with its label, session, split and where each modality lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from quadlib.files import digest_bytes

Kind = Literal["video", "image", "audio", "series", "vector"]
SPLITS = ("train", "val", "test")


class TableError(ValueError):
    """The table breaks one or more of its laws; the message lists all of them."""


@dataclass(frozen=True)
class Modality:
    """What a modality is: its kind, and the shape of one raw recording where the source knows it.

    Shapes: vector (d,); series (channels,) from files or (channels, steps) from arrays; media files ().
    """

    kind: Kind
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class SampleTable:
    """Recordings with unique ids, labels, sessions and splits; reading one checks everything and reports all problems at once.

    `frame` has the columns sample_id, label, group (session), split ("train", "val", "test", or "" where not assigned),
    one column per modality, and any further columns of the source (`info`: durations, set-points). A modality's
    column holds a path relative to `root` ("" where missing; several photos joined by "|"), or, for a modality in
    `arrays`, the row in that array (-1 where missing).
    Raises TableError.
    """

    frame: pd.DataFrame
    modalities: Mapping[str, Modality]
    root: Path | None = None
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    classes: Sequence[str] = ()
    name: str = "table"

    def __post_init__(self) -> None:
        problems = _problems(self.frame, self.modalities, self.classes)
        if problems:
            raise TableError(f"{self.name}: {len(problems)} problem(s)\n" + "\n".join(f"  {problem}" for problem in problems))
        object.__setattr__(self, "frame", self.frame.reset_index(drop=True))

    def __len__(self) -> int:
        return len(self.frame)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their codes: the source's order, else sorted; independent of splits."""
        return tuple(self.classes) or tuple(sorted(set(self.frame["label"])))

    @cached_property
    def codes(self) -> np.ndarray:
        """Class code of every row, int64, an index into `class_names`."""
        position = {name: code for code, name in enumerate(self.class_names)}
        return np.array([position[label] for label in self.frame["label"]], dtype=np.int64)

    @cached_property
    def present(self) -> np.ndarray:
        """Which modalities every row has: bool (n, M), in the order of `modalities`."""
        columns = []
        for name in self.modalities:
            column = self.frame[name]
            columns.append((column.to_numpy() >= 0) if name in self.arrays else (column != "").to_numpy())
        return np.stack(columns, axis=1) if columns else np.zeros((len(self), 0), dtype=bool)

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split, ascending, int64."""
        return np.flatnonzero((self.frame["split"] == split).to_numpy()).astype(np.int64)

    def paths(self, row: int, modality: str) -> list[Path]:
        """Absolute paths of one recording's files of a modality; empty where missing."""
        if self.root is None:
            raise TableError(f"{self.name}: {modality} has no files, its values are in arrays")
        text = self.frame[modality].iat[row]
        return [self.root / part for part in text.split("|")] if text else []

    def with_columns(self, **columns: Sequence | np.ndarray) -> SampleTable:
        """The same recordings with columns replaced or added."""
        return replace(self, frame=self.frame.assign(**columns))

    def take(self, rows: np.ndarray) -> SampleTable:
        """The given rows, in that order, classes unchanged."""
        return replace(self, frame=self.frame.iloc[rows], classes=self.class_names)

    def with_modalities(self, names: Sequence[str]) -> SampleTable:
        """The same recordings with only these modalities, in this order; raises TableError on unknown names."""
        unknown = [name for name in names if name not in self.modalities]
        if unknown:
            raise TableError(f"{self.name}: no modality {', '.join(unknown)}; it has {', '.join(self.modalities)}")
        dropped = [name for name in self.modalities if name not in names]
        return replace(self, frame=self.frame.drop(columns=dropped), modalities={name: self.modalities[name] for name in names},
                       arrays={name: array for name, array in self.arrays.items() if name in names}, classes=self.class_names)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ids, labels, sessions, splits, where each modality lies, classes and array contents."""
        columns = ["sample_id", "label", "group", "split", *self.modalities]
        parts = [self.frame[columns].to_csv(index=False).encode(), "\n".join(self.class_names).encode()]
        parts += [f"{name} {spec.kind} {spec.shape}".encode() for name, spec in self.modalities.items()]
        parts += [np.ascontiguousarray(self.arrays[name]).tobytes() for name in self.modalities if name in self.arrays]
        return digest_bytes(*parts)


def _problems(frame: pd.DataFrame, modalities: Mapping[str, Modality], classes: Sequence[str]) -> list[str]:
    missing = [name for name in ("sample_id", "label", "group", "split", *modalities) if name not in frame.columns]
    if missing:
        return [f"no column {name}; found {', '.join(map(str, frame.columns))}" for name in missing]
    problems = []
    if not len(frame):
        problems.append("no recordings; check the path and that its folders are readable")
    repeated = frame["sample_id"][frame["sample_id"].duplicated(keep=False)]
    for sample_id, count in repeated.value_counts().items():
        problems.append(f"sample_id {sample_id!r} stands in {count} rows; ids must be unique, prefix them with their session")
    empty = frame["sample_id"][frame["label"].isna() | (frame["label"] == "")]
    if len(empty):
        problems.append(f"{len(empty)} recording(s) without a label: {_some(empty)}; label them or leave them out")
    if classes:
        for label in sorted(set(frame["label"].dropna()) - set(classes) - {""}):
            rows = frame["sample_id"][frame["label"] == label]
            problems.append(f"label {label!r} of {_some(rows)} is none of the classes {', '.join(classes)}")
    wrong = sorted(set(frame["split"]) - {*SPLITS, ""})
    if wrong:
        problems.append(f"split {', '.join(map(repr, wrong))} is none of {', '.join(SPLITS)}; rename it or leave it empty")
    return problems


def _some(values: pd.Series, most: int = 5) -> str:
    shown = ", ".join(map(str, values[:most]))
    return shown + (f" and {len(values) - most} more" if len(values) > most else "")
