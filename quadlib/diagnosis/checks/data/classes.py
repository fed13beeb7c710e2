"""Contract of the classes: every one is real, and every declared one has samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.data.contracts import D02, D17
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.words import some


@check(D02, "every class is a real one")
def junk_class(x: Examination) -> Iterator[Finding]:
    names, source = declared_classes(x)
    held = {str(label) for label in x.classes}
    junk = [
        name
        for name in dict.fromkeys([*names, *sorted(held)])
        if conventions.JUNK_CLASSES.match(name)
    ]
    if junk:
        rows = int(np.isin(np.asarray(x.labels).astype(str), junk).sum())
        total = len(set(names) | held)
        yield D02.broken(
            "error",
            f"{some(repr(name) for name in junk)} is treated as a class: {total} classes where "
            f"{total - len(junk)} are real",
            where=source or "labels",
            evidence=(
                f"samples under it: {rows}",
                f"classes: {total}; without the junk: {total - len(junk)}; every class that sorts "
                "after it is one too high",
            ),
            ruled_out=("different class maps per split (the name itself is no class)",),
            help=f"delete the folder or row {junk[0]!r} and list classes from the labels, names "
            "that start with a dot left out   "
            "[changes class indices; retrain]",
        )


@check(D17, "every declared class has samples")
def empty_class(x: Examination) -> Iterator[Finding]:
    names, source = declared_classes(x)
    labelled = {str(label) for label in x.classes}
    empty = [
        name for name in names if name not in labelled and not conventions.JUNK_CLASSES.match(name)
    ]
    if empty and labelled <= set(names):
        yield D17.broken(
            "warning",
            f"{len(empty)} of {len(names)} declared classes have no sample: {some(empty)}",
            where=source,
            evidence=(f"declared: {len(names)} classes; with samples: {len(labelled)}",),
            help="list only classes that have samples, or bring their samples   [changes "
            "class indices; retrain]",
        )


def declared_classes(x: Examination) -> tuple[list[str], str]:
    """Class names that the table or the loader's dataset declares, and who declares them."""
    dataset = getattr(x.subject.loader, "dataset", None)
    for holder, attribute, source in (
        (x.subject.table, "class_names", "table.class_names"),
        (dataset, "classes", "loader.dataset.classes"),
    ):
        names: Any = getattr(holder, attribute, None)
        if isinstance(names, (list, tuple)) and names:
            return [str(name) for name in names], source
    return [], ""
