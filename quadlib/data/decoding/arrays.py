"""Arrays that numpy wrote, looked at before memory is taken for what they declare."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from quadlib.data.decoding.damage import DamageError, open_regular
from quadlib.data.decoding.expansion import most_bytes

COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # all that numpy writes
HEADERS: dict[tuple[int, int], Callable[[IO[bytes]], tuple[tuple[int, ...], bool, np.dtype]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,  # differs in names of columns alone
}
PICKLED = "holds Python objects (a pickle), which are never read"
REMEDIES = {PICKLED: "save text as numpy.array(values, dtype=str)"}
BROKEN = (ValueError, OSError, EOFError, RuntimeError, NotImplementedError, KeyError, zlib.error)


def read_npz(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of an .npz, and what is wrong with the others, which are left out.

    Nothing is unpickled, and nothing is allocated that the file does not hold. Raises DamageError.
    """
    arrays: dict[str, np.ndarray] = {}
    problems: list[str] = []
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            _check_expansion(path, archive)
            for entry in archive.infolist():
                name = entry.filename.removesuffix(".npy")
                with archive.open(entry) as stream:
                    problem = declared_problem(stream, entry.file_size)
                if problem:
                    problems.append(f"{name} {problem}; {REMEDIES.get(problem, 'write it again')}")
                    continue
                with archive.open(entry) as stream:
                    arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
    except DamageError:
        raise
    except MemoryError:
        raise DamageError(path, "needs more memory than there is", "split it") from None
    except (*BROKEN, zipfile.BadZipFile) as error:
        raise DamageError(
            path, f"is not a readable .npz file ({error})", "write it again with numpy.savez"
        ) from error
    return arrays, problems


def declared_problem(stream: IO[bytes], size: int) -> str:
    """What is wrong with the header of an .npy of `size` bytes: "" where it declares just the
    bytes that follow it. Raises ValueError where there is no header.
    """
    version = np.lib.format.read_magic(stream)
    if version not in HEADERS:
        raise ValueError(f"version {version[0]} of the format is not known")
    shape, _, kind = HEADERS[version](stream)
    if kind.hasobject:
        return PICKLED
    declared, held = math.prod(shape) * kind.itemsize, size - stream.tell()
    if declared != held:
        return f"declares {declared} bytes and has {held}: it is cut short or damaged"
    return ""


def _check_expansion(path: Path, archive: zipfile.ZipFile) -> None:
    entries = archive.infolist()
    if any(entry.compress_type not in COMPRESSIONS for entry in entries):
        raise DamageError(path, "is compressed as numpy never does", "write it with numpy.savez")
    held = sum(entry.compress_size for entry in entries)
    expanded = sum(entry.file_size for entry in entries)
    if expanded > most_bytes(held):
        raise DamageError(
            path,
            f"would expand {expanded // max(held, 1)}-fold, to {expanded / 2**20:,.0f} MiB",
            "if that is meant, write it with numpy.savez, which does not compress",
        )
