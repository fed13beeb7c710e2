"""Contracts of units: one scale and one sample rate for all samples, the declared ones."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.data.contracts import D04
from quadlib.diagnosis.evidence.contents import file_paths, sample_ids
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.evidence.features import stored_arrays, table_arrays
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.words import some


@check(D04, "one unit and one sample rate for all samples")
def units(x: Examination) -> Iterator[Finding]:
    arrays = _series(
        {**stored_arrays(x), **table_arrays(x, partly=True)},
        getattr(x.subject.table, "modalities", {}),
    )
    yield from _scales(x, arrays)
    judged = bool(arrays)
    declared = x.subject.setting(*conventions.SAMPLE_RATE)
    if declared is not None:
        for finding in _rates(x, float(declared)):
            judged = True
            if finding is not None:
                yield finding
    if not judged:
        raise Unavailable(
            "no arrays whose scale could be compared, and no declared sample rate (setting "
            "sample_rate_hz)"
        )


@check(D04, "one unit for all samples that the dataset returns", "batch")
def units_on_reading(x: Examination) -> Iterator[Finding]:
    yield from _scales(
        x,
        _series(
            {
                name: (array, x.dataset_rows.place[name])
                for name, array in x.dataset_rows.arrays.items()
            },
            {},
        ),
    )


def _series(
    arrays: dict[str, tuple[np.ndarray, np.ndarray]], modalities: Any
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The modalities that are vectors or series of measured numbers, whose scale has a unit."""
    found = {}
    for name, (array, place) in arrays.items():
        kind = getattr(
            modalities.get(name) if hasattr(modalities, "get") else None,
            "kind",
            "vector" if array.ndim == 2 else "series",
        )
        if kind in ("vector", "series") and np.issubdtype(array.dtype, np.floating):
            found[name] = (array, place)
    return found


def _scales(x: Examination, arrays: dict[str, tuple[np.ndarray, np.ndarray]]) -> Iterator[Finding]:
    for name, (array, place) in arrays.items():
        several = array.ndim == 3 and array.shape[1] <= x.limits.unit_channels
        channels = [array[:, channel] for channel in range(array.shape[1])] if several else [array]
        yield from itertools.islice(
            (item for values in channels for item in _two_scales(x, name, values, place)), 1
        )


def _two_scales(
    x: Examination, name: str, array: np.ndarray, place: np.ndarray
) -> Iterator[Finding]:
    """Samples or sessions that fall into two scales whose ratio is a known constant, with
    nothing between.
    """
    there = np.flatnonzero(place >= 0)
    flat = array[place[there]].reshape(len(there), -1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):  # zeros and damage have no level
        level = np.log(np.sqrt(np.mean(np.square(flat), axis=1)))
    good = np.isfinite(level)
    if good.sum() < x.limits.unit_samples:
        return
    units_of = _sources(x)[there[good]]
    found, inverse = np.unique(units_of, return_inverse=True)
    levels = level[good]
    if 4 <= len(found) < len(levels):
        levels = np.array([np.median(levels[inverse == code]) for code in range(len(found))])
        per_row = np.arange(len(found))[inverse]
    else:
        per_row = np.arange(len(levels))
    order = np.sort(levels)
    split = int(np.argmax(np.diff(order)))
    threshold = (order[split] + order[split + 1]) / 2
    high = levels > threshold
    if min(high.sum(), (~high).sum()) < 2:
        return
    ratio = float(np.exp(np.median(levels[high]) - np.median(levels[~high])))
    constant = min(conventions.UNIT_RATIOS, key=lambda value: abs(np.log(ratio / value)))
    if abs(np.log(ratio / constant)) > x.limits.unit_ratio or order[split + 1] - order[
        split
    ] < x.limits.unit_gap * np.log(ratio):
        return
    # a unit scales every statistic alike; another level, or a signal beside noise, does not
    for statistic in (
        np.std(flat[good], axis=1),
        np.abs(flat[good]).max(axis=1),
        np.median(np.abs(flat[good]), axis=1),
    ):
        low_median, high_median = (
            np.median(statistic[~high[per_row]]),
            np.median(statistic[high[per_row]]),
        )
        if (
            not low_median > 0
            or abs(np.log(high_median / low_median / constant)) > 2 * x.limits.unit_ratio
        ):
            return
    rows = there[good]
    labels = np.asarray(x.labels)
    shared = np.intersect1d(labels[rows[high[per_row]]], labels[rows[~high[per_row]]])
    if len(shared) < max(
        1, len(np.unique(labels[rows])) / 2
    ):  # two scales of different classes are what the classes look like
        return
    if _labels_lost(x):  # then classes that are in both scales are no evidence
        return
    odd = rows[high[per_row]] if high.sum() <= (~high).sum() else rows[~high[per_row]]
    yield D04.broken(
        "warning",
        f"{name} comes in two scales, {ratio:.3g} to 1: {conventions.UNIT_RATIOS[constant]}?",
        where=f"modality {name}, {len(odd)} of {len(rows)} samples: {some(sample_ids(x, odd[:5]))}",
        evidence=(
            f"root mean square: {np.exp(np.median(levels[~high])):.3g} and "
            f"{np.exp(np.median(levels[high])):.3g}, ratio {ratio:.4g}; "
            f"{conventions.UNIT_RATIOS[constant]} predicts {constant:.4g}",
            f"nothing lies between {np.exp(order[split]):.3g} and {np.exp(order[split + 1]):.3g}; "
            f"{len(shared)} classes have samples of both scales",
        ),
        ruled_out=("a difference between classes (both scales hold the same classes)",),
        scope=name,
        help=f"bring {name} of these samples to one unit   [changes the data; retrain]",
    )


