"""Contracts of the data: every file there, every number finite, every recording itself and no
other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from quadlib.diagnosis import conventions
from quadlib.diagnosis.evidence.contents import Contents, sample_ids, whole_rows
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.evidence.features import (
    inputs_by_name,
    presence,
    stored_arrays,
    table_arrays,
)
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.words import name_of, some


@check("D01", "no recording holds a constant or another recording's content in one modality")
def replaced_content(x: Examination) -> Iterator[Finding]:
    stored = stored_arrays(x)
    try:
        contents = x.contents
    except Unavailable:
        if not stored:
            raise
        contents = {}
    constants = {name: item.constant for name, item in contents.items()}
    for name, (array, place) in stored.items():
        if name not in constants or not constants[name].any():
            constants[name] = _constant_rows(array, place)
    for name, constant in constants.items():
        there = stored[name][1] >= 0 if name in stored else ~contents[name].absent
        if 2 <= constant.sum() <= x.limits.dead_modality * there.sum():
            yield _constant_finding(x, name, np.flatnonzero(constant), int(there.sum()))
    yield from _shared_contents(x, contents)


@check(
    "D01",
    "no recording, as the dataset hands it out, holds a constant or another recording's content "
    "in one modality",
    "batch",
)
def replaced_on_reading(x: Examination) -> Iterator[Finding]:
    for name, array in x.dataset_rows.arrays.items():
        place = x.dataset_rows.place[name]
        constant = _constant_rows(array, place)
        there = int((place >= 0).sum())
        if 2 <= constant.sum() <= x.limits.dead_modality * there and (
            _blank_share(array[place[(place >= 0) & ~constant]], array[place[constant]])
            <= x.limits.blank_values
        ):
            yield _constant_finding(x, name, np.flatnonzero(constant), there)
    if x.dataset_rows.steady:
        yield from _shared_contents(x, x.dataset_rows.contents)


def _blank_share(others: np.ndarray, constant: np.ndarray) -> float:
    """Share of the constant's value in a usual other sample: large in line drawings, where a blank
    one is no surprise.
    """
    value = np.median(constant)
    return float(np.median((others.reshape(len(others), -1) == value).mean(axis=1)))


def _constant_finding(x: Examination, name: str, rows: np.ndarray, there: int) -> Finding:
    return Finding(
        "QL-D01",
        "error",
        f"{len(rows)} of {there} recordings hold one constant value in {name}",
        where=f"modality {name}: {some(sample_ids(x, rows))}",
        evidence=(
            f"variance 0 within each of them; the other {there - len(rows)} recordings of {name} "
            "vary",
            f"identical content under {len(rows)} different ids; recordings that were measured "
            "give 0 such rows",
        ),
        ruled_out=(
            "dead modality (the other recordings vary)",
            "missing modality (it is marked as present)",
        ),
        explains=("a loader that returns zeros where decoding fails",),
        consequences=("QL-D03", "QL-D16", "QL-S03", "QL-L02", "QL-L10", "QL-M*", "QL-N07"),
        scope=name,
        help=f"decode these files by hand and let the loader raise, or mark {name} as absent there "
        "  [changes the data; retrain]",
    )


def _shared_contents(x: Examination, contents: dict[str, Contents]) -> Iterator[Finding]:
    # what was not read in time may be a copy too, and then the whole recordings are
    if len(contents) < 2 or any(item.unread for item in contents.values()):
        return
    together = whole_rows(contents)
    for name, item in contents.items():
        if item.telling:
            yield from _shared_content(x, name, item, together)


def _shared_content(
    x: Examination, name: str, item: Contents, together: np.ndarray
) -> Iterator[Finding]:
    """Rows whose content in this modality another row holds too, while the recordings as a whole
    differ.
    """
    codes = np.where(item.repeated, item.codes, -1)
    groups: dict[int, list[int]] = {}
    for row in np.flatnonzero(codes >= 0):
        groups.setdefault(int(codes[row]), []).append(int(row))
    # one row a recording: a copy of a whole recording shares everything with it, which is a
    # contract of its own
    distinct = [
        list(
            {
                int(together[row]) if together[row] >= 0 else -2 - row: row
                for row in reversed(rows)
            }.values()
        )[::-1]
        for rows in groups.values()
    ]
    shared = [rows for rows in distinct if len(rows) > 1]
    if not shared:
        return
    rows = [row for group in shared for row in group]
    # a pair may coincide where a feature is invariant to what tells the two apart; a third does not
    same = max(map(len, shared)) > 2 or len(rows) > x.limits.shared_contents * (~item.absent).sum()
    yield Finding(
        "QL-D01",
        "error" if same else "note",
        f"{len(rows)} recordings share their {name} with another recording, while their other "
        "modalities differ",
        where=f"modality {name}: "
        f"{'; '.join(' = '.join(sample_ids(x, group[:3])) for group in shared[:3])}",
        evidence=(
            f"{len(shared)} contents of {name} stand under {len(rows)} ids; independent "
            "recordings give 0",
        ),
        ruled_out=("duplicated recordings (their other modalities are not equal)",),
        consequences=("QL-D03", "QL-L02", "QL-M*") if same else (),
        scope=name,
        help=f"find which id each of these {name} contents belongs to; mark {name} as absent for "
        "the others   [changes the data; retrain]",
    )


def _constant_rows(array: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Rows of one single value; two short pieces are read of every row, and all of it only where
    they are constant.
    """
    flat = np.asarray(array).reshape(len(array), -1)
    result = np.zeros(len(place), dtype=bool)
    if flat.shape[1] < 2:
        return result
    first, middle = flat[:, :256], flat[:, flat.shape[1] // 2 :][:, :256]
    likely = (first == first[:, :1]).all(axis=1) & (middle == first[:, :1]).all(axis=1)
    for row in np.flatnonzero(place >= 0):
        own = place[row]
        result[row] = likely[own] and bool((flat[own] == flat[own, 0]).all())
    return result


@check("D02", "every class is a real one")
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
        yield Finding(
            "QL-D02",
            "error",
            f"{some(repr(name) for name in junk)} is taken for a class: {total} classes where "
            f"{total - len(junk)} are real",
            where=source or "labels",
            evidence=(
                f"recordings under it: {rows}",
                f"classes: {total}; without the junk: {total - len(junk)}; every class that sorts "
                "after it is one too high",
            ),
            ruled_out=("different class maps per split (the name itself is no class)",),
            consequences=("QL-D17", "QL-L06", "QL-L11", "QL-L13", "QL-S02", "QL-S11", "QL-C*"),
            help=f"delete the folder or row {junk[0]!r} and list classes from the labels, names "
            "that start with a dot left out   "
            "[changes class indices; retrain]",
        )
    empty = [name for name in names if name not in held and name not in junk]
    if empty and held <= set(names):
        yield Finding(
            "QL-D17",
            "warning",
            f"{len(empty)} of {len(names)} declared classes have no recording: {some(empty)}",
            where=source,
            evidence=(f"declared: {len(names)} classes; with recordings: {len(held)}",),
            consequences=("QL-S02", "QL-L06"),
            help="list only classes that have recordings, or bring their recordings   [changes "
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


@check("D03", "every recording stands once in train")
def duplicates_in_train(x: Examination) -> Iterator[Finding]:
    yield from _duplicates(x, x.contents, _how(x))


@check("D03", "every recording, as the dataset hands it out, stands once in train", "batch")
def duplicates_on_reading(x: Examination) -> Iterator[Finding]:
    yield from _duplicates(
        x, x.dataset_rows.contents, "compared: every value that the dataset hands out"
    )


def _duplicates(x: Examination, contents: dict[str, Contents], how: str) -> Iterator[Finding]:
    codes = whole_rows(contents)
    own = codes[x.train_rows]
    found, counts = np.unique(own[own >= 0], return_counts=True)
    extra = int((counts - 1).sum())
    if not extra:
        return
    few = extra <= max(x.limits.few_duplicates * len(own), x.limits.stray_copies)
    groups = [x.train_rows[own == code][:3] for code in found[counts > 1][:3]]
    yield Finding(
        "QL-D03",
        "note" if few else "warning",
        f"{extra} of {len(own)} training recordings are copies of another one",
        where=f"split train: {'; '.join(' = '.join(sample_ids(x, group)) for group in groups)}",
        evidence=(
            f"contents that stand more than once: {int((counts > 1).sum())}, the most frequent "
            f"{int(counts.max())} times; distinct contents: {len(own) - extra} of {len(own)}",
            how,
        ),
        ruled_out=("a failed decode (the contents vary)",),
        consequences=()
        if few
        else ("QL-B14", "QL-L02", "QL-M01"),  # a copied row names the recording it was copied from
        help='keep one of each; to draw a class more often use the sampler (balance="equal")   '
        "[changes the data; retrain]",
    )


@check("D06", "every stored number is finite")
def finite_arrays(x: Examination) -> Iterator[Finding]:
    arrays = {**stored_arrays(x), **table_arrays(x, partly=True)}
    if not arrays:
        raise Unavailable("there are no arrays; files are judged when they are decoded")
    yield from _not_finite(x, arrays)


@check("D06", "every number that the dataset hands out is finite", "batch")
def finite_on_reading(x: Examination) -> Iterator[Finding]:
    yield from _not_finite(
        x,
        {
            name: (array, x.dataset_rows.place[name])
            for name, array in x.dataset_rows.arrays.items()
        },
    )


def _not_finite(
    x: Examination, arrays: dict[str, tuple[np.ndarray, np.ndarray]]
) -> Iterator[Finding]:
    for name, (array, place) in arrays.items():
        if not np.issubdtype(array.dtype, np.floating) or np.isfinite(
            np.sum(array, dtype=np.float64)
        ):
            continue
        values = array.reshape(len(array), -1)
        finite = np.isfinite(values)
        bad = np.flatnonzero((place >= 0) & ~finite.all(axis=1)[np.maximum(place, 0)])
        if len(bad):
            first = sample_ids(x, bad[:1])[0]
            column = int(np.flatnonzero(~finite[place[bad[0]]])[0])
            yield Finding(
                "QL-D06",
                "error",
                f"{len(bad)} recordings hold NaN or infinity in {name}, first {first}",
                where=f"modality {name}: {some(sample_ids(x, bad))}",
                evidence=(
                    f"first value that is not finite: {values[place[bad[0]], column]} at position "
                    f"{column} of {first}",
                    f"{int((~finite[place[bad]]).sum())} values in all; one of them makes every "
                    "loss of its batch NaN",
                ),
                ruled_out=(
                    "learning rate",
                    "temperature",
                    "mixed precision: the raw data come before all of them",
                ),
                consequences=("QL-D16", "QL-L*", "QL-M*", "QL-N*", "QL-P*", "QL-O*", "QL-E*"),
                help=f"mend the array, or mark {name} as absent in these rows (-1 in its column, "
                'on_damage="drop_modality")   '
                "[changes the data; retrain]",
            )


@check("D11", "every file that the table names is there and holds something")
def files_there(x: Examination) -> Iterator[Finding]:
    for name, item in x.contents.items():
        for what, rows in (("do not exist", item.missing), ("are empty (0 bytes)", item.empty)):
            if rows:
                yield Finding(
                    "QL-D11",
                    "error",
                    f"{len(rows)} files of {name} {what}",
                    where=f"modality {name}: {some(name_of(path) for path in rows.values())}",
                    evidence=(
                        f"recordings: {some(sample_ids(x, rows))}",
                        f"{int((~item.absent).sum())} recordings are said to have {name}",
                    ),
                    consequences=("QL-D01", "QL-D16", "QL-M*"),
                    scope=name,
                    help="bring the files back, or leave their place in the table empty so that "
                    "the modality counts as absent   "
                    "[changes the data; retrain]",
                )


@check("D13", "whole files were compared")
def whole_files(x: Examination) -> Iterator[Finding]:
    unread = sum(item.unread for item in x.contents.values())
    if not x.deep and any(name not in table_arrays(x, partly=True) for name in x.contents):
        left = f", {unread} recordings not at all" if unread else ""
        raise Unavailable(
            f"files were compared by size, head and tail{left}; deep=True (--deep) reads them whole"
        )
    yield from ()


@check("D16", "the inputs of the first batch are finite", "batch")
def finite_inputs(x: Examination) -> Iterator[Finding]:
    for number, batch in enumerate(x.batches):
        own = inputs_by_name(x.subject.inputs_of(batch))
        there = presence(batch, own)
        for name, values in own.items():
            bad = np.flatnonzero(
                there[name] & ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
            )
            if len(bad):
                yield Finding(
                    "QL-D16",
                    "error",
                    f"{len(bad)} of {len(values)} samples of {name} reach the model with NaN or "
                    "infinity",
                    where=f"batch {number}, input {name}, samples {some(bad)}",
                    evidence=(
                        "the stored numbers are finite where they could be read, so a transform or "
                        "the normaliser makes them: a division by a deviation of 0, or a logarithm "
                        "of 0"
                        if stored_arrays(x) or table_arrays(x, partly=True)
                        else "how they are stored could not be read: either a file holds them, or "
                        "a transform makes them",
                    ),
                    consequences=("QL-M*", "QL-N*", "QL-P*", "QL-O*", "QL-E*"),
                    help=f"look at the normaliser's statistics of {name}; keep its deviation above "
                    "0   [changes the inputs; retrain]",
                )
                return


def _how(x: Examination) -> str:
    if all(name in table_arrays(x, partly=True) for name in x.contents):
        return "compared: every value of every modality"
    return (
        "compared: whole files"
        if x.deep
        else "compared: size, first and last 4 KiB of every file (deep=True compares whole files)"
    )
