"""Several photos of a recording in one cell of a table: a list, a pattern, or a folder."""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Sequence

import numpy as np
import pandas as pd

from quadlib.data.kinds import kinds_by_extension
from quadlib.data.sources.columns import STANDARD
from quadlib.data.sources.paths import Root
from quadlib.registry import KINDS

WILD = ("*", "?")
LIKELY = r"[*?]|[/\\]\s*$|^\s*\["  # of every cell that `_is`


def expand_several(frame: pd.DataFrame, information: Sequence[str], root: Root) -> list[str]:
    """Writes every list ["a.jpg", "b.jpg"], pattern (s1/r1_*.jpg) and folder (s1/r1/, with its last
    slash) of a table as paths joined by |, in the order of their names; returns what fits no file.
    """
    problems = []
    for name in frame.columns:
        if name in STANDARD or name in information or pd.api.types.is_numeric_dtype(frame[name]):
            continue
        likely = frame[name].str.contains(LIKELY, na=False).to_numpy(dtype=bool)
        wanted = [row for row in np.flatnonzero(likely).tolist() if _is(str(frame[name].iat[row]))]
        cells = frame[name].tolist() if wanted else []
        for row in wanted:
            parts: list[str] = []
            for part in _parts(cells[row]):
                found = _matches(part, root) if _is(part) else [part]
                if not found:
                    problems.append(
                        f"row {row + 1}, {name}: {part!r} fits no file of a known kind below "
                        f"{root.start}; correct it, or leave it empty where missing"
                    )
                parts += found
            cells[row] = "|".join(parts)
        if wanted:
            frame[name] = cells
    return problems


def _is(cell: str) -> bool:
    text = cell.strip()
    if "/" not in text and "\\" not in text and "." not in text:
        return False
    return (
        text.endswith(("/", "\\"))
        or any(mark in text for mark in WILD)
        or (text.startswith("[") and text.endswith("]"))
    )


def _parts(cell: str) -> list[str]:
    text = cell.strip()
    if text.startswith("[") and text.endswith("]"):
        try:
            return [str(part) for part in json.loads(text.replace("'", '"'))]
        except ValueError:
            return [part.strip(" '\"") for part in text[1:-1].split(",")]
    return text.split("|")


def _matches(text: str, root: Root) -> list[str]:
    """Files of one folder, of kinds that take several, as the cell would have written them."""
    folder, _, pattern = text.strip().replace("\\", "/").rpartition("/")
    kinds = kinds_by_extension()
    place = os.path.join(root.start, os.path.expanduser(os.path.expandvars(folder)))
    found = []
    for name in sorted(os.listdir(place)) if os.path.isdir(place) else []:
        kind = kinds.get(os.path.splitext(name)[1].lower(), "")
        fits = fnmatch.fnmatchcase(name, pattern) if pattern else True
        if fits and kind and KINDS[kind].several_files and not name.startswith("."):
            found.append(f"{folder}/{name}" if folder else name)
    return found
