"""Features of a table, or of a watched loop's dataset, that are the label itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.diagnosis.checks.data.contracts import D22
from quadlib.diagnosis.conventions import BATCH_LABELS
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.features import stored_arrays, table_arrays
from quadlib.diagnosis.evidence.observed.dataset import (
    Items,
    root_rows,
    training_items,
    training_loader,
)
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable, as_array
from quadlib.diagnosis.words import some

FEWEST_ROWS, FEWEST_OF_A_CLASS = 40, 3
MOST_COLUMNS = 4096
MINORITY = 0.5  # share of columns up to which they stand among features


@check(D22, "no feature of the table is the label itself")
def label_among_stored_features(x: Examination) -> Iterator[Finding]:
    arrays = {**stored_arrays(x), **table_arrays(x, partly=True)}
    if not arrays:
        raise Unavailable("the table has no arrays")
    labels = np.asarray(x.labels)
    for name, (array, place) in arrays.items():
        there = np.flatnonzero(place >= 0)
        if array.ndim == 2:
            values = np.asarray(array)[place[there]]
            yield from _given_away(name, values, labels[there], "of the table")


@check(D22, "no feature behind the watched loader is the label itself", phase="observed")
def label_among_features(x: Examination) -> Iterator[Finding]:
    items = training_items(x.record)
    name, labels = _labels(items, training_loader(x.record).dataset, x.record.named_labels)
    if not _enough(labels):
        raise Unavailable("too few rows of each class are known")
    for path, table in items.streams.items():
        if table.ndim == 2 and table.shape[1] <= MOST_COLUMNS:
            yield from _given_away(f"item{path}", table, labels, name)


def _enough(labels: np.ndarray) -> bool:
    """Whether these are rows of several classes, and enough of each."""
    counts = np.unique(labels, return_counts=True)[1]
    return len(labels) >= FEWEST_ROWS and len(counts) > 1 and int(counts.min()) >= FEWEST_OF_A_CLASS


def _given_away(where: str, table: np.ndarray, labels: np.ndarray, named: str) -> Iterator[Finding]:
    """Of features (n, d), the few that are one value in each class."""
    if table.dtype.kind != "f" or not _enough(labels):
        return
    classes, codes = np.unique(labels, return_inverse=True)
    one_value = _one_value_a_class(table, codes.reshape(-1), len(classes))
    columns = np.flatnonzero(~np.isnan(one_value).any(0) & (np.ptp(one_value, axis=0) > 0))
    if not len(columns) or len(columns) > MINORITY * table.shape[1]:
        return
    if len(np.unique(one_value[:, columns], axis=0)) < len(classes):
        return
    one = f"column {columns[0]}" if len(columns) == 1 else f"columns {some(columns.tolist())}"
    yield D22.broken(
        "warning",
        f"{one} of the features gives the label away",
        f"{where} ({table.shape[1]} columns) of {len(labels)} rows, labels {named}",
        (
            f"each of {len(classes)} classes has one value there, in all {len(labels)} rows, "
            "and no two classes the same",
            f"the other {table.shape[1] - len(columns)} columns vary within classes",
        ),
        ruled_out=("features that merely show the class: their values spread within it",),
        explains=("scores that are too good, from untrained embeddings on",),
    )


def _labels(
    items: Items, dataset: object, at_hand: list[tuple[str, object]]
) -> tuple[str, np.ndarray]:
    """The labels that are trained on, else those that the dataset keeps under a usual name, or the
    loop among its variables.
    """
    if items.label is not None:
        return f"item{items.label}", items.labels
    root, rows = root_rows(dataset)
    length = len(dataset) if rows is None else None  # type: ignore[arg-type]
    kept_by = [(f"dataset.{name}", getattr(root, name, None)) for name in BATCH_LABELS]
    for name, value in (*kept_by, *(at_hand if rows is None else ())):
        if value is None or not hasattr(value, "__len__") or length not in (None, len(value)):
            continue
        values = as_array(value)
        if values.ndim == 1 and len(np.unique(values)) <= len(values) / FEWEST_OF_A_CLASS:
            kept = values if rows is None else values[rows]
            return name, kept[items.rows]
    raise Unavailable("the labels of the training dataset are not known")


def _one_value_a_class(table: np.ndarray, codes: np.ndarray, classes: int) -> np.ndarray:
    """(classes, columns) the value that a column has in all rows of a class, else NaN."""
    values = np.full((classes, table.shape[1]), np.nan)
    for code in range(classes):
        rows = table[codes == code]
        same = (rows == rows[:1]).all(0)
        values[code, same] = rows[0, same]
    return values
