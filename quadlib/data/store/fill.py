"""Filling one modality of the store: a folder with one array and an index, whole or not there.

What a killed process had written is taken up by the next one that asks for the same.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.workers import WorkerPool
from quadlib.data.store.contents import Contents
from quadlib.data.store.order import Order
from quadlib.files import FileError, digest_file, read_record, write_record

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 30.0
OTHER_CHANNELS = "has several channels, and none by a name that most recordings have"
NAMES_ALIKE = (
    "call what was measured alike in every recording, or choose channels that all have by "
    "series_channels"
)
JOURNAL = "rows.jsonl"  # of an entry that is being filled


class Rows:
    """The array of an entry that is being filled, with a journal of the rows that it holds.

    Those of an interrupted filling are taken up, where their bytes are what was journalled.
    """

    def __init__(self, order: Order, array: IO[bytes], journal: IO[bytes]) -> None:
        self.order, self.array, self.journal = order, array, journal
        self.entries: dict[int, dict[str, Any]] = {}
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(order.kind.dtype)),
            "fortran_order": False,
            "shape": (len(order.files), *order.shape),
        }
        np.lib.format.write_array_header_1_0(array, header)
        self.start = array.tell()
        array.truncate(self.start + len(order.files) * order.stride)
        self._take_up()

    def _take_up(self) -> None:
        self.journal.seek(0)
        whole = 0
        for line in self.journal:
            try:
                row, digest, entry = json.loads(line)
            except ValueError:  # torn by the kill, and so is all that follows
                break
            whole += len(line)
            self.array.seek(self.start + row * self.order.stride)
            content = self.array.read(self.order.stride)
            if hashlib.sha256(content).hexdigest() == digest:
                self.entries[row] = entry
        self.journal.truncate(whole)

    def write(self, row: int, array: np.ndarray, entry: dict[str, Any]) -> None:
        """Keeps a row, and what the index will say of it."""
        content = np.ascontiguousarray(array, dtype=self.order.kind.dtype).tobytes()
        # Written, not memory-mapped: a full disk is then an error and not a crash.
        self.array.seek(self.start + row * self.order.stride)
        self.array.write(content)
        self.array.flush()
        digest = hashlib.sha256(content).hexdigest()
        self.journal.write(json.dumps([row, digest, entry]).encode() + b"\n")
        self.journal.flush()
        self.entries[row] = entry


def fill_whole(folder: Path, order: Order, pool: WorkerPool) -> int:
    """Makes the entry of an order; returns how many recordings were decoded. Raises FileError when
    the disk refuses it.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    try:
        temporary.mkdir(exist_ok=True)
        decoded = _fill(temporary, order, pool)
        (temporary / JOURNAL).unlink()
        os.replace(temporary, folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        size = len(order.files) * order.stride / 2**20
        raise FileError(
            f"the store {folder} could not be written ({error.strerror or error}); it needs "
            f"{size:.0f} MiB. Free some disk space or choose another outputs folder."
        ) from error
    return decoded


def _fill(folder: Path, order: Order, pool: WorkerPool) -> int:
    """Writes array.npy and index.json; returns how many recordings were decoded."""
    (folder / "array.npy").touch()
    with open(folder / "array.npy", "r+b") as file, open(folder / JOURNAL, "a+b") as journal:
        rows = Rows(order, file, journal)
        for row, array, entry in _older_rows(folder.parent, order, set(rows.entries)):
            rows.write(row, array, entry)
        todo = [row for row in order.jobs if row not in rows.entries]
        damaged: dict[int, dict[str, Any]] = {}
        progress = Progress(order, len(todo))
        for position, result in pool.decode_all([order.jobs[row] for row in todo]):
            row = todo[position]
            if isinstance(result, DamageError):
                place = [str(Path(path)) for path in order.files[row]].index(result.path)
                damaged[row] = {"file": place, "what": result.what, "remedy": result.remedy}
            elif (kept := order.kept(result.array)).shape != order.shape:
                damaged[row] = {"file": 0, "what": OTHER_CHANNELS, "remedy": NAMES_ALIKE}
            else:
                entry = {
                    "arc": result.arc,
                    "repeated": result.repeated_stamps,
                    "gaps": result.long_gaps,
                    "facts": dict(result.facts),
                }
                rows.write(row, kept, entry)
            progress.another()
        os.fsync(file.fileno())
    entries = rows.entries | damaged
    write_record(
        folder / "index.json",
        "cache",
        {
            "array": digest_file(folder / "array.npy"),
            "seconds_each": progress.seconds_each,
            "keys": order.keys,
            "entries": {str(row): entries[row] for row in sorted(entries)},
        },
    )
    return len(todo)


class Progress:
    """A line now and then about a long filling, with the time that is left."""

    def __init__(self, order: Order, count: int) -> None:
        self.order, self.count, self.done = order, count, 0
        self.began = self.last = time.monotonic()

    @property
    def seconds_each(self) -> float:
        """How long a recording took, by all processes together; 0 where none was decoded."""
        return (time.monotonic() - self.began) / self.done if self.done else 0.0

    def another(self) -> None:
        """One more recording is done."""
        self.done, now = self.done + 1, time.monotonic()
        if now - self.last > PROGRESS_SECONDS:
            self.last = now
            left = self.seconds_each * (self.count - self.done)
            table, name = self.order.table, self.order.name
            log.info(
                f"{table.name}: {self.order.verb} {self.done} of {self.count} {name}, about "
                f"{left:.0f} s left"
            )


def _older_rows(
    root: Path, order: Order, done: set[int]
) -> Iterator[tuple[int, np.ndarray, dict[str, Any]]]:
    """(row, array, what the index says) of every recording not yet done that an entry of the same
    settings already holds undamaged.
    """
    wanted: dict[str, list[int]] = {}
    for row in order.jobs:
        if row not in done:
            wanted.setdefault(order.keys[row], []).append(row)
    for folder in sorted(root.glob(f"{glob.escape(order.prefix)}*")):
        try:
            index, array = open_folder(folder, order.contents)
        except (OSError, ValueError, KeyError):  # damaged since: its rows are decoded anew
            continue
        for source, entry in index["entries"].items():
            if "what" not in entry and array.shape[1:] == order.shape:
                for row in wanted.pop(index["keys"][int(source)], []):
                    yield row, array[int(source)], entry


def open_folder(folder: Path, contents: Contents) -> tuple[dict[str, Any], np.ndarray]:
    """Index and array of an entry. Raises ValueError where the array is not what was written."""
    index = read_record(folder / "index.json", "cache")
    if contents.digest(folder / "array.npy") != index["array"]:
        raise ValueError("array.npy is not what was written")
    return index, np.load(folder / "array.npy", mmap_mode="r")
