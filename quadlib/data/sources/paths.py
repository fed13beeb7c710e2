"""Paths as tables hold them, made relative to one folder: absolute, with backslashes, from home,
through links.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd

from quadlib.data.samples import some

PLAIN = r"[^\s~$\\|:/][^~$\\|:\x00]*"  # may yet hold .. or end in blanks
ADDRESS = re.compile(r"[A-Za-z][\w+.\-]{1,}:")
DRIVE = re.compile(r"[A-Za-z]:[\\/]")
VARIABLE = re.compile(r"\$\{?(\w+)\}?|%(\w+)%")


@dataclass(frozen=True)
class Root:
    """The folder that holds every file, and the one from which relative paths start."""

    folder: Path
    start: Path

    @classmethod
    def of(cls, table: Path, data_root: str) -> Root:
        """The table's folder; with the setting data_root that folder, and relative paths start at
        the table's where it lies inside.
        """
        if not data_root:
            return cls(table, table)
        folder = Path(os.path.expandvars(data_root)).expanduser().resolve()
        return cls(folder, table if table.is_relative_to(folder) else folder)

    def relative(self, text: str) -> tuple[str, str]:
        """One path below the folder, or "" and why it is none."""
        text = text.strip()
        if DRIVE.match(text):
            return "", f"{text!r} is on a drive of Windows; write paths from the table's folder on"
        if text.casefold().startswith("file:"):
            text = unquote(urlsplit(text).path)
        elif ADDRESS.match(text) or "\0" in text:
            return "", f"{text!r} is an address; download the file, and write its path"
        unset = [
            name
            for match in VARIABLE.findall(text)
            for name in match
            if name and name not in os.environ
        ]
        if unset and text.startswith(("$", "%")):
            return "", f"{text!r}: the environment variable {unset[0]} is not set; set it first"
        text = os.path.expanduser(os.path.expandvars(text)).replace("\\", "/")
        full = os.path.normpath(os.path.join(self.start, text))
        real_folder = os.path.realpath(self.folder)
        for folder in (str(self.folder), real_folder):
            if full.startswith(folder.rstrip(os.sep) + os.sep):
                return self._as_written(os.path.relpath(full, folder)), ""
        if not os.path.exists(full):
            return "", (
                f"{text!r} does not exist on this machine; write paths from the table's folder on, "
                "or name the folder that holds the files by the setting data_root"
            )
        return "", (
            f"{text!r} leads out of the folder {self.folder}; name the folder of all files: "
            f'data_root="{_common(real_folder, full)}"'
        )

    def leaves(self, relative: str) -> str:
        """Why a path leaves the folder once links are followed, "" where it does not."""
        real, root = os.path.realpath(self.folder / relative), os.path.realpath(self.folder)
        if real.startswith(root.rstrip(os.sep) + os.sep):
            return ""
        return (
            f"{relative!r} is a link that leaves the folder {self.folder}; copy its target in its "
            f'place, or name the folder that holds both: data_root="{_common(root, real)}"'
        )

    def _as_written(self, relative: str) -> str:
        """The same path in the Unicode form in which its file's name was written."""
        if relative.isascii() or os.path.exists(self.folder / relative):
            return relative
        for form in ("NFC", "NFD"):
            other = unicodedata.normalize(form, relative)
            if os.path.exists(self.folder / other):
                return other
        folder = os.path.dirname(self.folder / relative)
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            if unicodedata.normalize("NFC", name) == unicodedata.normalize(
                "NFC", os.path.basename(relative)
            ):
                return os.path.join(os.path.dirname(relative), name)
        return relative


def relative_paths(
    column: pd.Series, ids: pd.Series, name: str, root: Root
) -> tuple[pd.Series, list[str]]:
    """A column of paths, each relative to the root, several joined by "|"; and what cannot be."""
    paths = column.str.strip()
    odd = (paths != "") & ~(
        paths.str.fullmatch(PLAIN) & ~paths.str.contains(r"(?:^|/)\.{1,2}(?:/|$)|//", regex=True)
    )
    odd |= ~paths.map(str.isascii).astype(bool)
    problems: dict[str, list[str]] = {}
    fixed = paths.to_numpy(dtype=object, copy=True)
    for row in np.flatnonzero(odd.to_numpy(dtype=bool)):
        parts = []
        for part in fixed[row].split("|"):
            relative, problem = root.relative(part)
            if problem:
                what, _, remedy = problem.partition("; ")
                problems.setdefault(remedy, []).append(f"{ids.iat[int(row)]} {what}")
            parts.append(relative)
        fixed[row] = "|".join(parts)
    lines = [
        f"{name}: {f'{len(rows)} paths: ' if len(rows) > 1 else ''}{some(rows)}; {remedy}"
        for remedy, rows in problems.items()
    ]
    return pd.Series(fixed, index=paths.index, dtype=str), lines


def _common(root: str, full: str) -> str:
    """The deepest folder that holds both."""
    return os.path.commonpath([root, os.path.dirname(full)])
