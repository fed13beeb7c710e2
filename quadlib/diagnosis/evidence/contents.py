"""Which samples hold the same content, which hold nothing, and which files are not there; read
cheaply, once.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from quadlib.diagnosis import conventions
from quadlib.diagnosis.evidence.features import table_arrays
from quadlib.diagnosis.limits import DEFAULT, Limits
from quadlib.diagnosis.subject import Unavailable

if TYPE_CHECKING:
    from quadlib.diagnosis.evidence.examination import Examination


@dataclass
class Contents:
    """What one modality's rows hold.

    codes: (n,) int64, equal for equal content; -1 where absent, constant or alone for certain.
    constant: rows of one single value. absent: rows without the modality. missing, empty: files
    that are not there or hold nothing, by row. telling: whether equal content means the same
    sample (long enough, not a few repeated codes).
    """

    codes: np.ndarray
    constant: np.ndarray
    absent: np.ndarray
    telling: bool = True
    missing: dict[int, str] = field(default_factory=dict)
    empty: dict[int, str] = field(default_factory=dict)
    unread: int = 0

    @property
    def repeated(self) -> np.ndarray:
        """Rows whose content another row holds too."""
        found, inverse, counts = np.unique(self.codes, return_inverse=True, return_counts=True)
        return (counts[inverse] > 1) & (self.codes >= 0)


def contents_of(x: Examination) -> dict[str, Contents]:
    """Contents of every modality of the table, from its arrays or files; raises Unavailable where
    it has neither.
    """
    arrays = table_arrays(x, partly=True)
    found = {
        name: contents_of_array(array, place, x.limits) for name, (array, place) in arrays.items()
    }
    for name, paths in file_paths(x).items():
        if name not in found:
            found[name] = _of_files(paths, x.deep, x.limits)
    if not found:
        raise Unavailable("the table has neither arrays nor paths of files")
    return found


def whole_rows(contents: Mapping[str, Contents]) -> np.ndarray:
    """(n,) int64: equal for samples whose every modality is equal, -1 where some content is
    alone or cannot tell.
    """
    parts = list(contents.values())
    together = np.stack([np.where(part.absent, -2, part.codes) for part in parts], axis=1)
    telling = np.array([part.telling for part in parts])
    # of several modalities, one that is left alone may coincide by nature
    comparable = (together != -1).all(axis=1) & (
        (together[:, telling] >= 0).sum(axis=1) >= max(1, min(2, telling.sum()))
    )
    codes = np.unique(together, axis=0, return_inverse=True)[1].reshape(-1)
    return np.where(comparable, codes, -1)


def file_paths(x: Examination) -> dict[str, list[list[str]]]:
    """Modality -> files of every row, absolute: of the table's modalities, else of columns that are
    named like files.
    """
    table, frame = x.subject.table, x.frame
    modalities = getattr(table, "modalities", None)
    arrays = getattr(table, "arrays", None) or {}
    root = getattr(table, "root", None)
    names: list[Any] = (
        [name for name in modalities if name not in arrays]
        if isinstance(modalities, Mapping)
        else [
            name
            for name in frame.columns
            if str(name).lower() in conventions.FILE_COLUMNS or str(name).lower().endswith("_path")
        ]
    )
    prefix = f"{root}{os.sep}" if root is not None else ""
    found = {}
    for name in names:
        if name in frame and all(isinstance(text, str) for text in frame[name]):
            found[str(name)] = [
                [prefix + part for part in text.split("|")] if text else [] for text in frame[name]
            ]
    return found


def contents_of_array(array: np.ndarray, place: np.ndarray, limits: Limits = DEFAULT) -> Contents:
    """Contents of the table's rows whose place in an array (n, ...) is given, -1 where absent."""
    flat = np.ascontiguousarray(array).reshape(len(array), -1)
    constant = (
        (flat == flat[:, :1]).all(axis=1) if flat.shape[1] > 1 else np.zeros(len(flat), dtype=bool)
    )
    seen: dict[bytes, int] = {}
    codes = np.array([seen.setdefault(row.tobytes(), len(seen)) for row in flat], dtype=np.int64)
    absent = place < 0
    telling = (
        flat.shape[1] >= limits.telling_values
        and len(np.unique(flat[:64])) >= limits.telling_levels
    )
    finite = (
        np.isfinite(flat).all(axis=1)
        if np.issubdtype(flat.dtype, np.floating)
        else np.ones(len(flat), dtype=bool)
    )
    codes[~finite] = -1  # rows of NaN have equal bytes and say nothing
    here = np.where(absent, 0, place)
    held = constant[here] & ~absent if len(flat) else np.zeros(len(place), dtype=bool)
    return Contents(
        np.where(absent | held, -1, codes[here]) if len(flat) else np.full(len(place), -1),
        held,
        absent,
        telling,
    )


def _of_files(paths: list[list[str]], deep: bool, limits: Limits) -> Contents:
    n = len(paths)
    absent = np.array([not files for files in paths], dtype=bool)
    result = Contents(np.full(n, -1, dtype=np.int64), np.zeros(n, dtype=bool), absent)
    sizes: list[tuple[int, ...]] = []
    for row, files in enumerate(paths):
        own = []
        for path in files:
            try:
                own.append(os.stat(path).st_size)
            except (OSError, ValueError):
                result.missing[row] = path
                continue
            if own[-1] == 0:
                result.empty[row] = path
        sizes.append(tuple(own))
    keys: list[Any] = list(sizes)  # a size, and after it a tail, of its own is a content of its own
    readable = [
        row
        for row, files in enumerate(paths)
        if files and row not in result.missing and row not in result.empty
    ]
    deadline = time.monotonic() + limits.file_seconds
    edge = limits.file_edge_bytes
    # files of one format may begin and end alike, so what is alike there is read in full
    ends = () if deep else (partial(_tail, edge=edge), partial(_head, edge=edge))
    for read in (*ends, _whole):
        shared = Counter(keys[row] for row in readable)
        for place, row in enumerate(readable):
            if shared[keys[row]] == 1:
                continue
            if not deep and time.monotonic() > deadline:
                result.unread += len(readable) - place
                return result
            keys[row] = (
                keys[row],
                tuple(read(path, size) for path, size in zip(paths[row], sizes[row], strict=True)),
            )
    shared = Counter(keys[row] for row in readable)
    seen: dict[Any, int] = {}
    for row in readable:
        if shared[keys[row]] > 1:
            result.codes[row] = seen.setdefault(keys[row], len(seen))
    return result


def _whole(path: str, size: int) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _tail(path: str, size: int, edge: int) -> bytes:
    return _piece(path, max(0, size - edge), edge)


def _head(path: str, size: int, edge: int) -> bytes:
    return _piece(path, 0, edge)


def _piece(path: str, start: int, length: int) -> bytes:
    """Digest of a piece of a file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return hashlib.blake2b(os.pread(descriptor, length, start), digest_size=16).digest()
    finally:
        os.close(descriptor)


def sample_ids(x: Examination, rows: Any) -> list[str]:
    """Names of rows for people."""
    try:
        if "sample_id" in x.frame:
            return [str(name) for name in x.frame["sample_id"].iloc[list(rows)]]
    except Unavailable:
        pass
    return [f"row {row}" for row in rows]
