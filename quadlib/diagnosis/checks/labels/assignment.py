"""Contracts of the labels: every sample has one, equal things are called alike, and a class is
more than one sample.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.labels.contracts import L04, L06, L10, L11, L12, L13
from quadlib.diagnosis.checks.views import Views, check_by_views, views_of
from quadlib.diagnosis.evidence.contents import sample_ids, whole_rows
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.words import some


@check_by_views(L04, "a label names a class, not a sample")
def unique_labels(x: Examination, views: Views) -> Iterator[Finding]:
    labels = x.train_labels
    found, counts = np.unique(labels, return_counts=True)
    single = int((counts == 1).sum())
    if (
        len(labels) < x.limits.judged_labels
        or single < x.limits.unique_labels * len(labels)
        or views(x) > 1
    ):
        return
    ids = (
        x.frame["sample_id"].astype(str).to_numpy()[x.train_rows]
        if x.subject.table is not None and "sample_id" in x.frame
        else None
    )
    same = ids is not None and bool((ids == labels.astype(str)).mean() > 0.9)
    yield L04.broken(
        "error",
        f"{len(found)} classes for {len(labels)} training samples: the label is a unique id",
        where="label column" + (", which equals sample_id" if same else ""),
        evidence=(
            f"{single} of {len(found)} classes hold one sample, so {single} of {len(labels)} "
            "anchors have no positive in any batch",
            "without positives the loss is undefined: 0 or NaN by implementation, diluted to (1 - "
            "f) ln(N - 1) by others",
        ),
        ruled_out=(
            "batch size (no batch of any size gives these anchors a positive)",
            "sampler",
            "too few positives by chance",
        ),
        help="put the class into the label column and the id into sample_id   [changes the labels; "
        "retrain]",
    )


@check(L04, "the labels that the loader gives name classes, as many as the table has", "batch")
def indices_for_labels(x: Examination) -> Iterator[Finding]:
    drawn = [x.labels_in(batch) for batch in x.batches]
    given = np.concatenate(drawn)
    classes = len(np.unique(x.train_labels))
    if (
        given.ndim != 1
        or len(given) < x.limits.judged_labels
        or len(np.unique(given)) <= max(classes, x.limits.unique_labels * len(given))
        or views_of(x) > 1
    ):
        return
    yield L04.broken(
        "error",
        f"the loader gives {len(np.unique(given))} different labels for {len(given)} samples "
        f"of {classes} classes",
        where=f"labels of the first {len(drawn)} batches",
        evidence=(
            f"labels {given.min()} to {given.max()}; the table's train labels have {classes} "
            "values",
            "no anchor has a positive: the loss is undefined, 0 or NaN by implementation",
        ),
        ruled_out=("the label column (it has classes)", "sampler", "batch size"),
        help="return the label from the dataset's __getitem__, not the index   [changes the labels "
        "of batches; retrain]",
    )


@check(L06, "a class has the same index in every split")
def class_maps(x: Examination) -> Iterator[Finding]:
    names, maps = _names_and_codes(x)
    for source, codes in maps.items():
        by_split: dict[str, dict[str, str]] = {}
        for split, rows in x.splits.items():
            pairs = pd.DataFrame({"name": names[rows], "code": codes[rows]}).drop_duplicates()
            if pairs["name"].duplicated().any() or pairs["code"].duplicated().any():
                break  # not a map at all, which is another contract
            by_split[split] = dict(zip(pairs["name"], pairs["code"], strict=True))
        else:
            yield from _compare_maps(x, source, by_split)


def _compare_maps(
    x: Examination, source: str, by_split: dict[str, dict[str, str]]
) -> Iterator[Finding]:
    if not by_split:
        return
    first = "train" if "train" in by_split else next(iter(by_split))
    own = by_split[first]
    inverse = {code: name for name, code in own.items()}
    for split, other in by_split.items():
        moved = [
            name
            for name, code in other.items()
            if own.get(name, code) != code or inverse.get(code, name) != name
        ]
        if split == first or not moved:
            continue
        samples = int(
            np.isin(np.asarray(x.frame["label"]).astype(str)[x.splits[split]], moved).sum()
        )
        name = next((item for item in moved if item in own), moved[0])
        yield L06.broken(
            "error",
            f"{len(moved)} of {len(other)} classes have another index in {split} than in {first}",
            where=f"{source}, splits {first} and {split}",
            evidence=(
                f"{name!r} is {own.get(name, 'absent')} in {first} and {other[name]} in {split}; "
                f"{other[name]} is {inverse.get(other[name], 'no class')!r} in {first}",
                f"classes: {len(own)} in {first}, {len(other)} in {split}; {samples} "
                f"samples of {split} are judged by a wrong index",
                "the confusion matrix is then a shifted permutation, not noise",
            ),
            ruled_out=(
                "overfitting (the error is systematic)",
                "split (the class names are the same)",
            ),
            help="make one class list from the whole table and use it for every split: "
            "SampleTable.class_names   [changes class indices; "
            "evaluate again, retrain if train was wrong]",
        )


@check(L10, "equal samples have equal labels")
def contradictions(x: Examination) -> Iterator[Finding]:
    codes, labels = whole_rows(x.contents), np.asarray(x.labels).astype(str)
    frame = pd.DataFrame({"code": codes, "label": labels})[codes >= 0]
    several = frame.groupby("code")["label"].nunique()
    bad = several.index[several > 1]
    if not len(bad):
        return
    rows = frame.index[frame["code"].isin(bad)].to_numpy()
    first = frame.index[frame["code"] == bad[0]].to_numpy()
    examples = zip(sample_ids(x, first[:3]), first[:3], strict=True)
    yield L10.broken(
        "error",
        f"{len(bad)} samples appear in the table under two or more labels",
        where=" and ".join(f"{name} ({labels[row]})" for name, row in examples),
        evidence=(
            f"{len(rows)} rows with {len(bad)} distinct contents; a content has one class, so "
            f"{len(rows) - len(bad)} of these labels at least are not to be relied on",
        ),
        help="decide which label is right and delete the other rows   [changes the labels; "
        "retrain]",
    )


@check(L11, "no class is spelled in two ways")
def label_twins(x: Examination) -> Iterator[Finding]:
    found: dict[str, list[str]] = {}
    for label in x.classes:
        found.setdefault(_spelling(str(label)), []).append(str(label))
    twins = [names for names in found.values() if len(names) > 1]
    if not twins:
        return
    labels = np.asarray(x.labels).astype(str)
    counted = [
        " / ".join(f"{name!r} ({int((labels == name).sum())})" for name in names) for names in twins
    ]
    yield L11.broken(
        "warning",
        f"{len(twins)} class(es) are spelled in more than one way: {some(counted)}",
        where="label column",
        evidence=(
            f"{len(x.classes)} labels, {len(found)} when case, blanks, - and _ are left out",
            "p = 0 that a text differs from itself: samples of one class are taken as "
            "negatives of each other",
        ),
        help='write every class in one way, for example frame["label"].str.strip().str.lower()   '
        "[changes the labels; retrain]",
    )


def _spelling(label: str) -> str:
    text = re.sub(r"[\s_\-]+", " ", label.strip().casefold())
    return (
        str(int(text))
        if text.isdecimal()
        else str(int(float(text)))
        if re.fullmatch(r"\d+\.0+", text)
        else text
    )


@check(L12, "the labels that are trained on are those of the table")
def labels_follow_table(x: Examination) -> Iterator[Finding]:
    names, maps = _names_and_codes(x)
    for source, codes in maps.items():
        pairs = pd.DataFrame({"name": names, "code": codes})
        table = pairs.value_counts().unstack(fill_value=0).to_numpy()
        astray = len(pairs) - int(table.max(axis=1).sum())
        by_split = [
            pairs.iloc[rows].drop_duplicates()["name"].duplicated().any()
            for rows in _splits_or_all(x)
        ]
        if astray and any(by_split):
            odd = np.flatnonzero(
                pairs.groupby("name")["code"].transform(lambda own: own.mode().iloc[0]).to_numpy()
                != codes
            )
            yield L12.broken(
                "error",
                f"{astray} of {len(pairs)} labels differ from the table's",
                where=f"{source} against column label: {some(sample_ids(x, odd[:5]))}",
                evidence=(
                    f"a class has up to {int((table > 0).sum(axis=1).max())} different indices; "
                    "one was expected",
                ),
                help="take the labels from the table after it was sorted or filtered for the last "
                "time   [changes the labels; retrain]",
            )


@check(L13, "every sample has a label")
def labels_there(x: Examination) -> Iterator[Finding]:
    labels = np.asarray(x.labels)
    missing = pd.isna(labels) | (labels.astype(str) == "")
    if not len(labels):
        yield L13.broken(
            "error",
            "there are no labels",
            where="labels",
            evidence=("0 samples",),
            help="check the path of the data and the filter in front of them   [changes the data]",
        )
    elif missing.any():
        rows = np.flatnonzero(missing)
        yield L13.broken(
            "error",
            f"{len(rows)} of {len(labels)} samples have no label",
            where=f"label column: {some(sample_ids(x, rows[:5]))}",
            evidence=("empty or NaN; the loss would take them as one class",),
            help="label them, leave them out, or mark them -1, which SupConLoss takes as "
            "unlabelled   "
            "[changes the labels; retrain]",
        )


@check_by_views(L13, "there are two classes or more")
def several_classes(x: Examination, views: Views) -> Iterator[Finding]:
    labels = np.asarray(x.labels)
    if not len(labels) or pd.isna(labels).any() or str(labels[0]) in ("", conventions.NO_CLASS):
        return
    if len(np.unique(labels)) == 1 and views(x) == 1:
        yield L13.broken(
            "error",
            f"the whole table has one class, {str(labels[0])!r}: there is nothing to contrast",
            where="label column",
            evidence=(
                f"labels: {{{labels[0]}: {len(labels)}}}",
                "the floor of every batch of N is its plateau ln(N - 1)",
            ),
            ruled_out=("split", "sampler", "batch size", "learning rate", "temperature"),
            help="check the column that labels are read from, and the filter in front of it   "
            "[changes the data]",
        )


def _names_and_codes(x: Examination) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The table's label of every row as text, and every other place that gives the rows a class
    index, as text.
    """
    if x.subject.table is None or "label" not in x.frame:
        raise Unavailable("no table with a label column")
    names = x.frame["label"].astype(str).to_numpy()
    modalities = getattr(x.subject.table, "modalities", ())  # one may be called y
    maps = {
        f"column {column}": x.frame[column].astype(str).to_numpy()
        for column in conventions.CODE_COLUMNS
        if column in x.frame and column not in modalities
    }
    if x.subject.labels is not None and len(x.labels) == len(names):
        maps["the labels given"] = np.asarray(x.labels).astype(str)
    if not maps:
        raise Unavailable(
            "the table gives its classes by name alone; give the indices that are trained on as "
            "labels="
        )
    return names, maps


def _splits_or_all(x: Examination) -> list[np.ndarray]:
    try:
        return list(x.splits.values())
    except Unavailable:
        return [np.arange(len(x.labels))]
