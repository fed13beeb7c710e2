"""Rows of a watched loop that have no class and are trained on as one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath

import numpy as np

from quadlib.diagnosis.checks.labels.contracts import L21
from quadlib.diagnosis.conventions import NO_CLASS
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.dataset import (
    root_rows,
    training_items,
    training_loader,
)
from quadlib.diagnosis.evidence.observed.files import file_columns
from quadlib.diagnosis.evidence.observed.labels import labels, mask_layout
from quadlib.diagnosis.evidence.observed.loss_kind import loss_kind
from quadlib.diagnosis.evidence.observed.passes import traced
from quadlib.diagnosis.evidence.observed.rows import compared
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.observe.loss_events import ClassTargets
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable
from quadlib.diagnosis.words import some

AS_THEY_ARE = 0.9  # share of the rows with a class that the loss is told unchanged
FEWEST_CLASSES = 4  # -1 and 1, or -1, 0 and 1, are ordinary names of two and three classes
NUMBER = re.compile(r"-?\d+")


@check(L21, "no watched row of label -1 is another one's positive", phase="observed")
def unlabelled_positives(x: Examination) -> Iterator[Finding]:
    own, comparison = labels(x.record), compared(x.record)[0]
    first, names = own.values[0], np.unique(own.all)
    if names[0] != int(NO_CLASS) or len(names) < FEWEST_CLASSES:
        return
    if (first == names[0]).sum() < 2:
        raise Unavailable("no two rows of label -1 are in the first batch")
    if comparison.mask is not None:
        proven = mask_layout(comparison.mask, first) is not None
    else:
        proven = loss_kind(x.record).name.startswith("SupCon")
    if not proven:
        raise Unavailable("who is a positive of whom was not kept by the loss")
    yield L21.broken(
        "error",
        "rows of label -1 are drawn together as if they were a class",
        f"batch{own.mark}",
        (
            f"{int((own.all == names[0]).sum())} of {len(own.all)} watched labels are -1; the "
            f"other {len(names) - 1} labels count from {names[1]}",
            "the loss takes two rows of label -1 for a positive pair",
        ),
        ruled_out=("the labels of the other rows: they are not concerned",),
    )


@check(L21, "no watched row of label -1 is told to be of a class", phase="observed")
def unlabelled_targets(x: Examination) -> Iterator[Finding]:
    """A -1 that was clamped, or counted from the end, in front of a cross-entropy."""
    for item in traced(x.record):
        step = item.backward.step
        columns = [
            (fetch.mark(path), value)
            for fetch in item.fetches
            for path, value in fetch.values.items()
            if value.ndim == 1 and not value.is_floating_point() and bool((value == -1).any())
        ]
        for mark, own in columns:
            for event in x.record.of(ClassTargets, step=step):
                told = event.classes
                if told.shape != own.shape or len(own.unique()) < FEWEST_CLASSES:
                    continue
                without = own == int(NO_CLASS)
                as_they_are = (told == own)[~without].float().mean()
                if float(as_they_are) < AS_THEY_ARE or bool((told[without] < 0).any()):
                    continue
                classes = told[without].unique().tolist()
                yield L21.broken(
                    "error",
                    f"rows of label -1 are trained on as class {some(classes)}",
                    f"batch{mark}, and the targets of a cross-entropy",
                    (
                        f"{int(without.sum())} of {len(own)} rows of the batch have label -1; the "
                        "loss is told a class of each of them, and the other rows' own",
                    ),
                    "cross_entropy(logits, labels, ignore_index=-1), or leave these rows out",
                    ruled_out=("the labels of the other rows: the loss is given them unchanged",),
                )
                return


@check(L21, "no class of the watched files is the one without a class", phase="observed")
def unlabelled_files(x: Examination) -> Iterator[Finding]:
    dataset = training_loader(x.record).dataset
    items = training_items(x.record)
    _, rows = root_rows(dataset)
    for name, paths in file_columns(dataset).items():
        chosen = paths if rows is None else [paths[row] for row in rows]
        if len(chosen) != len(dataset):
            continue
        files = [PurePath(chosen[row]) for row in items.rows]
        for kind, words in (
            ("names", [_first_number(file.name) for file in files]),
            ("folders", [file.parent.name for file in files]),
        ):
            classes = np.unique(np.asarray(words))
            if NO_CLASS not in classes or len(classes) < FEWEST_CLASSES:
                continue
            numbers = all(NUMBER.fullmatch(word) for word in classes)
            if not numbers or sum(word.startswith("-") for word in classes) > 1:
                continue
            if not _one_to_one(np.asarray(words), items.labels):
                continue
            none = np.flatnonzero(np.asarray(words) == NO_CLASS)
            yield L21.broken(
                "error",
                "files that are marked as of no class are trained on as a class",
                f"{name} of the training loader's dataset",
                (
                    f"the files' {kind} begin with a number that is the label, one to one, in all "
                    f"{len(files)} rows; of {len(none)} it is -1, for example "
                    f"{files[none[0]].name}",
                    f"they have label {items.labels[none[0]]}, one of {len(classes)}",
                ),
                ruled_out=("another order of the labels: they follow the files' names",),
            )
            return


def _first_number(name: str) -> str:
    match = NUMBER.match(name)
    return match.group() if match else ""


def _one_to_one(words: np.ndarray, codes: np.ndarray) -> bool:
    pairs = {(word, int(code)) for word, code in zip(words.tolist(), codes, strict=True)}
    return len(pairs) == len(np.unique(words)) == len(np.unique(codes))
