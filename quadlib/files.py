"""The one atomic write, JSON with a format version, content digests, where outputs live, locks, how
many cores there are.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

# The version of each kind of JSON file that a run holds; raised when an older reader would misread
# what is written now.
FORMATS = {
    "run": 2,
    "evaluation": 2,
    "crossval": 2,
    "diagnosis": 2,
    "cache": 3,
    "files": 2,
    "media": 2,
    "channels": 1,
}
OTHER = "Choose another outputs folder, or free it for writing."
GLANCE_SECONDS = 0.2  # for which a lock may seem taken because somebody looks whether it is
NO_DIGEST = "0" * 64  # what stands in a record's text in the place of its digest while that is made


class FileError(OSError):
    """A file could not be written or read back; the message names the file and a way out."""


@contextmanager
def atomic_write(path: str | Path) -> Iterator[IO[bytes]]:
    """Yields a binary file that replaces `path` whole, or leaves the old one untouched.

    The new content goes to a hidden file in the same folder (another folder may be another file
    system, where a rename is a copy), is flushed to the disk, renamed over the old one, and the
    folder is flushed too: after a crash at any point the path holds the old or the new content,
    never a part. Its name is this writer's alone, so of several writers the last one wins, whole.

    Args:
        path: File to replace; its folder is made where it is missing.

    Raises:
        FileError: The disk refused it; the temporary file is then removed.

    Example:
        >>> with atomic_write("outputs/notes.txt") as file:
        ...     _ = file.write(b"whole or not at all")
        >>> Path("outputs/notes.txt").read_text()
        'whole or not at all'
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
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


@contextmanager
def locked(path: str | Path, timeout_seconds: float = -1) -> Iterator[None]:
    """Holds a lock file, which the system frees when its holder dies; waits for it as long as is
    said, or for ever.

    Raises:
        filelock.Timeout: Another process holds it.
        FileError: It cannot be made there.
    """
    path = Path(path)
    make_folder(path.parent)
    lock = FileLock(path, timeout=timeout_seconds)
    try:
        lock.acquire()
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        raise FileError(f"{path.parent} cannot be locked ({_reason(error)}). {OTHER}") from error
    try:
        yield
    finally:
        lock.release()


def is_held(path: str | Path) -> bool:
    """Whether a process holds a lock file now; looks without writing, so also where nothing can
    be written.
    """
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def make_folder(path: str | Path) -> None:
    """Makes a folder with those above it, or raises FileError that says why there can be none."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise FileError(f"the folder {path} cannot be made ({_reason(error)}). {OTHER}") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def leftovers_of(path: str | Path) -> list[Path]:
    """Temporary files that killed writers of a file left; remove them only while nobody writes
    it.
    """
    path = Path(path)
    return list(path.parent.glob(f".{glob.escape(path.name)}.*.tmp"))


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
    write_text(path, _json_text(content))


def read_json(path: str | Path) -> Any:
    """Reads a JSON file; a torn or foreign file raises FileError naming it."""
    return _parsed(Path(path))[0]


def _json_text(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _parsed(path: Path) -> tuple[Any, bytes]:
    """What a JSON file holds, and its bytes."""
    try:
        data = path.read_bytes()
        return json.loads(data.decode()), data
    except (ValueError, RecursionError) as error:
        raise FileError(
            f"{path} is not valid JSON ({error}); it was not written by quadlib or was damaged "
            "since."
        ) from error


def write_record(path: str | Path, kind: str, content: Mapping[str, Any]) -> None:
    """Writes one of a run's JSON files atomically: its format version first, then the SHA-256 of
    its own text, so that a byte that changes later is noticed.

    Args:
        path: File to replace.
        kind: What the file is, one of FORMATS; `run` is written as the format `quadlib.run/2`.
        content: The entries of the JSON object, kept in their order.

    Raises:
        FileError: The disk refused it.

    Example:
        >>> write_record("outputs/a-run/evaluation.json", "evaluation", {"headline": "macro-F1 .9"})
        >>> read_record("outputs/a-run/evaluation.json", "evaluation")
        {'headline': 'macro-F1 .9'}
    """
    text = _json_text({"format": _format(kind), "sha256": NO_DIGEST, **content})
    write_text(path, text.replace(NO_DIGEST, hashlib.sha256(text.encode()).hexdigest(), 1))


def read_record(path: str | Path, kind: str) -> dict[str, Any]:
    """Reads what `write_record` wrote as the same kind, to the last byte, in the version that this
    quadlib knows; the version before had no digest, and is read without.

    Args:
        path: File to read.
        kind: What the file should be, one of FORMATS.

    Returns:
        The entries, without format and digest.

    Raises:
        FileError: It is no JSON, no object, has another format or none, or was changed since it was
            written.
    """
    (content, data), expected = _parsed(Path(path)), _format(kind)
    if not isinstance(content, dict):
        raise FileError(f"{path} holds a {type(content).__name__} where an object was expected.")
    if "format" not in content:
        raise FileError(
            f"{path} has no format, {expected} was expected; quadlib 0.1.0 or another program "
            "wrote it. Make it again with this version."
        )
    stated = content.get("sha256")
    before_digests = stated is None and content["format"] == _format(kind, before=1)
    if content["format"] != expected and not before_digests:
        raise FileError(
            f"{path} has the format {content['format']!r}, this version of quadlib reads "
            f"{expected}. Make it again, or read it with the version that wrote it."
        )
    if not before_digests and stated != _own_digest(data, stated):
        raise FileError(
            f"{path} was changed since quadlib wrote it: it does not have the SHA-256 that it "
            "states. Bring it back from a copy, or make it again."
        )
    return {name: value for name, value in content.items() if name not in ("format", "sha256")}


def _own_digest(data: bytes, stated: Any) -> str:
    """The digest of a record's text as it was before the digest was put into it."""
    return hashlib.sha256(data.replace(str(stated).encode(), NO_DIGEST.encode(), 1)).hexdigest()


def _format(kind: str, before: int = 0) -> str:
    return f"quadlib.{kind}/{FORMATS[kind] - before}"


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
    try:
        here = Path.cwd()
    except FileNotFoundError:
        raise FileError(
            "the working folder is not there any more; change to one that is (cd), or name an "
            "outputs folder by its whole path"
        ) from None
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


def patient_environment() -> dict[str, str]:
    """The environment of a child process whose torch threads sleep while they wait for each other,
    unless it says otherwise.

    By default they spin, and where other programs want the cores too, one that spins keeps out the
    one that is waited for: a training step of a small model took twenty times as long.
    """
    return {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}


def usable_cores() -> int:
    """The cores that this process may use, 1 at least; where the system knows no affinity (macOS),
    all of the machine's.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
