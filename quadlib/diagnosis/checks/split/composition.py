"""Contracts of the split: given the labels, what train, val and test must hold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.split.contracts import S01, S02, S10, S11, S12
from quadlib.diagnosis.checks.views import Views, check_by_views
from quadlib.diagnosis.evidence.contents import sample_ids
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.evidence.observed.labels import by_class_columns
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.words import sizes_of, some
from quadlib.loss import bounds


@check(S01, "the train split holds two classes or more")
def one_class_train(x: Examination) -> Iterator[Finding]:
    everything, train = x.classes, np.unique(x.train_labels)
    if len(train) != 1 or len(everything) < 2:
        return
    size = _batch_size(x)
    plateau = bounds.collapse_value(max(size, 2))
    counts = [int((x.labels == name).sum()) for name in everything]
    yield S01.broken(
        "error",
        f"the train split holds one class, so the loss cannot fall below {plateau:.4f}",
        where=f'split "train", {len(x.train_rows)} samples',
        evidence=(
            f"labels in train: {{{train[0]}: {len(x.train_rows)}}}; in the whole table: "
            f"{len(everything)} classes of {sizes_of(counts)}",
            f"floor of every possible batch of {size} = plateau = ln {size - 1} = "
            f"{plateau:.4f}{_observed(x, plateau)}",
        ),
        ruled_out=(
            "sampler (P(one-class batch | this split) = 1)",
            f"too few positives ({size - 1} per anchor)",
            "batch size",
            "learning rate",
            "temperature",
        ),
        help='split by class and session: assign_splits(table, stratify="label", group="group")   '
        "[changes the split; retrain]",
    )


def _batch_size(x: Examination) -> int:
    declared = x.subject.setting("batch_size")
    if isinstance(declared, int) and declared > 1:
        return declared
    try:
        return max(len(batch) for batch in x.drawn)
    except (Unavailable, ValueError):  # nothing is drawn: the usual size stands for any
        return 32


def _observed(x: Examination, plateau: float) -> str:
    try:
        losses = x.losses
    except Unavailable:
        return ""
    steady = np.isfinite(losses) & (np.abs(losses - plateau) < 5e-3)
    return (
        f"; observed {losses[steady][-1]:.4f} in {int(steady.sum())} of {len(losses)} records"
        if steady.any()
        else ""
    )


@check(S02, "every class that is tested was trained on")
def unseen_classes(x: Examination) -> Iterator[Finding]:
    trained = set(np.unique(x.train_labels).tolist())
    for split, rows in x.splits.items():
        names, counts = np.unique(np.asarray(x.labels)[rows], return_counts=True)
        absent = [
            (name, int(count))
            for name, count in zip(names.tolist(), counts, strict=True)
            if name not in trained
        ]
        if not absent or x.subject.setting("protocol") == "one_class":
            continue
        samples = sum(count for _, count in absent)
        yield S02.broken(
            "error",
            f"{len(absent)} of {len(names)} classes of {split} are not in train: "
            f"{some(name for name, _ in absent)}",
            where=f'splits "train" and "{split}"',
            evidence=(
                "samples of them: "
                + ", ".join(f"{name} 0 in train, {count} in {split}" for name, count in absent[:4]),
                f"their recall in {split} is 0 whatever is learned: {samples} of {len(rows)} "
                f"samples, so accuracy is at most {1 - samples / len(rows):.1%}",
            ),
            ruled_out=("class map (the names are compared, not the indices)",),
            scope=split,
            help='assign_splits(table, stratify="label"), or leave these classes out of the '
            "evaluation and say so   [changes the split; "
            "retrain]",
        )


@check(S10, "no sample is in two splits")
def rows_in_two_splits(x: Examination) -> Iterator[Finding]:
    names = list(x.splits)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            shared = np.unique(x.splits[first][np.isin(x.splits[first], x.splits[second])])
            if len(shared):
                yield S10.broken(
                    "error",
                    f"{len(shared)} samples are in {first} and in {second}",
                    where=f"splits {first} and {second}: {some(sample_ids(x, shared[:5]))}",
                    evidence=(
                        f"{first} has {len(x.splits[first])} rows, {second} "
                        f"{len(x.splits[second])}; their intersection must be empty",
                    ),
                    help="give every row one split   [changes the split; retrain]",
                )


@check_by_views(S11, "every class in train has two samples or more")
def lonely_classes(x: Examination, views: Views) -> Iterator[Finding]:
    names, counts = np.unique(x.train_labels, return_counts=True)
    lonely = names[counts == 1]
    if not len(lonely) or x.subject.setting("rare") in ("drop", "oversample") or views(x) > 1:
        return
    if x.subject.record is not None and by_class_columns(x.record):
        return  # a class is met in a column of its own: no other sample of it is needed
    where = [int(x.train_rows[np.flatnonzero(x.train_labels == name)[0]]) for name in lonely[:5]]
    yield S11.broken(
        "warning",
        f"{len(lonely)} of {len(names)} classes have one single sample in train: {some(lonely)}",
        where=f'split "train": {some(sample_ids(x, where))}',
        evidence=(
            f"P(positive) = 0 for these {len(lonely)} anchors in every batch of any size; "
            "smallest other class: "
            f"{int(counts[counts > 1].min(initial=10**9)) if (counts > 1).any() else 0}",
        ),
        ruled_out=("sampler", "batch size"),
        help='bring more samples, leave the class out (rare="drop"), or repeat it knowingly '
        '(rare="oversample")   [changes the split; '
        "retrain]",
    )


@check(S12, "no split is empty, and every row of a split is in the table")
def splits_hold_rows(x: Examination) -> Iterator[Finding]:
    splits = x.splits
    named_train = [name for name in splits if name.lower() in conventions.TRAIN_NAMES]
    problems = [f"{name} is empty" for name, rows in splits.items() if not len(rows)]
    if not named_train:
        problems.append(f"no split is named train; found {', '.join(splits) or 'none'}")
    outside = {name: rows[(rows < 0) | (rows >= len(x.labels))] for name, rows in splits.items()}
    problems += [
        f"{name} holds row {rows[0]} of a table of {len(x.labels)}"
        for name, rows in outside.items()
        if len(rows)
    ]
    if problems:
        sizes = ", ".join(f"{name} {len(rows)}" for name, rows in splits.items())
        yield S12.broken(
            "error",
            f"the splits are not whole: {'; '.join(problems)}",
            where="splits",
            evidence=(f"rows: {sizes or 'no split has any'}; the table has {len(x.labels)}",),
            help="assign_splits(table, fractions=(0.6, 0.2, 0.2))   [changes the split; retrain]",
        )
