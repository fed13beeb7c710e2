"""One modality of the store on disk: a folder with one array and an index, taken where it is there
and made where it is not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from quadlib.config import TrainSettings
from quadlib.data.decoding.damage import Damage
from quadlib.data.decoding.workers import WorkerPool
from quadlib.data.kinds import kind_of
from quadlib.data.samples import SampleTable
from quadlib.data.store.contents import Contents
from quadlib.data.store.fill import fill_whole, open_folder
from quadlib.data.store.order import Arc, Order
from quadlib.files import FileError, digest_bytes, locked


@dataclass(frozen=True)
class CacheEntry:
    """A modality's memory-mapped array (n, ...), its damage, of a series the arc windows and the
    names of its channels, what was understood of every row's file, what this call decoded, how
    long a recording took when the entry was made, and the digests of every row's files.
    """

    array: np.ndarray
    damage: list[Damage]
    arcs: list[Arc] | None = None
    notes: dict[str, int] = field(default_factory=dict)
    decoded: int = 0
    channels: tuple[str, ...] = ()
    crop: str = ""
    facts: list[dict[str, Any]] = field(default_factory=list)
    seconds_each: float = 0.0
    digests: list[list[str]] = field(default_factory=list)


def open_entry(
    root: Path,
    table: SampleTable,
    name: str,
    settings: TrainSettings,
    arcs: Sequence[Arc] | None,
    pool: WorkerPool,
    contents: Contents,
) -> CacheEntry:
    """Takes a modality's entry from `root`, or fills it there: rows from an older entry where the
    files are the same, others decoded.

    An entry is filled under a hidden name and renamed when complete, under a lock: a half-written
    one is never taken but completed, and two processes do not fill the same. Raises FileError when
    the disk is full or an entry was damaged since.
    """
    cut = arcs is not None and kind_of(table.modalities[name]).takes_arc
    windows: list[Arc] = list(arcs) if arcs is not None and cut else [None] * len(table)
    base = os.path.join(table.root or "", "")  # joined as text: a Path each takes most of the time
    files = [[base + part for part in parts] for parts in table.files(name)]
    order = Order(table, name, settings, files, windows, contents, pool)
    folder = root / (order.prefix + digest_bytes(*(key.encode() for key in order.keys))[:20])
    decoded = 0
    if not folder.is_dir():
        with locked(root / f".{folder.name}.lock"):
            if not folder.is_dir():
                decoded = fill_whole(folder, order, pool)
    return _read(folder, order, decoded)


def _read(folder: Path, order: Order, decoded: int) -> CacheEntry:
    try:
        index, array = open_folder(folder, order.contents)
        entries = {int(row): entry for row, entry in index["entries"].items()}
    except (OSError, ValueError, KeyError) as error:
        raise FileError(
            f"{folder} was damaged since it was written ({error}); delete it, and it is decoded "
            "again."
        ) from error
    ids = order.table.frame["sample_id"].to_numpy()
    damage = [
        Damage(
            ids[row],
            order.name,
            str(Path(order.files[row][entry["file"]])),
            entry["what"],
            entry["remedy"],
        )
        for row, entry in entries.items()
        if "what" in entry
    ]
    good = {row: entry for row, entry in entries.items() if "what" not in entry}
    notes = {
        "repeated time stamps averaged": sum(entry["repeated"] for entry in good.values()),
        "long gaps of a clock bridged": sum(entry["gaps"] for entry in good.values()),
    }
    arcs: list[Arc] | None = None
    if order.kind.gives_arc:
        arcs = [None] * len(order.files)
        for row, entry in good.items():
            arcs[row] = tuple(entry["arc"]) if entry["arc"] else None
    return CacheEntry(
        array,
        damage,
        arcs,
        {what: count for what, count in notes.items() if count},
        decoded,
        order.channels,
        order.crop,
        [good[row]["facts"] if row in good else {} for row in range(len(order.files))],
        index.get("seconds_each", 0.0),
        order.digests,
    )
