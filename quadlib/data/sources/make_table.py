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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pandas as pd

from quadlib.config import MediaSettings
from quadlib.data.decoding.columnar import read_apart
from quadlib.data.decoding.damage import DamageError
from quadlib.data.kinds import kinds_by_extension
from quadlib.data.logs.read import read_readings
from quadlib.data.samples import TableError, some
from quadlib.data.sources.columns import SPLIT_NAMES, canonical
from quadlib.data.sources.folders import existing_folder
from quadlib.data.sources.text import read_csv
from quadlib.registry import KINDS

NAME = "recordings.csv"
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

    Each file of a known kind belongs to a recording. Where folders hold files of several kinds or
    several photos each, a folder is a recording; else files of one name without their ending are. A
    folder called train, val or test is a split; the first folder below that is the class; the next
    one, if it holds several recordings, the session. A Hugging Face folder is read by its metadata.

    Raises TableError where no file is of a known kind.
    """
    root = existing_folder(folder, "make-table")
    files, others = _files(root)
    texts = _texts_that_are_no_logs(root, files)
    files = [file for file in files if file not in texts]
    notes = [f"files of no known kind are left out: {some(others)}"] if others else []
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
    recordings = _recordings(files)
    rows = [_row(name, parts) for name, parts in recordings.items()]
    frame = pd.DataFrame(rows).fillna("")
    order = ["sample_id", "label", "group", "split"]
    frame = frame[[*order, *sorted(set(frame.columns) - set(order))]]
    if (frame["split"] == "").all():
        frame = frame.drop(columns="split")
    if (frame["group"] == "").any():
        frame["group"] = frame["group"].where(frame["group"] != "", frame["sample_id"])
        notes.append(
            "no session could be told from the folders: every recording is its own; write the "
            "session into the column group where several belong together"
        )
    if (frame["label"] == "").any():
        notes.append("recordings outside of class folders have no label; write it in")
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
            (known if kind else others).append(str(relative))
    return known, others


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


def _recordings(files: Sequence[str]) -> dict[str, list[str]]:
    """Recording -> its files: by folder where a folder is one, else by the name of the files."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for file in files:
        by_folder[str(PurePosixPath(file).parent)].append(file)
    for folder in sorted(by_folder, reverse=True):  # photos in a folder of their own inside
        parent = str(PurePosixPath(folder).parent)
        photos = all(KINDS[_kind(file)].several_files for file in by_folder[folder])
        if photos and parent in by_folder and _is_recording(by_folder[parent]):
            by_folder[parent] += by_folder.pop(folder)
    depths: dict[int, list[bool]] = defaultdict(list)
    for folder, inside in by_folder.items():
        depths[folder.count("/")].append(_is_recording(inside))
    recordings: dict[str, list[str]] = {}
    for folder, inside in by_folder.items():
        if folder != "." and all(depths[folder.count("/")]):
            recordings[folder] = inside
            continue
        for file in inside:
            stem = _without_number(PurePosixPath(file).name.partition(".")[0], inside)
            recordings.setdefault(f"{folder}/{stem}".removeprefix("./"), []).append(file)
    return recordings


def _is_recording(files: Sequence[str]) -> bool:
    """Whether the files of one folder are one recording: few photos or one file of each kind, with
    no name that two kinds share.
    """
    kinds = [_kind(file) for file in files]
    several = Counter(kinds)
    if len(several) == 1 or any(
        count > 1 and not KINDS[kind].several_files for kind, count in several.items()
    ):
        return False
    names = Counter(PurePosixPath(file).name.partition(".")[0] for file in files)
    shared = sum(1 for count in names.values() if count > 1)
    return shared <= 1


def _without_number(stem: str, files: Sequence[str]) -> str:
    """A photo's name without its number, where another file of the folder has the rest as name or
    several numbers stand behind it.
    """
    match = re.fullmatch(r"(.*?\w)[ _-](?:\(?\d{1,2}\)?|front|back|left|right|top|side)", stem)
    if not match:
        return stem
    stems = {PurePosixPath(file).name.partition(".")[0] for file in files}
    return match[1] if match[1] in stems else stem


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
        by_kind[_kind(file)].append(file)
    for kind, parts in by_kind.items():
        if KINDS[kind].several_files:
            row[kind] = "|".join(parts)
        else:
            row |= {
                kind if place == 0 else f"{kind}_{place + 1}": p for place, p in enumerate(parts)
            }
    return row


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
    kinds = {column: _kind(frame[column].iloc[0]) or "file" for column in named}
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


def _kind(file: str) -> str:
    return kinds_by_extension().get(PurePosixPath(file).suffix.lower(), "")
