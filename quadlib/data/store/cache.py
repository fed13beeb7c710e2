"""One modality of the store on disk: a folder with one array and an index, filled whole or not at
all.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import Damage, DamageError
from quadlib.data.decoding.job import Decoded, Job
from quadlib.data.decoding.workers import WorkerPool
from quadlib.data.kinds.series import channel_names
from quadlib.data.samples import SampleTable, input_shape
from quadlib.files import FileError, digest_bytes, read_record, write_record

FORMAT = 2  # raised when a decoder's numbers change, or what index.json holds
PROGRESS_SECONDS = 30.0
Arc = tuple[float, float] | None


@dataclass(frozen=True)
class Shelf:
    """A modality's memory-mapped array (n, ...), its damage, of a series the arc windows, and what
    this call decoded.
    """

    array: np.ndarray
    damage: list[Damage]
    arcs: list[Arc] | None = None
    notes: dict[str, int] = field(default_factory=dict)
    decoded: int = 0


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

    @cached_property
    def kind(self) -> str:
        return self.table.modalities[self.name].kind

    @cached_property
    def keys(self) -> list[str]:
        """Per recording, what its array depends on: path, size and time of change of its files, and
        the arc window.
        """
        return [
            json.dumps([[(str(path), *_stamp(path)) for path in paths], window])
            for paths, window in zip(self.files, self.windows, strict=True)
        ]

    @cached_property
    def prefix(self) -> str:
        """Start of the name of every shelf whose rows could serve this order: the modality and a
        digest of its settings.
        """
        modality = self.table.modalities[self.name]
        chosen = {
            key: getattr(self.settings, key)
            for key in MediaSettings.model_fields
            if key.startswith(f"{self.kind}_")
        }
        described = json.dumps([FORMAT, self.kind, modality.shape, chosen])
        return f"{self.name}-{digest_bytes(described.encode())[:12]}-"

    @cached_property
    def jobs(self) -> dict[int, Job]:
        """Row -> job, for the recordings that have the modality."""
        shape = self.table.modalities[self.name].shape
        channels = (
            0 if self.kind != "series" else shape[0] if shape else _first_channels(self.files)
        )
        media = MediaSettings(
            **{key: getattr(self.settings, key) for key in MediaSettings.model_fields}
        )
        return {
            row: Job(self.kind, tuple(paths), media, self.windows[row], channels)
            for row, paths in enumerate(self.files)
            if paths
        }

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of one recording's array; a series of which no file is readable counts as one
        channel, damaged throughout.
        """
        modality = self.table.modalities[self.name]
        if self.kind != "series" or modality.shape:
            return input_shape(modality, self.settings)
        return max([1, *(job.channels for job in self.jobs.values())]), self.settings.series_steps


