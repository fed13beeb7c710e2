"""The files that a dataset keeps for its rows, column by column, and what each is called."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import pandas as pd

from quadlib.diagnosis.evidence.observed.dataset import root_rows

FILE = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}$")
FEWEST = 8


def file_columns(dataset: Any) -> dict[str, list[str]]:
    """Name -> one path a row, of the lists, records and frames that the dataset holds."""
    root = root_rows(dataset)[0]
    columns: dict[str, list[str]] = {}
    for name, value in getattr(root, "__dict__", {}).items():
        columns |= dict(_columns(name, value))
    length = Counter(len(paths) for paths in columns.values()).most_common(1)
    return {n: paths for n, paths in columns.items() if length and len(paths) == length[0][0]}


def real_files(dataset: Any) -> set[str]:
    """The files of a dataset's rows, by absolute path. A path that does not say where it begins is
    a file's only where that file is found, from here or within a folder that the dataset names: two
    folders may well hold the same names.
    """
    root = root_rows(dataset)[0]
    values = getattr(root, "__dict__", {}).values()
    folders = ["", *(value for value in values if isinstance(value, (str, os.PathLike)))]
    files = set()
    for path in (path for paths in file_columns(dataset).values() for path in paths):
        places = [os.path.join(folder, path) for folder in folders]
        real = path if os.path.isabs(path) else next(filter(os.path.isfile, places), None)
        if real is not None:
            files.add(os.path.abspath(real))
    return files


def keys_of(paths: Sequence[str]) -> list[str]:
    """What tells one file of a column from another: its name, else its folder's, without what all
    share.
    """
    names = [PurePath(path).stem for path in paths]
    if len(set(names)) == 1:
        names = [PurePath(path).parent.name for path in paths]
    start = len(os.path.commonprefix(names))
    end = len(os.path.commonprefix([name[start:][::-1] for name in names]))
    return [name[start : len(name) - end] for name in names]


def _columns(name: str, value: Any) -> Iterator[tuple[str, list[str]]]:
    if isinstance(value, pd.DataFrame):
        for column in value.columns:
            yield from _columns(f"{name}.{column}", value[column].tolist())
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _columns(f"{name}[{key!r}]", part)
    elif isinstance(value, (list, tuple)) and len(value) >= FEWEST:
        first = value[0]
        if all(isinstance(item, (str, os.PathLike)) for item in value):
            paths = [os.fspath(item) for item in value]
            if all(FILE.search(path) for path in paths):
                yield name, paths
        elif isinstance(first, Mapping) and all(isinstance(item, Mapping) for item in value):
            for key in first:
                yield from _columns(f"{name}[][{key!r}]", [item.get(key) for item in value])
        elif isinstance(first, tuple) and all(
            isinstance(item, tuple) and len(item) == len(first) for item in value
        ):
            for place in range(len(first)):
                yield from _columns(f"{name}[][{place}]", [item[place] for item in value])
