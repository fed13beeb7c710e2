"""The check of a whole table before training: every file decoded, every trouble collected, nothing
raised.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np

from quadlib.config import TrainSettings
from quadlib.data.decoding.damage import Damage
from quadlib.data.samples import SPLITS, SampleTable
from quadlib.data.store.store import decode_table
from quadlib.files import digest_file


def check_table(table: SampleTable, settings: TrainSettings) -> list[Damage]:
    """All that is wrong with a table and its files, in one list; empty when it can be trained on.

    Damaged files (all are decoded, in processes of their own, into the store that training then
    finds ready), classes of one recording, splits of one class, and contents that stand twice: in
    two modalities, or under two recordings.
    """
    damage = [*_classes(table), *_splits(table), *_twice(table)]
    return damage + decode_table(table, settings).damage


def _classes(table: SampleTable) -> Iterator[Damage]:
    counts = Counter(table.frame["label"])
    for label, count in counts.items():
        if count == 1:
            sample_id = str(table.frame["sample_id"][table.frame["label"] == label].iloc[0])
            yield Damage(
                sample_id,
                "",
                "",
                f"is the only recording of class {label!r}, which can never meet a positive",
                "add recordings of the class, leave it out, or correct its label",
            )
    if len(counts) == 1:
        yield Damage(
            "",
            "",
            "",
            f"all {len(table)} recordings have the label {next(iter(counts))!r}, so nothing can "
            "be told apart",
            "add recordings of a second class, or check the label column",
        )


def _splits(table: SampleTable) -> Iterator[Damage]:
    if table.frame["label"].nunique() < 2:
        return
    for split in SPLITS:
        counts = Counter(table.frame["label"].iloc[table.rows(split)])
        if len(counts) == 1:
            label, count = counts.popitem()
            yield Damage(
                "",
                "",
                "",
                f"split {split} holds one class alone, {count} recordings of {label!r}",
                'split anew by session and class: split="grouped"',
            )


def _twice(table: SampleTable) -> Iterator[Damage]:
    """Files, or whole arrays, of the same content in two places; only files of equal size are
    read.
    """
    places: dict[Path, tuple[str, str]] = {}
    for name in table.modalities:
        if name not in table.arrays:
            for row, sample_id in enumerate(table.frame["sample_id"]):
                for path in table.paths(row, name):
                    if path in places and places[path] != (sample_id, name):
                        yield _same(sample_id, name, path, path, *places[path])
                    places.setdefault(path, (sample_id, name))
    sizes: dict[int, list[Path]] = defaultdict(list)
    for path in places:
        if path.is_file() and path.stat().st_size:
            sizes[path.stat().st_size].append(path)
    for paths in sizes.values():
        first: dict[str, Path] = {}
        for path in paths if len(paths) > 1 else []:
            digest = digest_file(path)
            other = first.setdefault(digest, path)
            if other != path and places[other] != places[path]:
                yield _same(*places[path], path, other, *places[other])
    names = [name for name in table.modalities if name in table.arrays]
    for first_name, name in combinations(names, 2):
        if np.array_equal(table.arrays[first_name], table.arrays[name]):
            yield Damage(
                "",
                name,
                "",
                f"holds the same values as {first_name}",
                "give each modality its own array",
            )


def _same(
    sample_id: str, name: str, path: Path, other_path: Path, other_id: str, other_name: str
) -> Damage:
    whose = "the same recording" if other_id == sample_id else f"recording {other_id}"
    return Damage(
        sample_id,
        name,
        str(path),
        f"has the same content as {other_name} of {whose} ({other_path})",
        "each recording and modality needs a file of its own; correct the table or leave one out",
    )
