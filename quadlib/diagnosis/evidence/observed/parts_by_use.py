"""What the dataset that is trained on holds, beside those of the loaders that evaluate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from quadlib.diagnosis.evidence.observed.dataset import (
    evaluation_loaders,
    other_items,
    training_items,
    training_loader,
)
from quadlib.diagnosis.evidence.observed.fact import fact_of
from quadlib.diagnosis.evidence.observed.parts import Array, Parts, role_of, tables
from quadlib.diagnosis.observe.arrays import arrays_within, as_numpy
from quadlib.diagnosis.observe.record import Record
from quadlib.diagnosis.subject import Unavailable


def samples(record: Record) -> list[Parts]:
    """The samples of both, (n, ...), by the names of variables and by the use of loaders; raises
    Unavailable where neither tells them.
    """
    try:
        found = tables(record)
    except Unavailable:
        found = []
    found += _by_use(record)
    if not found:
        raise Unavailable("no variables and no loaders tell what is trained on and what evaluates")
    return found


def _n_loaders(record: Record) -> int:
    """More of them turn up as the loop goes on."""
    runs = record.later.runs if record.later else ()
    return len(record.loaders) + len(record.bystanders) + len(record.named_loaders) + len(runs)


@fact_of(_n_loaders)
def _by_use(record: Record) -> list[Parts]:
    """Arrays that the datasets hold under one name, or else the items that they give; several of a
    sample count as one row, since one of them alone may be that of many samples.
    """
    try:
        training = training_loader(record).dataset
    except Unavailable:
        return []
    found, held = [], _held(training)
    for name, dataset in _evaluated(record, training):
        own, other = held, _held(dataset)
        if own.keys().isdisjoint(other):
            try:
                own, other = training_items(record).streams, other_items(record, dataset).streams
            except Unavailable:
                continue
        common = [
            path
            for path in own  # in the dataset's order, whatever Python's hash of texts is
            if path in other
            and own[path].shape[1:] == other[path].shape[1:]
            and own[path].dtype == other[path].dtype
        ]
        if common:
            rows, others = (_one_array([part[path] for path in common]) for part in (own, other))
            trained = Array("the training dataset", "trained", (), rows)
            evaluated = Array(name or "an evaluated dataset", "evaluated", (), others)
            found.append(Parts(trained, (evaluated,), gallery=role_of(name) != "evaluated"))
    return found


def _evaluated(record: Record, training: Any) -> Iterator[tuple[str, Any]]:
    """(name of its loader or "", dataset) of those that evaluate: run through without gradients, or
    named so.
    """
    names = {id(loader): name for name, loader in record.named_loaders}
    run = [run.loader for run in (record.later.runs if record.later else ())]
    idle = {id(loader) for loader in record.bystanders} - {id(loader) for loader in run}
    seen = {id(training)}
    for loader in (*evaluation_loaders(record), *run):
        name, dataset = names.get(id(loader), ""), getattr(loader, "dataset", None)
        if id(dataset) not in seen and (role_of(name) == "evaluated" or id(loader) not in idle):
            seen.add(id(dataset))
            yield name, dataset


def _held(dataset: Any) -> Mapping[str, np.ndarray]:
    """The arrays (n, ...) with a row a sample that a dataset holds, by their path within it."""
    if not hasattr(dataset, "__len__"):
        return {}
    found = {path: as_numpy(value) for path, value in arrays_within("", dataset)}
    return {p: a for p, a in found.items() if a.ndim >= 2 and len(a) == len(dataset)}


def _one_array(arrays: list[np.ndarray]) -> np.ndarray:
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate([array.reshape(len(array), -1) for array in arrays], axis=1)
