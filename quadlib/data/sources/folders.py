"""Recordings found in a folder tree by the names of their folders; no file is opened and no link
leaves the tree.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from re import Pattern

from quadlib.data.samples import TableError

SEPARATOR = "|"


@dataclass
class Found:
    """What a tree holds: `parts` maps a recording's folder, relative to the root, to its files
    relative to that folder.
    """

    root: Path
    parts: dict[str, list[str]] = field(default_factory=dict)
    manifests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def existing_folder(path: str | Path, what: str) -> Path:
    """The folder at a path, resolved; raises TableError for a URL, a missing path and a file."""
    text = str(path)
    if "://" in text or "\x00" in text:
        raise TableError(
            f"{what}: {text!r} is not a folder of this machine; download the recordings and name "
            "their folder"
        )
    folder = Path(path).expanduser()
    if not os.path.isdir(folder):
        reason = "is a file" if os.path.exists(folder) else "does not exist"
        raise TableError(f"{what}: {folder} {reason}; name the folder that holds the recordings")
    return folder.resolve()


def find_recordings(root: Path, part_name: Pattern[str], manifest: str, inner: str) -> Found:
    """Every folder at any depth whose name is a recording's, with its files and those of its folder
    `inner`.

    Hidden files and folders are left out. A link is followed when it leads to another place inside
    the root; one that leaves the root, closes a loop or leads nowhere, and anything that is neither
    file nor folder, is a problem.
    """
    found = Found(root)
    seen: dict[str, str] = {}

    def walk(folder: str, relative: str, above: tuple[str, ...]) -> None:
        for entry in _entries(folder, found, above):
            below = f"{relative}{entry.name}"
            if not entry.is_dir():
                if entry.name == manifest:
                    found.manifests.append(below)
            elif part_name.fullmatch(entry.name):
                real = (
                    os.path.realpath(entry.path)
                    if entry.is_symlink()
                    else os.path.join(above[-1], entry.name)
                )
                if real in seen:
                    found.problems.append(
                        f"{below} and {seen[real]} are one folder under two names; remove the link"
                    )
                    continue
                seen[real] = below
                found.parts[below] = list(_files(entry.path, "", found, above, inner))
            else:
                walk(entry.path, f"{below}/", (*above, os.path.realpath(entry.path)))

    walk(str(root), "", (str(root),))
    return found


def _files(
    folder: str, prefix: str, found: Found, above: tuple[str, ...], inner: str
) -> Iterator[str]:
    for entry in _entries(folder, found, above):
        if not entry.is_dir():
            yield prefix + entry.name
        elif entry.name == inner and not prefix:
            yield from _files(entry.path, f"{entry.name}/", found, above, inner)


def _entries(folder: str, found: Found, above: tuple[str, ...]) -> list[os.DirEntry[str]]:
    """Entries in the order of their names that may be used; the others are noted as problems."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted(
                (entry for entry in listing if not entry.name.startswith(".")),
                key=lambda entry: entry.name,
            )
    except OSError as error:
        found.problems.append(f"{folder} cannot be read ({error.strerror}); check its permissions")
        return []
    return [entry for entry in entries if _usable(entry, found, above)]


def _usable(entry: os.DirEntry[str], found: Found, above: tuple[str, ...]) -> bool:
    problem = ""
    if entry.is_symlink():
        real = os.path.realpath(entry.path)
        if not os.path.exists(real):
            problem = "is a link that leads nowhere; restore its target or remove it"
        elif os.path.commonpath([real, found.root]) != str(found.root):
            problem = "is a link that leaves the folder; copy its target in its place"
        elif real in above:
            problem = "is a link to a folder that holds it; remove it"
    if not problem and not entry.is_dir() and not entry.is_file():
        problem = "is neither a file nor a folder; remove it"
    if not problem and SEPARATOR in entry.name:
        problem = f"has a {SEPARATOR!r} in its name; rename it"
    if problem:
        found.problems.append(f"{os.path.relpath(entry.path, found.root)} {problem}")
    return not problem
