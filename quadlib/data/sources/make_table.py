"""A recordings.csv from a folder, to be looked at and edited: class folders, one folder a
recording, name patterns, a Hugging Face metadata file.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pandas as pd

from quadlib.config import MediaSettings
from quadlib.data.decoding.columnar import read_apart
from quadlib.data.decoding.damage import DamageError
from quadlib.data.kinds import kinds_by_extension
from quadlib.data.logs.read import read_readings
from quadlib.data.samples import TableError, some
from quadlib.data.sources.columns import MOST_CLASSES, SPLIT_NAMES, canonical
from quadlib.data.sources.folders import existing_folder
from quadlib.data.sources.grouping import (
    beside,
    depth_of_kinds,
    differ,
    kind_of_file,
    recordings_of,
    stem_of,
)
from quadlib.data.sources.text import read_csv
from quadlib.registry import KINDS

NAME = "recordings.csv"
HEAD = 1 << 16  # characters
MOST_BYTES = 1 << 22  # of a text that may be a table about the others
TEXTS = (".csv", ".tsv", ".txt")
LOOKED_AT = 8  # texts of a depth of folders
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
SPLITS = {other: name for name, others in SPLIT_NAMES.items() for other in others}


@dataclass
class Draft:
    """A table as it is drafted, and what was seen on the way."""

    frame: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    def to_csv(self) -> str:
        """The table as text, one line a recording."""
        text = io.StringIO()
        self.frame.to_csv(text, index=False, quoting=csv.QUOTE_MINIMAL, lineterminator="\n")
        return text.getvalue()


def draft_table(folder: str | Path) -> Draft:
    """A table of the recordings below a folder, whose paths start at that folder.

    Each file of a known kind belongs to a recording. Where folders hold files of several kinds,
    several photos, or files of the same names each, a folder is a recording; else files of one name
    without their ending are, also those that lie in a folder for each kind. A folder called train,
    val or test is a split; the first folder below that is the class, the next one the session, or
    the other way round where both cross and the first are numbered. A Hugging Face folder is read
    by its metadata.

    Raises TableError where no file is of a known kind.
    """
    root = existing_folder(folder, "make-table")
    files, others = _files(root)
    tables = _tables(root, files)
    files = [file for file in files if file not in tables]
    texts = _texts_that_are_no_logs(root, files)
    files = [file for file in files if file not in texts]
    notes = [f"files of no known kind are left out: {some(others)}"] if others else []
    notes += [
        f"{name} is left out: it names the other files, so it is a table about them; what it says "
        "of classes and sessions can go into label and group"
        for name in tables
    ]
    notes += [f"texts that are no logs are left out: {some(sorted(texts))}"] if texts else []
    metadata = [name for name in METADATA if (root / name).is_file()]
    if metadata:
        draft = _of_metadata(root, metadata[0])
        return Draft(draft.frame, draft.notes + notes)
    if not files:
        raise TableError(
            f"make-table: {root} holds no file of a known kind "
            f"({', '.join(kinds_by_extension())}); name the folder that holds the recordings"
        )
    depth = depth_of_kinds(files)
    recordings = recordings_of(files) if depth is None else beside(files, depth)
    if depth is not None:
        notes.append(
            f"the folders {some(sorted({file.split('/')[depth] for file in files}))} hold files of "
            "one kind each: those of one name are one recording"
        )
    rows = [_row(name, parts) for name, parts in recordings.items()]
    notes += _exchange_levels(rows)
    frame = pd.DataFrame(rows).fillna("")
    order = ["sample_id", "label", "group", "split"]
    frame = frame[[*order, *sorted(set(frame.columns) - set(order))]]
    if (frame["split"] == "").all():
        frame = frame.drop(columns="split")
    label, *more = frame["label"].unique()
    if label and not more:
        frame["label"] = ""
        notes.append(f"the folder {label} holds every recording, so that it tells no class")
    if (frame["group"] == "").any():
        notes += _in_several_classes(frame)
        frame["group"] = frame["group"].where(frame["group"] != "", frame["sample_id"])
        notes.append(
            "no session could be told from the folders: every recording is its own; write the "
            "session into the column group where several belong together"
        )
    if (frame["label"] == "").any():
        notes.append(
            "recordings outside of class folders have no label; write it in"
            + _in_the_names(frame["sample_id"][frame["label"] == ""])
        )
    return Draft(frame, notes)


def _files(root: Path) -> tuple[list[str], list[str]]:
    """Files of a known kind, relative to the root and sorted; and those of no known kind."""
    known: list[str] = []
    others: list[str] = []
    by_ending = kinds_by_extension()
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        for name in sorted(names):
            relative = PurePosixPath(Path(folder, name).relative_to(root).as_posix())
            if name.startswith(".") or str(relative) in (NAME, *METADATA):
                continue
            kind = by_ending.get(relative.suffix.lower())
            if relative.suffix.lower() == ".ts" and not _is_mpeg(Path(folder, name)):
                kind = None
            (known if kind else others).append(str(relative))
    return known, others


def _is_mpeg(path: Path) -> bool:
    """Whether a .ts file is a stream of video and no text."""
    with path.open("rb") as file:
        return file.read(1) in (b"G", b"")


def _tables(root: Path, files: Sequence[str]) -> list[str]:
    """The texts among the files that name most of the others."""
    stems = {stem_of(file) for file in files}
    return [
        file
        for file in files
        if PurePosixPath(file).suffix.lower() in TEXTS
        and len(stems) > 2
        and _names_most(root / file, stems)
    ]


def _names_most(path: Path, stems: Set[str]) -> bool:
    """Whether most of these names are words of a text; one that names none where it begins is not
    read further, since it is a log.
    """
    if not len(stems) <= path.stat().st_size <= MOST_BYTES:
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        head = file.read(HEAD)
        if stems.isdisjoint(_words(head)):
            return False
        return len(stems & _words(head + file.read())) > len(stems) / 2


def _words(text: str) -> set[str]:
    return set(re.split(r"[\s,;|/\\.\"]+", text))


def _texts_that_are_no_logs(root: Path, files: Sequence[str]) -> set[str]:
    """The .txt files of each depth of folders, where they are remarks or annotations beside the
    recordings: half of some that are looked at hold no readings.
    """
    by_depth: dict[int, list[str]] = defaultdict(list)
    for file in files:
        if file.lower().endswith(".txt"):
            by_depth[file.count("/")].append(file)
    texts: set[str] = set()
    for inside in by_depth.values():
        looked = [inside[place * len(inside) // LOOKED_AT] for place in range(LOOKED_AT)]
        readable = sum(_is_log(root / file) for file in looked)
        if readable * 2 < LOOKED_AT:
            texts.update(inside)
    return texts


def _is_log(path: Path) -> bool:
    try:
        read_readings(path, MediaSettings.model_validate({}))
    except DamageError:
        return False
    return True


def _row(name: str, files: Sequence[str]) -> dict[str, str]:
    """One recording: its split, class and session by its folders, its files by their kind."""
    folders = list(PurePosixPath(name).parts[:-1])
    split = ""
    if folders and canonical(folders[0]) in SPLITS:
        split = SPLITS[canonical(folders.pop(0))]
    label = folders.pop(0) if folders else ""
    row = {"sample_id": name, "label": label, "group": "/".join(folders), "split": split}
    by_kind: dict[str, list[str]] = defaultdict(list)
    for file in files:
        by_kind[kind_of_file(file)].append(file)
    for kind, parts in by_kind.items():
        if KINDS[kind].several_files:
            row[kind] = "|".join(parts)
        elif len(parts) > 1 and differ(parts) and all("/" in part for part in parts):
            row |= {_column(part): part for part in parts}
        else:
            row |= {
                kind if place == 0 else f"{kind}_{place + 1}": p for place, p in enumerate(parts)
            }
    return row


def _column(file: str) -> str:
    """A name for the modality of a file among others of its kind: what it is called itself."""
    return canonical(stem_of(file))


def _exchange_levels(rows: Sequence[dict[str, str]]) -> list[str]:
    """Class and session changed round in place, where each folder of the first level holds the same
    ones of the second, and those of the first level alone are numbered; and what was so decided.
    """
    levels = {(row["label"], row["group"]) for row in rows}
    labels, groups = ({level[k] for level in levels} for k in (0, 1))
    if not all(min(len(names), 2) == 2 and "" not in names for names in (labels, groups)):
        return []
    if len(levels) < len(labels) * len(groups):
        return []
    exchange = _numbered(labels) and not _numbered(groups)
    if exchange:
        for row in rows:
            row["label"], row["group"] = row["group"], row["label"]
        labels, groups = groups, labels
    return [
        f"every one of {some(sorted(labels))} is there with every one of {some(sorted(groups))}: "
        "the former are taken for classes and the latter for sessions; where it is the other way "
        "round, change the names of the columns label and group"
    ]


def _in_several_classes(frame: pd.DataFrame) -> list[str]:
    """A note on folders of one name that are recordings of several classes each."""
    names = frame["sample_id"].map(lambda name: PurePosixPath(name).name)
    classes = frame["label"].groupby(names).nunique()
    shared = classes.index[classes > 1]
    if len(shared) < 2 or not all(re.search("[^\\W\\d]", name) for name in shared):
        return []
    return [
        f"{some(sorted(shared))} are there in several classes: where one name is one subject or "
        "session, write it into group"
    ]


def _numbered(names: Collection[str]) -> bool:
    """Whether names differ in a number alone, as those of machines, days and sessions do."""
    return len({re.sub(r"\d+", "", name) for name in names}) == 1


def _in_the_names(names: Iterable[str]) -> str:
    """That the classes may be what names begin with, where it is one of a few words."""
    words = Counter(re.split(r"[\W\d_]", PurePosixPath(name).name)[0] for name in names)
    if not 1 < len(words) <= MOST_CLASSES or min(words.values()) < 2 or "" in words:
        return ""
    return f" (the names begin with {some(sorted(words))}, which may be the classes)"


def _of_metadata(root: Path, name: str) -> Draft:
    """A Hugging Face folder: file_name and the other columns of its metadata file."""
    if name.endswith(".csv"):
        frame, notes = read_csv(root / name)
    elif name.endswith(".jsonl"):
        frame, notes = pd.DataFrame(_json_lines(root / name)).astype(str), []
    else:
        try:
            frame, notes = read_apart(root / name).astype(str), []
        except DamageError as damage:
            raise TableError(f"make-table: {damage}") from damage
    named = [column for column in frame.columns if column.endswith("file_name")]
    labels = [c for c in frame.columns if canonical(c) in ("label", "labels", "class", "target")]
    if not named or not labels:
        raise TableError(
            f"make-table: {root / name} has the columns {', '.join(frame.columns)}; file_name and "
            "label were expected"
        )
    kinds = {column: kind_of_file(frame[column].iloc[0]) or "file" for column in named}
    ids = frame[named[0]].map(lambda path: str(PurePosixPath(path).with_suffix("")))
    columns: dict[str, pd.Series] = {"sample_id": ids, "label": frame[labels[0]]}
    columns |= {kinds[column]: frame[column] for column in named}
    used = {*named, labels[0]}
    columns |= {column: frame[column] for column in frame.columns if column not in used}
    notes.append(f"read from {name}")
    return Draft(pd.DataFrame(columns), notes)


def _json_lines(path: Path) -> Iterator[dict[str, str]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise TableError(f"make-table: {path}, line {number}: {error}") from None
