"""What is wrong with a recording: said of one file at a time, reported for the whole table at
once.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

RESTORE = "copy it again from the original"


class DamageError(ValueError):
    """A file cannot be used: which one, what is wrong with it, and what would fix it."""

    def __init__(self, path: str | Path, what: str, remedy: str = RESTORE) -> None:
        super().__init__(path, what, remedy)  # all three, so that the error survives pickling
        self.path, self.what, self.remedy = str(path), what, remedy

    def __str__(self) -> str:
        return f"{self.path}: {self.what}; {self.remedy}"


@dataclass(frozen=True)
class Damage:
    """One modality of one recording that cannot be used; sample_id, modality and path are "" where
    they do not apply.
    """

    sample_id: str
    modality: str
    path: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.sample_id} {self.modality} {self.path}: {self.what}; {self.remedy}".strip()


@contextmanager
def open_regular(path: Path) -> Iterator[IO[bytes]]:
    """Opens a non-empty regular file for reading, so that no decoder is ever given a name to
    interpret.

    A pipe would block and a device never ends, so the file's type is looked at before it is opened;
    decoders given a string would follow URLs. Raises DamageError.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            kinds = {
                stat.S_IFDIR: "a folder",
                stat.S_IFIFO: "a named pipe",
                stat.S_IFSOCK: "a socket",
            }
            kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
            raise DamageError(
                path, f"is {kind}, not a file", "put the recording's file in its place"
            )
        if status.st_size == 0:
            raise DamageError(path, "is empty (0 bytes)")
        file = open(path, "rb")  # noqa: SIM115 - closed below, its opening alone is guarded here
    except FileNotFoundError:
        near = _written_otherwise(Path(path))
        raise DamageError(
            path,
            "does not exist" + (f", but {near} does" if near else ""),
            "write its name as it is there"
            if near
            else "bring it back, or leave its place in the table empty",
        ) from None
    except DamageError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DamageError(
            path, f"cannot be opened ({reason})", "check its name and its permissions"
        ) from None
    with file:
        yield file


def _written_otherwise(path: Path) -> Path | None:
    """A file that differs from a missing one in upper and lower case alone."""
    if path.exists():
        return path
    folder = path.parent if path.parent.exists() else _written_otherwise(path.parent)
    if folder is None or not folder.is_dir() or folder == path:
        return None
    return next(
        (entry for entry in folder.iterdir() if entry.name.casefold() == path.name.casefold()), None
    )


def _kind_of(what: str) -> str:
    """A cause without the values, lines and counts that differ from file to file."""
    return re.sub(r"'[^']*'|\d+", "", what)


def report(damage: Sequence[Damage], most: int = 50, *, maskable: bool = True) -> str:
    """All damage as text, grouped by modality and cause, each group with its remedy once and at
    most `most` files; then, where recordings are `maskable`, having other modalities, the way out.
    """
    groups: dict[tuple[str, str, str], list[Damage]] = {}
    for item in damage:
        groups.setdefault((item.modality, _kind_of(item.what), item.remedy), []).append(item)
    lines = []
    for (modality, _, remedy), items in groups.items():
        what = items[0].what + ("" if len({item.what for item in items}) == 1 else ", in the first")
        where = [" ".join(part for part in (item.sample_id, item.path) if part) for item in items]
        subject = f"{modality}: " if modality else ""
        if len(items) == 1:
            lines.append(
                "  " + subject + (f"{where[0]}: " if where[0] else "") + f"{what}; {remedy}"
            )
            continue
        lines.append(f"  {subject}{len(items)} recordings: {what}; {remedy}")
        lines += [f"    {place}" for place in where[:most]]
        if len(items) > most:
            lines.append(f"    and {len(items) - most} more")
    if maskable and any(item.modality for item in damage):
        lines.append(
            'Fix these, or set on_damage="drop_modality" to go on without them, masked and counted.'
        )
    return "\n".join(lines)