def fill_shelf(
    root: Path,
    table: SampleTable,
    name: str,
    settings: MediaSettings,
    arcs: Sequence[Arc] | None,
    pool: WorkerPool,
) -> Shelf:
    """Takes a modality's shelf from `root`, or fills it there: rows from an older shelf where the
    files are the same, others decoded.

    A shelf is filled under a hidden name and renamed when complete, under a lock: a half-written
    one is never found, and two processes do not fill the same. Raises FileError when the disk is
    full or a shelf was damaged since.
    """
    windows: list[Arc] = (
        list(arcs)
        if arcs is not None and table.modalities[name].kind in ("video", "audio")
        else [None] * len(table)
    )
    order = Order(
        table, name, settings, [table.paths(row, name) for row in range(len(table))], windows
    )
    folder = root / (order.prefix + digest_bytes(*(key.encode() for key in order.keys))[:20])
    decoded = 0
    if not folder.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{folder.name}.lock"):
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
        size = len(order.files) * _stride(order) / 2**20
        raise FileError(
            f"the store {folder} could not be written ({error.strerror or error}); it needs "
            f"{size:.0f} MiB. Free some disk space or choose another outputs folder."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return decoded


def _fill(folder: Path, order: Order, pool: WorkerPool) -> int:
    """Writes array.npy and index.json; returns how many recordings were decoded."""
    shape, dtype = order.shape, _dtype(order)
    entries: dict[int, dict[str, Any]] = {}
    with open(folder / "array.npy", "wb") as file:
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": (len(order.files), *shape),
        }
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.truncate(start + len(order.files) * _stride(order))

        def write(row: int, array: np.ndarray, entry: dict[str, Any]) -> None:
            # Written, not memory-mapped: a full disk is then an error and not a crash.
            file.seek(start + row * _stride(order))
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
                    },
                )
            else:
                entries[row] = {"path": result.path, "what": result.what, "remedy": result.remedy}
            if time.monotonic() - last > PROGRESS_SECONDS:
                last = time.monotonic()
                print(f"{order.table.name}: decoded {done} of {len(todo)} {order.name}", flush=True)
        file.flush()
        os.fsync(file.fileno())
    write_record(
        folder / "index.json",
        "cache",
        {"keys": order.keys, "entries": {str(row): entries[row] for row in sorted(entries)}},
    )
    return len(todo)


def _older_rows(root: Path, order: Order) -> Iterator[tuple[int, np.ndarray, dict[str, Any]]]:
    """(row, array, entry) of every recording that a shelf of the same settings already holds
    undamaged.
    """
    wanted = {order.keys[row]: row for row in order.jobs}
    for folder in sorted(root.glob(f"{glob.escape(order.prefix)}*")):
        try:
            index, array = (
                read_record(folder / "index.json", "cache"),
                np.load(folder / "array.npy", mmap_mode="r"),
            )
        except (OSError, ValueError):  # damaged since: its rows are decoded anew
            continue
        for source, entry in index["entries"].items():
            row = wanted.get(index["keys"][int(source)])
            if row is not None and "what" not in entry and array.shape[1:] == order.shape:
                del wanted[order.keys[row]]
                yield row, array[int(source)], entry


def _read(folder: Path, order: Order, decoded: int) -> Shelf:
    try:
        array = np.load(folder / "array.npy", mmap_mode="r")
        entries = {
            int(row): entry
            for row, entry in read_record(folder / "index.json", "cache")["entries"].items()
        }
    except (OSError, ValueError, KeyError) as error:
        raise FileError(
            f"{folder} was damaged since it was written ({error}); delete it, and it is decoded "
            "again."
        ) from error
    ids = order.table.frame["sample_id"].to_numpy()
    damage = [
        Damage(ids[row], order.name, entry["path"], entry["what"], entry["remedy"])
        for row, entry in entries.items()
        if "what" in entry
    ]
    good = {row: entry for row, entry in entries.items() if "what" not in entry}
    notes = {
        "repeated time stamps averaged": sum(entry["repeated"] for entry in good.values()),
        "long gaps of a clock bridged": sum(entry["gaps"] for entry in good.values()),
    }
    arcs: list[Arc] | None = None
    if order.kind == "series":
        arcs = [None] * len(order.files)
        for row, entry in good.items():
            arcs[row] = tuple(entry["arc"]) if entry["arc"] else None
    return Shelf(
        array, damage, arcs, {what: count for what, count in notes.items() if count}, decoded
    )


def _dtype(order: Order) -> np.dtype:
    return np.dtype(np.uint8 if order.kind in ("video", "image") else np.float32)


def _stride(order: Order) -> int:
    return int(np.prod(order.shape)) * _dtype(order).itemsize


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # the decoder says what is wrong with it
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _first_channels(files: Sequence[Sequence[Path]]) -> int:
    """How many channels the first readable file has; what is wrong with the others is found when
    they are decoded.
    """
    for paths in filter(None, files):
        try:
            return len(channel_names(paths[0]))
        except DamageError:
            continue
    return 0
