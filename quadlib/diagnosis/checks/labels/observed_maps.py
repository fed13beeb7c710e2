"""The class indices of the datasets behind a loop's loaders: one class has one index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from quadlib.diagnosis.checks.labels.contracts import L06
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.class_match import class_match
from quadlib.diagnosis.evidence.observed.dataset import (
    evaluation_loaders,
    other_items,
    root_rows,
    training_items,
    training_loader,
)
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable
from quadlib.diagnosis.words import some

CLEAR = 0.6  # share of rows that a class must claim, several times chance
SAME_CLASS = 1.25  # distance to a class relative to that of its own rows


@check(L06, "the watched loaders give one class one index", phase="observed")
def one_map(x: Examination) -> Iterator[Finding]:
    own = _indices(root_rows(training_loader(x.record).dataset)[0])
    if not own:
        raise Unavailable("the training dataset names no classes")
    compared = 0
    for loader in evaluation_loaders(x.record):
        other = _indices(root_rows(getattr(loader, "dataset", None))[0])
        shared = sorted(set(own) & set(other))
        compared += bool(shared)
        wrong = [name for name in shared if own[name] != other[name]]
        if not wrong:
            continue
        yield L06.broken(
            "error",
            f"{len(wrong)} of {len(shared)} classes have another index in the other dataset",
            "the datasets of two loaders in the loop",
            (
                f"training: {some([f'{name} = {own[name]}' for name in wrong])}; the other: "
                f"{some([f'{name} = {other[name]}' for name in wrong])}",
                f"training names {len(own)} classes, the other {len(other)}",
            ),
            "make the map once, from all class names sorted, and pass it to every dataset",
            ruled_out=("the model: an index means one class in training and another in the score",),
            explains=("scores at chance for classes that are learned well",),
        )
        return
    if not compared:
        raise Unavailable("no other dataset of the loop names a class that training has")


@check(L06, "classes of the watched datasets look like those of their index", phase="observed")
def one_meaning(x: Examination) -> Iterator[Finding]:
    items = training_items(x.record)
    judged = 0
    for loader in evaluation_loaders(x.record):
        if getattr(loader, "dataset", None) is training_loader(x.record).dataset:
            continue
        try:
            match = class_match(items, other_items(x.record, loader.dataset))
        except Unavailable:
            continue
        judged += 1
        known = match.distance < SAME_CLASS  # else they are other classes, numbered anew
        if not known or match.best < CLEAR or match.own > match.best - CLEAR / 2:
            continue
        pairs = [f"{a} looks like {b}" for a, b in match.exchanged.items()]
        yield L06.broken(
            "error",
            f"{len(pairs)} class indices mean another class in the other dataset",
            "the datasets of two loaders in the loop",
            (
                f"rows nearest to the training rows of their own index: {match.own:.0%}; of the "
                f"index that an exchange gives them: {match.best:.0%} ({some(pairs)})",
                f"they lie as near to those classes as training rows do ({match.distance:.2f} "
                "times)",
            ),
            "make the map of names to indices once and pass it to every dataset",
            ruled_out=("new classes: these rows are as near as training rows of the class",),
            explains=("scores at chance for classes that are learned well",),
        )
        return
    if not judged:
        raise Unavailable("no other dataset of the loop can be compared class by class")


def _indices(dataset: Any) -> dict[str, int]:
    """Class name -> index, as a mapping or an ordered list of the dataset says."""
    attributes = getattr(dataset, "__dict__", {})
    for value in attributes.values():
        if isinstance(value, Mapping) and len(value) > 1:
            pairs = list(value.items())
            if all(isinstance(k, str) and type(v) is int for k, v in pairs):
                return dict(pairs)
    names = attributes.get("classes", attributes.get("class_names"))
    if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
        return {name: place for place, name in enumerate(names)}
    return {}
