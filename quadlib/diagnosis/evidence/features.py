"""A summary vector of every modality of the samples that are trained on, without decoding
anything anew.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from quadlib.diagnosis.evidence.batch import inputs_of, labels_in, presence_of
from quadlib.diagnosis.limits import Limits
from quadlib.diagnosis.subject import Unavailable

if TYPE_CHECKING:
    from quadlib.diagnosis.evidence.examination import Examination


def features_of(x: Examination) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Features (n, d) of every modality of some training rows, NaN where it is absent, and their
    labels (n,).

    From the table's arrays where all modalities have one, else from the dataset's decoded arrays,
    else from what the loader gives. Raises Unavailable where none of these is there.
    """
    given = table_arrays(x) or stored_arrays(x)
    if not given and x.subject.loader is None:
        raise Unavailable("the modalities are not arrays, and no loader reads them")
    return _of_arrays(x, given) if given else _of_batches(x)


def table_arrays(x: Examination, partly: bool = False) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Modality -> (array, row of it for every row of the table, -1 where absent); none unless all
    modalities are arrays, or partly.
    """
    arrays = getattr(x.subject.table, "arrays", None)
    if not isinstance(arrays, Mapping) or not arrays:
        return {}
    modalities = getattr(x.subject.table, "modalities", arrays)
    if not partly and any(name not in arrays for name in modalities):
        return {}
    found = {}
    for name in (name for name in modalities if name in arrays):
        column = x.frame[name].to_numpy() if name in x.frame else np.arange(len(x.frame))
        found[name] = (arrays[name], column.astype(np.int64))
    return found


def stored_arrays(x: Examination) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The same of a dataset that keeps decoded arrays, one row a row of the table, and says which
    are present.
    """
    store = getattr(getattr(x.subject.loader, "dataset", None), "store", None)
    arrays, present = getattr(store, "arrays", None), getattr(store, "present", None)
    if (
        not isinstance(arrays, Mapping)
        or present is None
        or any(len(array) != len(x.labels) for array in arrays.values())
    ):
        return {}
    rows = np.arange(len(x.labels))
    return {
        name: (array, np.where(np.asarray(present)[:, place], rows, -1))
        for place, (name, array) in enumerate(arrays.items())
    }


def summaries(array: np.ndarray, limits: Limits) -> np.ndarray:
    """(n, ...) -> (n, d): vectors as they are; of larger arrays the mean and deviation over a
    coarse grid of every channel.
    """
    array = np.asarray(array)
    if array.ndim <= 2:
        return array.reshape(len(array), -1).astype(np.float32)
    values: np.ndarray = array.astype(np.float32)
    flat = values.reshape(len(values), -1)
    overall = np.stack([flat.mean(axis=1), flat.std(axis=1), np.square(flat).mean(axis=1)], axis=1)
    for axis in range(2, values.ndim):
        cells = min(limits.pooled_cells, values.shape[axis])
        edges = np.linspace(0, values.shape[axis], cells + 1).astype(int)[:-1]
        widths = np.diff(np.append(edges, values.shape[axis]))
        shape = [-1 if a == axis else 1 for a in range(values.ndim)]
        values = np.add.reduceat(values, edges, axis=axis) / widths.reshape(shape).astype(
            np.float32
        )
    pooled = values.reshape(len(values), -1)
    return np.concatenate([overall, pooled[:, :: -(-pooled.shape[1] // 256)]], axis=1)


def _of_arrays(
    x: Examination, given: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    random = np.random.default_rng([0, 0xFEA7])
    rows = np.sort(random.permutation(np.asarray(x.train_rows))[: x.limits.feature_rows])
    features: dict[str, np.ndarray] = {}
    for name, (array, place) in given.items():
        there = place[rows] >= 0
        values: np.ndarray = (
            summaries(array[place[rows][there]], x.limits)
            if there.any()
            else np.zeros((0, 1), dtype=np.float32)
        )
        features[name] = np.full((len(rows), values.shape[1]), np.float32(np.nan))
        features[name][there] = values
    return features, np.asarray(x.labels)[rows]


def _of_batches(x: Examination) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """From the inputs that the loader gives, a few batches of them, each sample once: drawn
    twice, it would agree with itself.
    """
    parts: dict[str, list[np.ndarray]] = {}
    labels: list[np.ndarray] = []
    label = x.label_path  # takes the trial steps, which are no loading
    deadline = time.monotonic() + x.limits.loading_seconds
    for batch in itertools.islice(x.iterate(), x.limits.loaded_batches):
        own = input_arrays(batch)
        present = presence(batch, own)
        batch_labels = labels_in(batch, label)
        for name, values in own.items():
            if len(values) != len(batch_labels):
                raise Unavailable(
                    f"input {name} has {len(values)} rows for {len(batch_labels)} labels"
                )
            summary = summaries(values, x.limits)
            summary[~present[name]] = np.nan
            parts.setdefault(name, []).append(summary)
        labels.append(batch_labels)
        if sum(map(len, labels)) >= x.limits.loaded_rows or time.monotonic() > deadline:
            break
    if not labels:
        raise Unavailable("the loader gives no batch")
    features = {name: np.concatenate(values) for name, values in parts.items()}
    whole = np.concatenate(list(features.values()), axis=1)
    once = np.sort(np.unique([row.tobytes() for row in whole], return_index=True)[1])
    return {name: values[once] for name, values in features.items()}, np.concatenate(labels)[once]


def input_arrays(batch: Any) -> dict[str, np.ndarray]:
    """The inputs of a batch by modality, as float32 arrays."""
    inputs = inputs_of(batch, whole_numbers=True)
    return {name: value.detach().float().cpu().numpy() for name, value in inputs.items()}


def presence(batch: Any, own: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Which samples have which modality, by the batch's own mask (N, M) where it has one, else
    all.
    """
    rows = len(next(iter(own.values())))
    mask = presence_of(batch, rows, len(own))
    return {
        name: np.ones(rows, dtype=bool) if mask is None else mask[:, place].cpu().numpy()
        for place, name in enumerate(own)
    }
