"""One modality of the store on disk: a folder with one array and an index, filled whole or not at
all.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import Damage
from quadlib.data.decoding.job import Decoded, Job
from quadlib.data.decoding.workers import WorkerPool
from quadlib.data.kinds import Kind
from quadlib.data.samples import SampleTable, input_shape
from quadlib.data.store.contents import Contents
from quadlib.files import (
    FileError,
    digest_bytes,
    digest_file,
    locked,
    read_record,
    write_record,
)
from quadlib.registry import KINDS

log = logging.getLogger(__name__)

FORMAT = 10  # raised when a decoder's numbers change, or what index.json holds
PROGRESS_SECONDS = 30.0
Arc = tuple[float, float] | None


@dataclass(frozen=True)
class CacheEntry:
    """A modality's memory-mapped array (n, ...), its damage, of a series the arc windows and the
    names of its channels, what was understood of every row's file, and what this call decoded.
    """

    array: np.ndarray
    damage: list[Damage]
    arcs: list[Arc] | None = None
    notes: dict[str, int] = field(default_factory=dict)
    decoded: int = 0
    channels: tuple[str, ...] = ()
    crop: str = ""
    facts: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Order:
    """What is asked for: a modality's files of every recording, how they are decoded, and where the
    result belongs.
    """

    table: SampleTable
    name: str
    settings: MediaSettings
    files: list[list[Path]]
    windows: list[Arc]
    contents: Contents

    @cached_property
    def kind(self) -> Kind:
        return KINDS[self.table.modalities[self.name].kind]

    @cached_property
    def offset(self) -> float | None:
        """By clock_offset_s, how many seconds after the log the modality's files start."""
        return self.settings.clock_offset_s.get(self.name)

    @cached_property
    def keys(self) -> list[str]:
        """Per recording, what its array depends on: the contents of its files, and the arc window
        with the offset of its clock.
        """
        return [
            json.dumps(
                [[self.contents.digest(path) for path in paths], window, window and self.offset]
            )
            for paths, window in zip(self.files, self.windows, strict=True)
        ]

    @cached_property
    def prefix(self) -> str:
        """Start of the name of every entry whose rows could serve this order: the modality and a
        digest of all that its arrays depend on beside the files.
        """
        modality = self.table.modalities[self.name]
        described = json.dumps(
            [FORMAT, modality.kind, modality.shape, self.channels, self.crop]
            + [self.kind.numbers(self.settings)]
        )
        return f"{self.name}-{digest_bytes(described.encode())[:12]}-"

    @cached_property
    def media(self) -> MediaSettings:
        """The settings that decoders read."""
        return MediaSettings(
            **{key: getattr(self.settings, key) for key in MediaSettings.model_fields}
        )

    @cached_property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels: the source's, else those that most of its files have."""
        modality = self.table.modalities[self.name]
        if self.kind.channels is None or modality.channels:
            return modality.channels
        return self.kind.channels([path for paths in self.files for path in paths[:1]], self.media)

    @cached_property
    def crop(self) -> str:
        """The channel that cuts a recording to where it is on, "" for none."""
        if not self.kind.gives_arc:
            return ""
        return self.media.series_crop or self.table.modalities[self.name].crop

    @cached_property
    def jobs(self) -> dict[int, Job]:
        """Row -> job, for the recordings that have the modality."""
        kind, name = self.kind, self.table.modalities[self.name].kind
        return {
            row: Job(
                name,
                kind.decode,
                tuple(paths),
                self.media,
                self.windows[row],
                self.offset,
                self.channels,
                self.crop,
            )
            for row, paths in enumerate(self.files)
            if paths
        }

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of one recording's array; where no file is readable, it counts as one channel,
        damaged throughout.
        """
        modality = self.table.modalities[self.name]
        if self.kind.channels is not None and not modality.shape:
            modality = replace(modality, shape=(max(1, len(self.channels)),))
        return input_shape(modality, self.settings)

    @cached_property
    def stride(self) -> int:
        """Bytes of one recording's array."""
        return int(np.prod(self.shape)) * np.dtype(self.kind.dtype).itemsize


