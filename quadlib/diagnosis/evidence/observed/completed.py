"""A subject of which only a loop was seen, completed by what stands behind the loop's loader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from quadlib.diagnosis.evidence.observed.dataset import training_items, training_loader
from quadlib.diagnosis.subject import Subject, Unavailable


@dataclass(frozen=True)
class ReadTable:
    """Items that were read, as a table: labels in the frame, streams as arrays."""

    frame: pd.DataFrame
    arrays: Mapping[str, np.ndarray]

    @property
    def modalities(self) -> Mapping[str, np.ndarray]:
        return self.arrays


def completed(subject: Subject) -> Subject:
    """The subject with the table, labels and loader that its record shows; as it is where it
    brings its own, or where the loader's dataset cannot be read by row.
    """
    if subject.record is None or subject.table is not None or subject.loader is not None:
        return subject
    try:
        items = training_items(subject.record)
        labels = items.labels
    except Unavailable:
        return subject
    except Exception as error:  # a dataset's own code may raise anything
        subject.record.faults.append(f"reading the dataset: {type(error).__name__}: {error}")
        return subject
    if subject.labels is not None or len(np.unique(labels)) == len(labels):
        return subject
    frame = pd.DataFrame({"label": labels})
    table = ReadTable(frame, {path: a for path, a in items.streams.items() if a.dtype.kind == "f"})
    loader = training_loader(subject.record) if items.whole else None
    return replace(subject, table=table, loader=loader)
