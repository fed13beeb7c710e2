"""Contracts between the splits: what is tested was not trained on, not as a copy, not as a session,
not as a window.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.split.contracts import S03, S04, S05
from quadlib.diagnosis.evidence.contents import sample_ids, whole_rows
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.words import some


@check(S03, "no content is in two splits")
def copies_across_splits(x: Examination) -> Iterator[Finding]:
    yield from _copies(x, whole_rows(x.contents))


@check(S03, "no content that the dataset returns is in two splits", "batch")
def copies_on_reading(x: Examination) -> Iterator[Finding]:
    yield from _copies(x, whole_rows(x.dataset_rows.contents))


def _copies(x: Examination, codes: np.ndarray) -> Iterator[Finding]:
    for first, second, rows in _copied(x, codes):
        total = len(x.splits[second])
        twin = {int(codes[row]): int(row) for row in x.splits[first]}
        originals = sample_ids(x, [twin[int(codes[row])] for row in rows[:3]])
        alike = tuple(zip(sample_ids(x, rows[:3]), originals, strict=True))
        pairs = [f"{own} = {other}" for own, other in alike]
        many = len(rows) > x.limits.few_copies * total
        yield S03.broken(
            "error" if many else "note",
            f"{len(rows)} of {total} samples of {second} are copies of samples of {first}",
            where=f"splits {first} and {second}: {'; '.join(pairs)}",
            evidence=(
                f"equal content in every modality under two ids; {len(rows) / total:.1%} of "
                f"{second} are answered by memory, 0 is expected",
                "a nearest neighbour finds these at distance 0, so the score is too high by up to "
                "that share",
            ),
            ruled_out=(
                "easy data (the contents are equal, not alike)",
                "a failed decode (the contents vary)",
            ),
            help="delete the copies from train, then evaluate again   [changes the split; retrain]",
            alike=alike,
        )


@check(S03, "no sample is in two splits under one name")
def names_across_splits(x: Examination) -> Iterator[Finding]:
    column, names = _column(x, conventions.NAME_COLUMNS)
    if len(set(names)) < 0.5 * len(names):
        raise Unavailable(f"column {column} names groups of samples, not each by itself")
    for first, second, _, two, shared, touched in _in_both(x, names):
        yield S03.broken(
            "error",
            f"{touched} of {len(two)} samples of {second} are also in {first}, under the same name",
            where=f"splits {first} and {second}, column {column}: {some(shared)}",
            evidence=(
                f"{len(shared)} names are in both splits, in different rows; 0 is expected",
                f"{len(names) - len(set(names))} of the table's {len(names)} rows repeat a "
                "name: they were repeated before they were divided",
            ),
            ruled_out=("a session in two splits (it is the samples themselves)",),
            scope=second,
            help="divide first, repeat samples in train afterwards; or let the sampler draw "
            "them more often   "
            "[changes the split; retrain]",
        )


def _copied(x: Examination, codes: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """(split, later split, rows of the later one whose content the first one has under another
    row).
    """
    for first, second in combinations(x.splits, 2):
        rows = np.setdiff1d(x.splits[second], x.splits[first])
        held = codes[np.setdiff1d(x.splits[first], x.splits[second])]
        copied = rows[(codes[rows] >= 0) & np.isin(codes[rows], held)]
        if len(copied):
            yield first, second, copied


@check(S04, "no session is in two splits")
def groups_across_splits(x: Examination) -> Iterator[Finding]:
    column, groups = _column(x, conventions.SESSION_COLUMNS)
    if len(set(groups)) < 2:
        raise Unavailable("every sample has the same group")
    # A row in two splits, a copy and an overlapping window are contracts of their own: what they
    # explain is left out here.
    explained = _overlapping_rows(x)
    try:
        codes = whole_rows(x.contents)
        explained |= {
            int(row)
            for first, second, rows in _copied(x, codes)
            for row in (*rows, *x.splits[first][np.isin(codes[x.splits[first]], codes[rows])])
        }
    except Unavailable:  # without contents there are no copies to leave out
        pass
    for first, second, one, two, shared, touched in _in_both(x, groups, explained):
        yield S04.broken(
            "error",
            f"{len(shared)} groups are in {first} and in {second}",
            where=f"splits {first} and {second}, column {column}: {some(shared)}",
            evidence=(
                f"{touched} of {len(two)} samples of {second} have samples of their own "
                f"group in {first}; 0 is expected",
                f"groups: {len(set(groups[one]))} in {first}, {len(set(groups[two]))} in "
                f"{second}, {len(shared)} in both",
            ),
            ruled_out=("copies (their contents differ)",),
            help='divide whole groups: assign_splits(table, group="group")   [changes the split; '
            "retrain; scores will fall to their true "
            "value]",
        )


def _in_both(
    x: Examination, values: np.ndarray, left_out: Collection[int] = ()
) -> Iterator[tuple[str, str, Any, Any, Any, int]]:
    """(split, later split, rows of each that are in it alone, values that both have, rows of the
    later one that have them) for splits that share a value.
    """
    judged = np.ones(len(values), dtype=bool)
    judged[list(left_out)] = False
    within = {name: np.zeros(len(values), dtype=bool) for name in x.splits}
    for name, rows in x.splits.items():
        within[name][rows] = True
    # as numbers by pandas' hash: numpy sorts text, and compares each object with every other
    codes, distinct = pd.factorize(values)
    for first, second in combinations(x.splits, 2):
        one = np.flatnonzero(within[first] & ~within[second] & judged)
        two = np.flatnonzero(within[second] & ~within[first] & judged)
        shared = np.intersect1d(codes[one], codes[two])
        if len(shared):
            touched = int(np.isin(codes[two], shared).sum())
            yield first, second, one, two, np.sort(distinct[shared]), touched


def _column(x: Examination, names: tuple[str, ...]) -> tuple[str, np.ndarray]:
    for name in names:
        if name in x.frame and not x.frame[name].isna().any():
            return name, x.frame[name].astype(str).to_numpy()
    raise Unavailable(f"no column names the session (one of {', '.join(names)})")


@check(S05, "no stretch of a recording is in two splits")
def windows_across_splits(x: Examination) -> Iterator[Finding]:
    if _windows(x) is None:
        raise Unavailable("no columns give windows as start and end within a recording")
    pairs = _overlaps(x)
    by_splits: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for first, second, one, two in pairs:
        by_splits.setdefault((first, second), []).append((one, two))
    for (first, second), found in by_splits.items():
        touched = len({two for _, two in found})
        one, two = found[0]
        yield S05.broken(
            "error",
            f"{touched} of {len(x.splits[second])} windows of {second} overlap windows of {first}",
            where=f"splits {first} and {second}: {' and '.join(sample_ids(x, [one, two]))} of one "
            "recording",
            evidence=(
                f"[{_span(x, one)}) and [{_span(x, two)}) share samples; {len(found)} such pairs, "
                "0 are expected",
            ),
            ruled_out=("neighbouring windows that only touch (intervals are half open)",),
            help="divide whole recordings, then cut windows: assign_splits(table, "
            'group="recording")   [changes the split; retrain]',
        )


def _windows(x: Examination) -> tuple[np.ndarray, pd.Series, pd.Series] | None:
    """Recording, start and end of every row, where the table has them."""
    for start, end in conventions.WINDOW_COLUMNS:
        if start in x.frame and end in x.frame:
            for name in conventions.RECORDING_COLUMNS:
                if name in x.frame:
                    low, high = (
                        pd.to_numeric(x.frame[column], errors="coerce") for column in (start, end)
                    )
                    return x.frame[name].astype(str).to_numpy(), low, high
    return None


def _span(x: Examination, row: int) -> str:
    windows = _windows(x)
    return "" if windows is None else f"{windows[1].iloc[row]:g}, {windows[2].iloc[row]:g}"


def _overlaps(x: Examination) -> list[tuple[str, str, int, int]]:
    """(split, other split, row, row) of every two neighbouring windows of one recording that share
    samples across splits.

    Windows of a recording are swept in the order of their starts against the one of every other
    split that reaches furthest.
    """
    windows = _windows(x)
    if windows is None:
        return []
    recording, low, high = windows
    frame = pd.DataFrame(
        [(name, int(row)) for name, rows in x.splits.items() for row in rows],
        columns=["split", "row"],
    )
    order = list(x.splits)
    frame["recording"], frame["low"], frame["high"] = (
        recording[frame["row"]],
        low.to_numpy()[frame["row"]],
        high.to_numpy()[frame["row"]],
    )
    found = []
    for _, part in (
        frame.dropna().sort_values(["recording", "low"]).groupby("recording", sort=False)
    ):
        furthest: dict[str, tuple[float, int]] = {}
        for split, row, start, end in zip(
            part["split"], part["row"], part["low"], part["high"], strict=True
        ):
            for other, (reach, there) in furthest.items():
                if other != split and start < reach and there != row:
                    ordered = order.index(other) < order.index(split)
                    found.append(
                        (other, split, there, row) if ordered else (split, other, row, there)
                    )
            if end > furthest.get(split, (-np.inf, 0))[0]:
                furthest[split] = (float(end), int(row))
    return found


def _overlapping_rows(x: Examination) -> set[int]:
    """Rows of the recordings that have windows overlapping across splits."""
    windows = _windows(x)
    found = _overlaps(x)
    if windows is None or not found:
        return set()
    touched = {windows[0][row] for _, _, *rows in found for row in rows}
    return {int(row) for row in np.flatnonzero(np.isin(windows[0], list(touched)))}
