"""One modality of the store on disk: a folder with one array and an index, filled whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock

from quadlib.config import MediaSettings
from quadlib.data.media.damage import Damage, DamageError
from quadlib.data.media.decode import Decoded, Job
from quadlib.data.media.series import channel_names
from quadlib.data.media.workers import decode_all
from quadlib.data.samples import SampleTable, TableError
from quadlib.data.transforms import input_shape
from quadlib.files import digest_bytes, read_json, write_json

FORMAT = 1  # raised when a decoder's numbers change
PROGRESS_SECONDS = 30.0
Arc = tuple[float, float] | None


@dataclass(frozen=True)
class Shelf:
    """A modality's memory-mapped array (n, ...), its damage, of a series the arc windows, and what this call decoded."""

    array: np.ndarray
    damage: list[Damage]
    arcs: list[Arc] | None = None
    notes: dict[str, int] = field(default_factory=dict)
    decoded: int = 0


def fill_shelf(root: Path, table: SampleTable, name: str, settings: MediaSettings, arcs: Sequence[Arc] | None) -> Shelf:
    """Takes a modality's shelf from `root`, or decodes its files there in parallel.

    The folder's name is a digest of the files (path, size, time of change), the settings of this kind and the arc
    windows. It is filled under a hidden name and renamed when complete, under a lock: a half-written shelf is never
    found, and two processes do not fill the same one.
    """
    files = [table.paths(row, name) for row in range(len(table))]
    kind = table.modalities[name].kind
    windows: list[Arc] = list(arcs) if arcs is not None and kind in ("video", "audio") else [None] * len(table)
    folder = root / f"{name}-{_digest(table, name, settings, files, windows)[:20]}"
    if not folder.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{folder.name}.lock"):
            if not folder.is_dir():
                jobs = _jobs(table, name, settings, files, windows)
                return _read(folder, table, name, decoded=_fill(folder, table, name, settings, jobs))
    return _read(folder, table, name)


def _digest(table: SampleTable, name: str, settings: MediaSettings, files: Sequence[Sequence[Path]], windows: Sequence[Arc]) -> str:
    modality = table.modalities[name]
    chosen = {key: value for key, value in settings.model_dump().items()
              if key in MediaSettings.model_fields and key.startswith(f"{modality.kind}_")}
    stamps = [[(str(path), *_stamp(path)) for path in paths] for paths in files]
    identity = [FORMAT, name, modality.kind, modality.shape, chosen, stamps, windows, list(table.frame["sample_id"])]
    return digest_bytes(json.dumps(identity).encode())


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _jobs(table: SampleTable, name: str, settings: MediaSettings, files: Sequence[Sequence[Path]],
          windows: Sequence[Arc]) -> dict[int, Job]:
    modality = table.modalities[name]
    channels = modality.shape[0] if modality.kind == "series" and modality.shape else 0
    if modality.kind == "series" and not channels:
        channels = _first_channels(files)
    media = MediaSettings(**{key: getattr(settings, key) for key in MediaSettings.model_fields})
    return {row: Job(modality.kind, tuple(paths), media, windows[row], channels) for row, paths in enumerate(files) if paths}


def _first_channels(files: Sequence[Sequence[Path]]) -> int:
    """How many channels the first readable file has; what is wrong with the others is found when they are decoded."""
    for paths in files:
        try:
            return len(channel_names(paths[0])) if paths else 0
        except DamageError:
            continue
    return 0


def _fill(folder: Path, table: SampleTable, name: str, settings: MediaSettings, jobs: dict[int, Job]) -> int:
    modality = table.modalities[name]
    channels = next((job.channels for job in jobs.values()), 0)
    if modality.kind == "series" and not modality.shape:
        if not channels:
            raise TableError(f"{table.name}: none of the {len(jobs)} files of {name} can be read as a series")
        shape: tuple[int, ...] = (channels, settings.series_steps)
    else:
        shape = input_shape(modality, settings)
    dtype = np.dtype(np.uint8 if modality.kind in ("video", "image") else np.float32)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    damage: dict[int, Damage] = {}
    arcs: list[Arc] = [None] * len(table)
    notes: Counter[str] = Counter()
    rows, last = list(jobs), time.monotonic()
    with open(temporary / "array.npy", "wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (len(table), *shape)}
        np.lib.format.write_array_header_1_0(file, header)
        start, stride = file.tell(), int(np.prod(shape)) * dtype.itemsize
        file.truncate(start + len(table) * stride)
        for done, (position, result) in enumerate(decode_all(list(jobs.values())), start=1):
            row = rows[position]
            if isinstance(result, Decoded) and result.array.shape != shape:
                result = DamageError(jobs[row].paths[0], f"gives an array of {result.array.shape} where {shape} is expected")
            if isinstance(result, DamageError):
                damage[row] = Damage(table.frame["sample_id"].iloc[row], name, result.path, result.what, result.remedy)
                continue
            # Written, not memory-mapped: a full disk is then an error and not a crash.
            file.seek(start + row * stride)
            file.write(np.ascontiguousarray(result.array, dtype=dtype).tobytes())
            arcs[row] = result.arc
            notes["repeated time stamps averaged"] += result.repeated_stamps
            notes[f"gaps in a {name} clock bridged"] += result.long_gaps
            if time.monotonic() - last > PROGRESS_SECONDS:
                last = time.monotonic()
                print(f"{table.name}: decoded {done} of {len(jobs)} {name}", flush=True)
        file.flush()
        os.fsync(file.fileno())
    write_json(temporary / "index.json", {
        "damage": [asdict(damage[row]) for row in sorted(damage)], "arcs": arcs if modality.kind == "series" else None,
        "notes": {what: count for what, count in notes.items() if count}})
    os.replace(temporary, folder)
    return len(jobs)


def _read(folder: Path, table: SampleTable, name: str, decoded: int = 0) -> Shelf:
    index = read_json(folder / "index.json")
    arcs = [tuple(arc) if arc else None for arc in index["arcs"]] if index["arcs"] is not None else None
    array = np.load(folder / "array.npy", mmap_mode="r")
    return Shelf(array, [Damage(**item) for item in index["damage"]], arcs, index["notes"], decoded)
