"""Contracts of a stream's identity: it is no other's copy, of its own kind, and names the sample
in whose row it stands.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.modality.contracts import M01, M10, M11
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.streams import constant, entering_rows, path_columns, stored_rows
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.limits import Limits
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

SILENT = {
    "image": "a photo decodes as a video of one frame, so no reader fails on it",
    "video": "a video decodes as its first picture",
}


@check(M10, "no modality is a copy of another", "batch")
def copies(x: Examination) -> Iterator[Finding]:
    columns = path_columns(x)
    # inputs that only have a number may be views of one modality, and then equal
    named = {
        name: values
        for name, values in entering_rows(x, required=False).items()
        if not name.startswith("input")
    }
    stored = stored_rows(x, required=False)
    if not columns and not stored and not named:
        raise Unavailable("there are no files, stored arrays or named inputs to compare")
    copied = dict(_copied_files(x, columns))
    for where, streams in (("the stored arrays", stored), ("the first batches", named)):
        for pair, evidence in _copied_rows(x, streams):
            copied.setdefault(pair, (where, evidence))
    for (a, b), (where, evidence) in copied.items():
        yield M10.broken(
            "error",
            f"modality {b} is a copy of {a}, so one of the two is missing",
            where=f"{a} and {b} in {where}",
            evidence=(evidence,),
            scope=b,
            ruled_out=("chance (independent samples do not agree bit for bit)",),
            help=f"fill {b} from its own files or arrays: check the folder and pattern behind its "
            "column   [changes what the model sees; retrain]",
        )


Pair = tuple[str, str]


def _copied_files(
    x: Examination, columns: Mapping[str, pd.Series]
) -> Iterator[tuple[Pair, tuple[str, str]]]:
    """Pairs of modalities of the same files, or files of equal bytes: where, and evidence."""
    for a, b in combinations(columns, 2):
        both = columns[a].index.intersection(columns[b].index)
        same = columns[a][both] == columns[b][both]
        if len(both) and same.mean() >= x.limits.copied_modality:
            yield (
                (a, b),
                (
                    "the table",
                    f"{int(same.sum())} of {len(both)} samples name the same file for both",
                ),
            )
            continue
        share = _equal_files(x, columns[a][both], columns[b][both])
        if share >= x.limits.copied_modality:
            compared = min(len(both), x.limits.compared_files)
            yield (
                (a, b),
                (
                    "the files",
                    f"{share:.0%} of {compared} samples compared have equal bytes in both",
                ),
            )


def _copied_rows(x: Examination, streams: Mapping[str, np.ndarray]) -> Iterator[tuple[Pair, str]]:
    """Pairs of modalities whose rows are found in each other bit for bit, and the evidence."""
    digests = {
        name: [hash(row.tobytes()) for row in values]
        for name, values in streams.items()
        if not constant(values, x.limits) and len(values) >= x.limits.judged_rows
    }
    # samples of a few values, flags say, agree by chance
    digests = {name: rows for name, rows in digests.items() if len(set(rows)) > 0.5 * len(rows)}
    for a, b in combinations(digests, 2):
        shared = len(set(digests[a]) & set(digests[b])) / len(set(digests[a]))
        if shared < x.limits.copied_modality or streams[a].shape[1:] != streams[b].shape[1:]:
            continue
        pairs = zip(digests[a], digests[b], strict=False)
        aligned = np.mean([one == other for one, other in pairs])
        yield (
            (a, b),
            f"{shared:.0%} of {len(digests[a])} samples of {a} are found in {b} bit for bit, "
            f"{aligned:.0%} of all in the same row",
        )


@check(M11, "the files of a modality are of its kind")
def wrong_kind(x: Examination) -> Iterator[Finding]:
    columns = path_columns(x)
    if not columns:
        raise Unavailable("the table names no files")
    kinds = getattr(x.subject.table, "modalities", {})
    for name, texts in columns.items():
        kind = str(getattr(kinds.get(name) if isinstance(kinds, Mapping) else None, "kind", name))
        paths = [
            text for text in texts if "|" not in text
        ]  # several pictures in one row may well be a video
        suffixes = Counter(os.path.splitext(path)[1].lower() for path in paths)
        for other, extensions in conventions.EXTENSIONS.items():
            share = sum(suffixes[extension] for extension in extensions) / max(len(paths), 1)
            if (
                kind not in conventions.EXTENSIONS
                or other == kind
                or share < x.limits.files_of_kind
            ):
                continue
            yield M11.broken(
                "error",
                f"modality {name} is read from {other} files, though it is {kind}",
                where=f"column {name} of the table",
                evidence=(
                    f"{share:.0%} of {len(paths)} paths have the extension of {other} files, for "
                    f"example {paths[0]}",
                    *([SILENT[other]] if other in SILENT else []),
                ),
                scope=name,
                ruled_out=(f"a row of pictures joined by | as {kind}",) if other == "image" else (),
                help=f"fill column {name} from the folder and extension of its own files   "
                "[changes what the model sees; retrain]",
            )


@check(M01, "all streams of a row name the same sample")
def other_samples(x: Examination) -> Iterator[Finding]:
    columns = path_columns(x)
    if not columns and not _declared_ids(x):
        raise Unavailable("the table names neither files nor an id per modality")
    told = named_samples(x)
    for name, (known, strange) in told.items():
        if len(strange):
            own = x.frame["sample_id"].astype(str)[strange.index[0]]
            yield _misaligned(
                name, len(strange), len(known), f"row {own!r} holds {name} of {strange.iloc[0]!r}"
            )
    yield from _stems_disagree(
        {name: texts for name, texts in columns.items() if name not in told}, x.limits
    )


def named_samples(x: Examination) -> dict[str, tuple[pd.Series, pd.Series]]:
    """Modalities whose paths or id columns name the sample of every row: what they name, and
    where that is another sample.
    """
    named = _declared_ids(x)
    columns = path_columns(x)
    if not (columns or named) or "sample_id" not in x.frame:
        return {}
    ids = x.frame["sample_id"].astype(str)
    named |= {
        name: _samples_named(texts, ids) for name, texts in columns.items() if name not in named
    }
    told = {}
    for name, samples in named.items():
        known = samples[samples.notna() & (samples != "")]
        # names that repeat are those of sessions or classes, and tell no samples apart
        enough = x.limits.unique_names * len(known)
        if len(known) > 0.5 * len(samples) and known.nunique() >= enough:
            told[name] = (known, known[known != ids[known.index]])
    return told


def _misaligned(
    name: str, wrong: int, known: int, example: str, candidates: tuple[str, ...] = ()
) -> Finding:
    return M01.broken(
        "error",
        f"modality {name} belongs to another sample in {wrong} of {known} rows",
        where=f"{name} in the table",
        evidence=(
            f"{wrong} of {known} rows name another sample; 0 were expected: {example}",
            f"rows exchanged at random would leave about {known - 1} wrong of {known}",
        ),
        scope="" if candidates else name,
        candidates=candidates,
        decide="compare one file of each with its sample by eye" if candidates else "",
        ruled_out=(f"an uninformative modality (ids identify {name}, not statistics)",),
        help=f"join {name} to the samples by id instead of by position: sort both, or "
        "frame.merge(files, on='sample_id') "
        "  [changes what the model sees; retrain]",
    )


def _declared_ids(x: Examination) -> dict[str, pd.Series]:
    """Columns such as audio_id or audio_sample_id that say whose sample a modality is."""
    try:
        frame = x.frame
    except Unavailable:
        return {}
    if "sample_id" not in frame:
        return {}
    names = [str(name) for name in getattr(x.subject.table, "modalities", frame.columns)]
    columns = {
        name: [
            column
            for column in (pattern.format(name) for pattern in conventions.MODALITY_ID_COLUMNS)
            if column in frame
        ]
        for name in names
    }
    return {
        name: frame[found[0]].astype(str)
        for name, found in columns.items()
        if found
        and name != "sample"
        and frame[found[0]].astype(str).isin(frame["sample_id"].astype(str)).mean() > 0.5
    }


def _samples_named(texts: pd.Series, ids: pd.Series) -> pd.Series:
    known = set(ids)
    named = [
        _named_sample(text, own, known) for text, own in zip(texts, ids[texts.index], strict=True)
    ]
    return pd.Series(named, index=texts.index, dtype=object)


def _named_sample(text: str, own: str, ids: set[str]) -> str | None:
    """The sample that a path names: its own where it does, else the longest sample_id among the
    runs of its parts, or None.

    A run is whole folders and the file's name without extension, or the start of that name up to a
    "_", "-" or ".".
    """
    *folders, name = text.split("|", 1)[0].split("/")
    stem = os.path.splitext(name)[0]
    if stem == own:
        return own
    parts = [*folders, stem]
    runs = {
        "/".join(parts[start:stop])
        for start in range(len(parts))
        for stop in range(start + 1, len(parts) + 1)
    }
    runs |= {stem[: match.start()] for match in re.finditer(r"[_.\-]", stem)}
    return own if own in runs else max(runs & ids, key=len, default=None)


def _stems_disagree(columns: Mapping[str, pd.Series], limits: Limits) -> Iterator[Finding]:
    """Files that are named alike in several modalities, but stand in different rows."""
    stems = {
        name: texts.map(lambda text: PurePosixPath(text.split("|")[0]).stem)
        for name, texts in columns.items()
    }
    wrong: Counter[str] = Counter()
    counts: dict[tuple[str, str], tuple[int, int, str]] = {}
    for a, b in combinations(stems, 2):
        both = stems[a].index.intersection(stems[b].index)
        one, other = stems[a][both], stems[b][both]
        if (
            len(both) < limits.judged_rows
            or one.nunique() < limits.unique_names * len(both)
            or one.isin(set(other)).mean() < limits.unique_names
        ):
            continue  # names that do not tell samples apart, or that are not shared
        differ = (one != other).to_numpy()
        if differ.any():
            place = int(differ.argmax())
            counts[a, b] = (
                int(differ.sum()),
                len(both),
                f"row {both[place]} holds {a} {one.iloc[place]!r} and {b} {other.iloc[place]!r}",
            )
            wrong.update((a, b))
    if not counts:
        return
    name, most = wrong.most_common(1)[0]
    pair = next(pair for pair in counts if name in pair)
    alone = [other for other, count in wrong.items() if count == most]
    yield _misaligned(
        name if len(alone) == 1 else " or ".join(alone),
        *counts[pair],
        candidates=tuple(alone) if len(alone) > 1 else (),
    )


def _equal_files(x: Examination, one: pd.Series, other: pd.Series) -> float:
    """Share of a few rows whose files of two modalities agree in size and in their first bytes."""
    root = getattr(x.subject.table, "root", None) or ""
    same = []
    for place in np.linspace(
        0, max(len(one) - 1, 0), min(len(one), x.limits.compared_files)
    ).astype(int):
        files = [Path(root, texts.iloc[place].split("|")[0]) for texts in (one, other)]
        if all(file.is_file() for file in files):
            same.append(
                files[0].stat().st_size == files[1].stat().st_size
                and _head(files[0], x.limits.compared_file_bytes)
                == _head(files[1], x.limits.compared_file_bytes)
            )
    return float(np.mean(same)) if len(same) >= x.limits.judged_rows else 0.0


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)
