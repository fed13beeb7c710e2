"""The one atomic write, content digests, and where outputs live."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


class FileError(OSError):
    """A file could not be written or read back; the message names the file and a way out."""


@contextmanager
def atomic_write(path: str | Path) -> Iterator[IO[bytes]]:
    """Yields a binary file that replaces `path` whole, or leaves the old one untouched.

    The new content goes to a hidden file in the same folder (another folder may be another file
    system, where a rename is a copy), is flushed to the disk, renamed over the old one, and the
    folder is flushed too: after a crash at any point the path holds the old or the new content,
    never a part. Raises FileError when the disk refuses it; the temporary file is then removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise FileError(
            f"{path} could not be written ({error.strerror or error}); the old file, if any, is "
            "intact. Free some disk space or choose another outputs folder."
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: str | Path, content: bytes) -> None:
    """Replaces a file's content atomically."""
    with atomic_write(path) as file:
        file.write(content)


def write_text(path: str | Path, content: str) -> None:
    """Replaces a text file's content atomically, as UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: str | Path, content: Any) -> None:
    """Writes JSON atomically, keys in the given order; NaN and infinity are refused, since JSON has
    none.
    """
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Reads a JSON file; a torn or foreign file raises FileError naming it."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise FileError(
            f"{path} is not valid JSON ({error}); it was not written by quadlib or was damaged "
            "since."
        ) from error


def digest_bytes(*parts: bytes) -> str:
    """SHA-256 of the parts, each framed by its length so that moving a boundary changes the
    digest.
    """
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "little"))
        sha.update(part)
    return sha.hexdigest()


def digest_file(path: str | Path, *, progress: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a whole file, read in pieces of 1 MiB."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            sha.update(piece)
            if progress is not None:
                progress(len(piece))
    return sha.hexdigest()


def project_root() -> Path:
    """The nearest folder at or above the working folder that holds `notebooks` and `outputs`, else
    the working folder.

    JupyterLab starts a kernel in `notebooks/`, papermill where it was called: both must find the
    same outputs.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "notebooks").is_dir() and (folder / "outputs").is_dir():
            return folder
    return here


def outputs_folder(outputs: str = "") -> Path:
    """The outputs folder: the one named, else $QUADLIB_OUTPUTS, else `outputs` under the project's
    root.
    """
    chosen = outputs or os.environ.get("QUADLIB_OUTPUTS", "")
    return Path(chosen).expanduser().resolve() if chosen else project_root() / "outputs"
