"""What the dataset that is trained on holds, beside those of the loaders that evaluate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from quadlib.diagnosis import conventions
from quadlib.diagnosis.evidence.observed.dataset import (
    evaluation_loaders,
    other_items,
    training_items,
    training_loader,
)
from quadlib.diagnosis.evidence.observed.parts import Array, Parts, tables, words_of
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


def _by_use(record: Record) -> Iterator[Parts]:
    """Arrays that the datasets hold under one name, or else the items that they give; several of a
    sample count as one row, since one of them alone may be that of many samples.
    """
    try:
        training = training_loader(record).dataset
    except Unavailable:
        return
    for name, dataset in _evaluated(record, training):
        own, other = _held(training), _held(dataset)
        if not own.keys() & other.keys():
            try:
                own, other = training_items(record).streams, other_items(record, dataset).streams
            except Unavailable:
                continue
        common = [
            path
            for path in own.keys() & other.keys()
            if own[path].shape[1:] == other[path].shape[1:] and own[path].dtype == other[path].dtype
        ]
        if common:
            rows, others = (_one_array([part[path] for path in common]) for part in (own, other))
            yield Parts(
                Array("the training dataset", "trained", (), rows),
                (Array(name or "an evaluated dataset", "evaluated", (), others),),
                gallery=not _evaluates(name),
            )


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
        if id(dataset) not in seen and (_evaluates(name) or id(loader) not in idle):
            seen.add(id(dataset))
            yield name, dataset


def _evaluates(name: str) -> bool:
    words = set(words_of(name))
    return bool(words & {*conventions.EVALUATED_WORDS}) and not words & {*conventions.TRAINED_WORDS}


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