def _labels_lost(x: Examination) -> bool:
    """Whether the labels do not belong to the samples, which is a contract of its own."""
    from quadlib.diagnosis.checks.labels.dependence import label_noise, labels_shuffled

    for look in (labels_shuffled, label_noise):
        try:
            if any(True for _ in look(x)):
                return True
        except Unavailable:  # that check cannot judge, so nothing speaks against the labels
            continue
    return False


def _sources(x: Examination) -> np.ndarray:
    for column in conventions.SOURCE_COLUMNS:
        if x.subject.table is not None and column in x.frame:
            return x.frame[column].astype(str).to_numpy()
    return np.arange(len(x.labels)).astype(str)


def _rates(x: Examination, declared: float) -> Iterator[Finding | None]:
    """Sample rates by a column of the table or by the headers of its WAV and FLAC files, against
    the declared one.
    """
    found: dict[str, tuple[list[int], list[float]]] = {}
    for column in conventions.RATE_COLUMNS:
        if column in x.frame:
            found[f"column {column}"] = (
                list(range(len(x.frame))),
                [float(rate) for rate in x.frame[column]],
            )
    for name, paths in file_paths(x).items():
        rows = [
            row
            for row, files in enumerate(paths)
            if files and files[0].lower().endswith(conventions.RATE_HEADERS)
        ]
        rows = rows[:: max(1, len(rows) // x.limits.sample_rate_headers)]
        if rows:
            found[f"headers of {name}"] = (rows, [header_rate(paths[row][0]) for row in rows])
    for source, (rows, rates) in found.items():
        values = np.array(rates)
        wrong = np.flatnonzero(np.isfinite(values) & (values != declared))
        if not len(wrong):
            yield None
            continue
        kinds = sorted({f"{values[row]:g}" for row in wrong})
        yield D04.broken(
            "error",
            f"{len(wrong)} of {len(rows)} samples are sampled at {some(kinds)} Hz where "
            f"{declared:g} Hz is declared",
            where=f"{source}: {some(sample_ids(x, [rows[row] for row in wrong[:5]]))}",
            evidence=(
                f"read as {declared:g} Hz they last {values[wrong[0]] / declared:.4g} times as "
                "long, and every frequency is off by that",
            ),
            help=f"resample them to {declared:g} Hz, or declare the true rate   [changes the data; "
            "retrain]",
        )


def header_rate(path: str) -> float:
    """Sample rate in Hz by the header of a WAV or FLAC file; NaN where it has none."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            if head[:4] == b"fLaC" and len(head) >= 22:
                return float(int.from_bytes(head[18:21], "big") >> 4)
            if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
                return _wav_rate(file)
    except OSError:
        pass
    return float("nan")


def _wav_rate(file: BinaryIO) -> float:
    file.seek(12)
    while len(chunk := file.read(8)) == 8:
        name, size = chunk[:4], struct.unpack("<I", chunk[4:])[0]
        if name == b"fmt " and len(body := file.read(8)) == 8:
            return float(struct.unpack("<I", body[4:8])[0])
        file.seek(size + size % 2, os.SEEK_CUR)
    return float("nan")
