"""The decoded recordings: each file is decoded once, into memory-mapped arrays that later opens
find ready.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from quadlib.config import TrainSettings
from quadlib.data.decoding.damage import Damage, report
from quadlib.data.decoding.workers import WorkerPool
from quadlib.data.kinds import has_copies, kind_of
from quadlib.data.samples import Modality, SampleTable, TableError
from quadlib.data.store.cache import CacheEntry, open_entry
from quadlib.data.store.contents import Contents
from quadlib.files import digest_bytes, outputs_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MediaStore:
    """Raw arrays of every modality, one row a recording of `table`, and which of them are there.

    arrays: name -> (n, ...); video uint8 (T, 2, H, W), image uint8 (V, 3, H, W), audio float32 (2,
    mel, frames), series float32 (channels, steps), vector float32 (d,). A row whose modality is
    absent holds zeros that nothing may read: `present` (n, M) says which. `damage`: what could not
    be used, and is therefore absent. `facts`: name -> per row, what was understood of its file.
    `digests`: path below the table's root -> SHA-256 of the file's content. `seconds_each`: name ->
    how long a recording took to decode, or to encode, when its array was made; 0 where it was taken
    from another. `copies`: name -> features of changed copies of the recordings, (n, ...) each.
    """

    table: SampleTable
    arrays: Mapping[str, np.ndarray]
    damage: list[Damage]
    facts: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    seconds_each: Mapping[str, float] = field(default_factory=dict)
    copies: Mapping[str, list[np.ndarray]] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the table, with the contents of its files in the place of their paths."""
        contents = {
            name: [" ".join(map(self.digest, parts)) for parts in self.table.files(name)]
            for name in self.table.modalities
            if name not in self.table.arrays
        }
        return digest_bytes(self.table.with_columns(**contents).fingerprint.encode())

    def digest(self, path: str) -> str:
        """SHA-256 of the content of one of the table's files, "" where it cannot be read."""
        return self.digests.get(path, "")

    @property
    def present(self) -> np.ndarray:
        """Which modalities every recording has: bool (n, M), in the order of `table.modalities`."""
        return self.table.present

    @classmethod
    def open(
        cls, table: SampleTable, settings: TrainSettings, folder: str | Path | None = None
    ) -> MediaStore:
        """The store of a table: decoded now, or taken from `folder` (default: outputs/store) where
        that was done before.

        Files are known by their contents: a changed file is decoded again; a new split, a copy or
        a touch decodes nothing. With on_damage="error" any damage raises one TableError that lists
        all of it; with "drop_modality" a damaged modality is masked and counted in one line. A
        recording that has no modality left is an error always.
        """
        return cls.checked(decode_table(table, settings, folder), settings)

    @classmethod
    def checked(cls, store: MediaStore, settings: TrainSettings) -> MediaStore:
        """The same store, where on_damage allows what it holds; raises TableError else."""
        table = store.table
        if store.damage and settings.on_damage == "error":
            raise TableError(f"{table.name}: {count_damage(store.damage)}\n{report(store.damage)}")
        bare = store.table.frame["sample_id"].to_numpy()[~store.present.any(axis=1)]
        if len(bare):
            raise TableError(
                f"{table.name}: {len(bare)} recording(s) have no usable modality: "
                f"{', '.join(bare[:20])}"
                + (f" and {len(bare) - 20} more" if len(bare) > 20 else "")
                + "; leave them out of the table"
                + ("\n" + report(store.damage) if store.damage else "")
            )
        if store.damage:
            dropped = Counter(item.modality for item in store.damage)
            log.warning(
                f"{table.name}: masked as damaged: "
                f"{', '.join(f'{count} {name}' for name, count in dropped.items())}"
            )
        return store

    def __getstate__(self) -> dict[str, Any]:
        """A loader process opens the files itself instead of receiving their contents."""
        arrays = {name: _place_of(array) for name, array in self.arrays.items()}
        return {
            "table": self.table,
            "arrays": arrays,
            "damage": self.damage,
            "facts": {},
            "digests": {},
            "seconds_each": {},
            "copies": {name: list(map(_place_of, them)) for name, them in self.copies.items()},
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        arrays = {name: _at(value) for name, value in state["arrays"].items()}
        copies = {name: list(map(_at, them)) for name, them in state["copies"].items()}
        for name, value in {**state, "arrays": arrays, "copies": copies}.items():
            object.__setattr__(self, name, value)


def _place_of(array: np.ndarray) -> np.ndarray | Path:
    """Where an array lies on disk, or itself."""
    return Path(str(array.filename)) if isinstance(array, np.memmap) else array


def _at(place: np.ndarray | Path) -> np.ndarray:
    return np.load(place, mmap_mode="r") if isinstance(place, Path) else place


def count_damage(damage: Sequence[Damage]) -> str:
    """The headline over a report: how much is damaged in how many recordings."""
    recordings = len({item.sample_id for item in damage})
    return f"{len(damage)} problem(s) in {recordings} recording(s)"


def decode_table(
    table: SampleTable,
    settings: TrainSettings,
    folder: str | Path | None = None,
    *,
    verify: bool = False,
) -> MediaStore:
    """The store with all damage collected and masked, whatever on_damage says; raises nothing for
    damage. With `verify` every byte is read again, and a file that changed although no write was
    recorded is damage.
    """
    root = Path(folder) if folder is not None else outputs_folder(settings.outputs) / "store"
    started, arrays, damage = time.monotonic(), {}, []
    entries: dict[str, CacheEntry] = {}
    contents = Contents(root, verify=verify)
    modalities = dict(table.modalities)
    copies: dict[str, list[CacheEntry]] = {}
    # Series first: the arc window of a recording's sensor applies to its video and its sound.
    with WorkerPool() as pool:
        for name in sorted(modalities, key=lambda name: not kind_of(modalities[name]).gives_arc):
            if name in table.arrays:
                arrays[name], damaged = rows_of_array(table, name)
            else:
                arcs = next(
                    (entry.arcs for entry in entries.values() if entry.arcs and any(entry.arcs)),
                    None,
                )
                entry = open_entry(root, table, name, settings, arcs, pool, contents)
                entries[name], arrays[name], damaged = entry, entry.array, entry.damage
                if settings.feature_copies and has_copies(modalities[name]):
                    copies[name] = [
                        open_entry(root, changed, name, settings, arcs, pool, contents)
                        for changed in _copies(table, name, settings.feature_copies)
                    ]
                modalities[name] = _with_channels(modalities[name], entry)
            damage += damaged
    _announce(table, entries, copies, time.monotonic() - started)
    digests = {
        part: digest
        for name, entry in entries.items()
        for row in zip(table.files(name), entry.digests, strict=True)
        for part, digest in zip(*row, strict=True)
    }
    contents.save()
    damage += _altered(table, list(entries), contents)
    order = list(modalities)
    damage.sort(key=lambda item: order.index(item.modality))
    masked = replace(mask(table, damage), modalities=modalities) if entries or damage else table
    facts = {name: entry.facts for name, entry in entries.items()}
    seconds = {name: entry.seconds_each for name, entry in entries.items()}
    in_order = {name: arrays[name] for name in order}
    changed = {name: [copy.array for copy in made] for name, made in copies.items()}
    return MediaStore(masked, in_order, damage, facts, digests, seconds, changed)


def _copies(table: SampleTable, name: str, count: int) -> Iterator[SampleTable]:
    """The table with each changed copy of a modality."""
    modalities = table.modalities
    for number in range(1, count + 1):
        changed = replace(modalities[name], copy=number)
        yield replace(table, modalities={**modalities, name: changed})


def _altered(table: SampleTable, names: Sequence[str], contents: Contents) -> Iterator[Damage]:
    """The files that changed although no write was recorded."""
    base = str(table.root or "")
    for name in names if contents.altered else []:
        for sample_id, parts in zip(table.frame["sample_id"], table.files(name), strict=True):
            for path in [os.path.join(base, part) for part in parts]:
                if path in contents.altered:
                    yield Damage(
                        sample_id,
                        name,
                        path,
                        "holds other bytes than when it was read before, though its size and times "
                        "are the same, as where a disk fails",
                        "bring it back from a copy, or touch it if its bytes are right",
                    )


def _with_channels(modality: Modality, entry: CacheEntry) -> Modality:
    """A series whose channels only its files could tell, and whose crop settings may ask for."""
    if kind_of(modality).channels is None:
        return modality
    shape = modality.shape or entry.array.shape[1:2]
    return replace(modality, shape=shape, channels=entry.channels, crop=entry.crop)


def mask(table: SampleTable, damage: Sequence[Damage]) -> SampleTable:
    """The table with every damaged modality marked as absent."""
    columns: dict[str, Any] = {}
    for name in table.modalities:
        damaged = {item.sample_id for item in damage if item.modality == name}
        if damaged:
            empty: Any = -1 if name in table.arrays else ""
            columns[name] = table.frame[name].mask(table.frame["sample_id"].isin(damaged), empty)
    return table.with_columns(**columns) if columns else table


def rows_of_array(table: SampleTable, name: str) -> tuple[np.ndarray, list[Damage]]:
    """A modality that came as an array, in the order of the table's rows, float32 or uint8; values
    that are not finite are damage.
    """
    array, rows = np.asarray(table.arrays[name]), table.frame[name].to_numpy().astype(np.int64)
    if array.dtype != np.uint8:
        array = array.astype(np.float32, copy=False)
    present = rows >= 0
    if not np.array_equal(rows, np.arange(len(array))):
        array = np.where(
            present.reshape(-1, *[1] * (array.ndim - 1)), array[rows], array.dtype.type(0)
        )
    finite = np.isfinite(array).reshape(len(array), -1)
    damage = []
    for row in np.flatnonzero(present & ~finite.all(axis=1)):
        what = (
            f"{int((~finite[row]).sum())} of {finite.shape[1]} values are not finite (NaN or inf)"
        )
        damage.append(
            Damage(
                table.frame["sample_id"].iloc[row],
                name,
                "",
                what,
                "correct the array, or "
                + (
                    "fill the row with NaN, and it counts as missing"
                    if len(table.modalities) > 1
                    else "save it without these rows"
                ),
            )
        )
    return array, damage


def clock_lines(facts: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """For every modality that was cut to its log's window, how long after the log its files start:
    the median, and the spread as a robust standard deviation.
    """
    lines = []
    for name, rows in facts.items():
        offsets = np.array([row["offset_s"] for row in rows if "offset_s" in row])
        if len(offsets):
            spread = 1.4826 * np.median(np.abs(offsets - np.median(offsets)))
            lines.append(f"{name} starts {np.median(offsets):.2f} +- {spread:.2f} s after the log")
    return lines


def _announce(
    table: SampleTable,
    entries: Mapping[str, CacheEntry],
    copies: Mapping[str, Sequence[CacheEntry]],
    seconds: float,
) -> None:
    """One line about what was decoded; silent where everything was ready."""
    decoded = {name: entry.decoded for name, entry in entries.items() if entry.decoded}
    new = [copy for others in copies.values() for copy in others if copy.decoded]
    if not decoded and not new:
        return
    notes = sum((Counter(entry.notes) for entry in entries.values()), Counter())
    extra = "".join(f", {count} {what}" for what, count in notes.items())
    extra += "".join(f"; {line}" for line in clock_lines({n: e.facts for n, e in entries.items()}))
    damaged = sum(len(entry.damage) for entry in entries.values())
    readers = {name: table.modalities[name].encoder for name in decoded}
    made = ", ".join(
        f"{count} {name}" + (f" by {readers[name]}" if readers[name] else "")
        for name, count in decoded.items()
    )
    for name, others in copies.items():
        if count := sum(copy.decoded for copy in others):
            made += f"{', ' if made else ''}{count} changed {name}"
    size = sum(one.array.nbytes for one in [*(entries[name] for name in decoded), *new]) / 2**20
    log.info(
        f"{table.name}: decoded {len(table)} recordings ({made}) in {seconds:.1f} s, "
        f"{size:.1f} MiB, {damaged} damaged{extra}"
    )