def open_entry(
    root: Path,
    table: SampleTable,
    name: str,
    settings: MediaSettings,
    arcs: Sequence[Arc] | None,
    pool: WorkerPool,
    contents: Contents,
) -> CacheEntry:
    """Takes a modality's entry from `root`, or fills it there: rows from an older entry where the
    files are the same, others decoded.

    An entry is filled under a hidden name and renamed when complete, under a lock: a half-written
    one is never taken, and two processes do not fill the same. Raises FileError when the disk is
    full or an entry was damaged since.
    """
    cut = arcs is not None and KINDS[table.modalities[name].kind].takes_arc
    windows: list[Arc] = list(arcs) if arcs is not None and cut else [None] * len(table)
    base = table.root or Path()
    files = [[base / part for part in parts] for parts in table.files(name)]
    order = Order(table, name, settings, files, windows, contents)
    folder = root / (order.prefix + digest_bytes(*(key.encode() for key in order.keys))[:20])
    decoded = 0
    if not folder.is_dir():
        with locked(root / f".{folder.name}.lock"):
            if not folder.is_dir():
                decoded = _fill_whole(folder, order, pool)
    return _read(folder, order, decoded)


def _fill_whole(folder: Path, order: Order, pool: WorkerPool) -> int:
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        decoded = _fill(temporary, order, pool)
        os.replace(temporary, folder)
    except OSError as error:
        size = len(order.files) * order.stride / 2**20
        raise FileError(
            f"the store {folder} could not be written ({error.strerror or error}); it needs "
            f"{size:.0f} MiB. Free some disk space or choose another outputs folder."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return decoded


def _fill(folder: Path, order: Order, pool: WorkerPool) -> int:
    """Writes array.npy and index.json; returns how many recordings were decoded."""
    shape, dtype = order.shape, np.dtype(order.kind.dtype)
    entries: dict[int, dict[str, Any]] = {}
    with open(folder / "array.npy", "wb") as file:
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": (len(order.files), *shape),
        }
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.truncate(start + len(order.files) * order.stride)

        def write(row: int, array: np.ndarray, entry: dict[str, Any]) -> None:
            # Written, not memory-mapped: a full disk is then an error and not a crash.
            file.seek(start + row * order.stride)
            file.write(np.ascontiguousarray(array, dtype=dtype).tobytes())
            entries[row] = entry

        for row, array, entry in _older_rows(folder.parent, order):
            write(row, array, entry)
        todo = [row for row in order.jobs if row not in entries]
        last = time.monotonic()
        for done, (position, result) in enumerate(
            pool.decode_all([order.jobs[row] for row in todo]), start=1
        ):
            row = todo[position]
            if isinstance(result, Decoded):
                write(
                    row,
                    result.array,
                    {
                        "arc": result.arc,
                        "repeated": result.repeated_stamps,
                        "gaps": result.long_gaps,
                        "facts": dict(result.facts),
                    },
                )
            else:
                place = [str(path) for path in order.files[row]].index(result.path)
                entries[row] = {"file": place, "what": result.what, "remedy": result.remedy}
            if time.monotonic() - last > PROGRESS_SECONDS:
                last = time.monotonic()
                log.info(f"{order.table.name}: decoded {done} of {len(todo)} {order.name}")
        file.flush()
        os.fsync(file.fileno())
    write_record(
        folder / "index.json",
        "cache",
        {
            "array": digest_file(folder / "array.npy"),
            "keys": order.keys,
            "entries": {str(row): entries[row] for row in sorted(entries)},
        },
    )
    return len(todo)


def _older_rows(root: Path, order: Order) -> Iterator[tuple[int, np.ndarray, dict[str, Any]]]:
    """(row, array, what the index says) of every recording that an entry of the same settings
    already holds undamaged.
    """
    wanted: dict[str, list[int]] = {}
    for row in order.jobs:
        wanted.setdefault(order.keys[row], []).append(row)
    for folder in sorted(root.glob(f"{glob.escape(order.prefix)}*")):
        try:
            index, array = _open(folder, order.contents)
        except (OSError, ValueError, KeyError):  # damaged since: its rows are decoded anew
            continue
        for source, entry in index["entries"].items():
            if "what" not in entry and array.shape[1:] == order.shape:
                for row in wanted.pop(index["keys"][int(source)], []):
                    yield row, array[int(source)], entry


def _open(folder: Path, contents: Contents) -> tuple[dict[str, Any], np.ndarray]:
    """Index and array of an entry. Raises ValueError where the array is not what was written."""
    index = read_record(folder / "index.json", "cache")
    if contents.digest(folder / "array.npy") != index["array"]:
        raise ValueError("array.npy is not what was written")
    return index, np.load(folder / "array.npy", mmap_mode="r")


def _read(folder: Path, order: Order, decoded: int) -> CacheEntry:
    try:
        index, array = _open(folder, order.contents)
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
            str(order.files[row][entry["file"]]),
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
    )
