"""Contracts of the contents: every file exists, every sample holds its own and stands once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.diagnosis.checks.data.contracts import D01, D03, D11
from quadlib.diagnosis.evidence.contents import Contents, sample_ids, whole_rows
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.evidence.features import (
    stored_arrays,
    table_arrays,
)
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.words import name_of, some


@check(D01, "no sample holds a constant or another sample's content in one modality")
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
    D01,
    "no sample that the dataset returns holds a constant or another sample's content "
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
    return D01.broken(
        "error",
        f"{len(rows)} of {there} samples hold one constant value in {name}",
        where=f"modality {name}: {some(sample_ids(x, rows))}",
        evidence=(
            f"variance 0 within each of them; the other {there - len(rows)} samples of {name} vary",
            f"identical content under {len(rows)} different ids; samples that were measured "
            "give 0 such rows",
        ),
        ruled_out=(
            "dead modality (the other samples vary)",
            "missing modality (it is marked as present)",
        ),
        explains=("a loader that returns zeros where decoding fails",),
        scope=name,
        help=f"decode these files by hand and let the loader raise, or mark {name} as absent there "
        "  [changes the data; retrain]",
    )


def _shared_contents(x: Examination, contents: dict[str, Contents]) -> Iterator[Finding]:
    # what was not read in time may be a copy too, and then the whole samples are
    if len(contents) < 2 or any(item.unread for item in contents.values()):
        return
    telling = {name: item for name, item in contents.items() if item.telling}
    if len(telling) > 1 and all(_from_a_pool(x, item) for item in telling.values()):
        return
    together = whole_rows(contents)
    for name, item in contents.items():
        if item.telling:
            yield from _shared_content(x, name, item, together)


def _from_a_pool(x: Examination, item: Contents) -> bool:
    """Whether many contents are each held by a few samples: in every part of them, that is how
    pairs and triplets are drawn from a pool of single recordings.
    """
    repeated = item.codes[item.repeated]
    share = len(repeated) / max(int((~item.absent).sum()), 1)
    return share >= x.limits.pooled_rows and len(np.unique(repeated)) >= x.limits.pooled_contents


def _shared_content(
    x: Examination, name: str, item: Contents, together: np.ndarray
) -> Iterator[Finding]:
    """Rows whose content in this modality another row holds too, while the samples as a whole
    differ.
    """
    codes = np.where(item.repeated, item.codes, -1)
    groups: dict[int, list[int]] = {}
    for row in np.flatnonzero(codes >= 0):
        groups.setdefault(int(codes[row]), []).append(int(row))
    # one row a sample: a copy of a whole sample shares everything with it, which is a
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
    yield D01.broken(
        "error" if same else "note",
        f"{len(rows)} samples share their {name} with another sample, while their other "
        "modalities differ",
        where=f"modality {name}: "
        f"{'; '.join(' = '.join(sample_ids(x, group[:3])) for group in shared[:3])}",
        evidence=(
            f"{len(shared)} contents of {name} appear under {len(rows)} ids; independent "
            "samples give 0",
        ),
        ruled_out=("duplicated samples (their other modalities are not equal)",),
        predicts=None if same else (),
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


@check(D03, "every sample is in train once")
def duplicates_in_train(x: Examination) -> Iterator[Finding]:
    yield from _duplicates(x, x.contents, _how(x))


@check(D03, "every sample that the dataset returns is in train once", "batch")
def duplicates_on_reading(x: Examination) -> Iterator[Finding]:
    yield from _duplicates(
        x, x.dataset_rows.contents, "compared: every value that the dataset returns"
    )


def _duplicates(x: Examination, contents: dict[str, Contents], how: str) -> Iterator[Finding]:
    codes = whole_rows(contents)
    own = codes[x.train_rows]
    found, counts = np.unique(own[own >= 0], return_counts=True)
    extra = int((counts - 1).sum())
    if not extra:
        return
    few = extra <= max(x.limits.few_duplicates * len(own), x.limits.stray_copies)
    copied = found[counts > 1][:3]
    alike = tuple(tuple(sample_ids(x, x.train_rows[own == code][:3])) for code in copied)
    yield D03.broken(
        "note" if few else "warning",
        f"{extra} of {len(own)} training samples are copies of another one",
        where=f"split train: {'; '.join(' = '.join(names) for names in alike)}",
        evidence=(
            f"contents that appear more than once: {int((counts > 1).sum())}, the most frequent "
            f"{int(counts.max())} times; distinct contents: {len(own) - extra} of {len(own)}",
            how,
        ),
        ruled_out=("a failed decode (the contents vary)",),
        help='keep one of each; to draw a class more often use the sampler (balance="equal")   '
        "[changes the data; retrain]",
        alike=alike,
    )


@check(D11, "every file that the table names exists and is not empty")
def files_there(x: Examination) -> Iterator[Finding]:
    for name, item in x.contents.items():
        for what, rows in (("do not exist", item.missing), ("are empty (0 bytes)", item.empty)):
            if rows:
                yield D11.broken(
                    "error",
                    f"{len(rows)} files of {name} {what}",
                    where=f"modality {name}: {some(name_of(path) for path in rows.values())}",
                    evidence=(
                        f"samples: {some(sample_ids(x, rows))}",
                        f"{int((~item.absent).sum())} samples are said to have {name}",
                    ),
                    scope=name,
                    help="bring the files back, or leave their place in the table empty so that "
                    "the modality counts as absent   "
                    "[changes the data; retrain]",
                )


@check(D03, "whole files were compared")
def whole_files(x: Examination) -> Iterator[Finding]:
    unread = sum(item.unread for item in x.contents.values())
    if unread:
        raise Unavailable(
            f"of {unread} samples the files were not compared, since the time for it was over; "
            "deep=True (--deep) takes as long as it needs"
        )
    yield from ()


def _how(x: Examination) -> str:
    if all(name in table_arrays(x, partly=True) for name in x.contents):
        return "compared: every value of every modality"
    return "compared: whole files, where size, first and last 4 KiB are equal"
