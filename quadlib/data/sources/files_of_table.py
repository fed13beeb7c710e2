"""Columns of paths: which are modalities, which files stand twice, and the .npy files in them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from quadlib.data.decoding.arrays import declared_problem
from quadlib.data.decoding.damage import DamageError, open_regular
from quadlib.data.kinds import kind_of_array, kinds_by_extension
from quadlib.data.samples import some
from quadlib.data.sources.archive import unusual_values
from quadlib.data.sources.columns import STANDARD, without_missing_words
from quadlib.data.sources.paths import Root
from quadlib.registry import KINDS
from quadlib.runs.commands import features_command

ENDING = re.compile(r"\.[a-z0-9]{1,8}")
FEW_FILES = 8  # of a folder in a table: below it each is looked at alone
LOOKS_LIKE_PATHS = r"(?:.*[/\\].*|[^\s]+)\.[A-Za-z]\w{0,4}(?:\.gz)?"
CLEARLY_LONGER = 4.0  # how much longer a first axis is that counts as steps without being asked
LONGER = 2.0  # and a second one, where it is expected

AGAIN = "write it again with numpy.save"


def path_columns(
    frame: pd.DataFrame, information: Sequence[str], path: Path
) -> tuple[dict[str, str], list[str], list[str]]:
    """Kind of every modality by the endings of its files; problems; and notes on the columns that
    are none; `path`: of the table.
    """
    kinds: dict[str, str] = {}
    problems, notes, others = [], [], []
    by_ending = kinds_by_extension()
    for name in frame.columns:
        if name in STANDARD:
            continue
        if name in information or not pd.api.types.is_string_dtype(frame[name]):
            others.append(name)
            continue
        frame[name] = without_missing_words(frame[name])
        filled = frame[name][frame[name] != ""]
        endings = _endings(filled)
        by_row = endings.map({ending: by_ending.get(ending, "") for ending in endings.unique()})
        if (by_row == "").all():
            paths = filled.str.fullmatch(LOOKS_LIKE_PATHS)
            folders = filled.str.contains(r"[/\\]", regex=True)
            if len(filled) and paths.mean() > 0.5:
                known = ", ".join(sorted(set(endings[paths])))
                notes.append(
                    f"column {name} looks like paths, but no kind reads {known} files; it is kept "
                    "as information" + (", save sheets as CSV" if ".xls" in known else "")
                )
            elif len(filled) and folders.mean() > 0.5:
                notes.append(
                    f"column {name} looks like paths without an ending ({filled.iloc[0]}), which "
                    "tells no kind; it is kept as information"
                )
            else:
                others.append(name)
            continue
        kinds[name] = usual = str(by_row[by_row != ""].value_counts().index[0])
        for row in by_row.index[by_row != usual][:5]:
            usual_ending = Counter(endings[by_row == usual]).most_common(1)[0][0]
            problems.append(
                f"row {row + 1}, {name}: {frame[name][row]!r} is no {usual} file like the others "
                f"of its column ({usual_ending}); correct it, or leave it empty where missing"
            )
        several = frame.get("sample_id", frame[name])[frame[name].str.contains("|", regex=False)]
        if len(several) and not KINDS[usual].several_files:
            problems.append(
                f"{name}: {some(several)} name several files, which only photos may; name one "
                f"{usual} file a recording"
            )
    if others:
        notes.append(f"columns kept as information: {', '.join(others)}")
    if not kinds:
        doubts = "".join(f"; {note}" for note in notes if "looks like paths" in note)
        known = f" ({', '.join(by_ending)})" if doubts else ""
        problems.append(
            f"no modality: no column holds paths of files of a known kind{known}; add one column a "
            "modality, or, where the columns are features, write them as arrays: "
            f"{features_command(path)}{doubts}"
        )
    return kinds, problems, notes


def _endings(paths: pd.Series) -> pd.Series:
    """The ending of every path as kinds know it, ".jpg", or "" where it has none."""
    lasts = pd.Series([f".{text.rpartition('.')[2]}" for text in paths], index=paths.index)
    known = {
        last: ending if ENDING.fullmatch(ending := last.strip().casefold()) else ""
        for last in lasts.unique()
    }
    dotted = paths.str.contains(".", regex=False)
    return lasts.map(known).where(dotted, "")


def shared_files(frame: pd.DataFrame, kinds: Mapping[str, str], root: Root) -> list[str]:
    """Links that lead out of the folder, and files that stand in two places of the table."""
    problems: list[str] = []
    rows: list[int] = []
    names: list[str] = []
    paths: list[str] = []
    for name in kinds:
        for row, text in enumerate(frame[name].tolist()):
            parts = [part for part in text.split("|") if part]
            rows += [row] * len(parts)
            names += [name] * len(parts)
            paths += parts
    ids, links = frame["sample_id"], _Links(root.folder, paths)
    for place in links.places():
        leaves = root.leaves(paths[place])
        problems += [f"{ids.iat[rows[place]]}: {names[place]} {leaves}"] if leaves else []
        paths[place] = os.path.relpath(
            os.path.realpath(root.folder / paths[place]), os.path.realpath(root.folder)
        )
    column = pd.Series(paths, dtype=str)
    shared = column[column.duplicated(keep=False)]
    for path, places in shared.groupby(shared, sort=False).groups.items():
        users = [f"{ids.iat[rows[place]]} {names[place]}" for place in places]
        problems.append(
            f"{path} stands {len(users)} times: {some(users)}; give every recording its own file"
        )
    return problems


class _Links:
    """Which paths below a folder go through a link: folders are listed once, not asked for every
    file.
    """

    def __init__(self, root: Path, paths: Sequence[str]) -> None:
        self.root, self.paths = str(root), paths
        self.folders = [path.rpartition("/")[0] for path in paths]
        self.counts = Counter(self.folders)
        self.inside: dict[str, frozenset[str]] = {}
        self.through: dict[str, bool] = {"": False}

    def places(self) -> list[int]:
        """Places of the paths that are links, or lie in a folder that is reached by one."""
        return [
            place
            for place, (path, folder) in enumerate(zip(self.paths, self.folders, strict=True))
            if self._through(folder) or self._is_link(folder, path)
        ]

    def _through(self, folder: str) -> bool:
        if folder not in self.through:
            above = folder.rpartition("/")[0]
            self.through[folder] = self._through(above) or self._is_link(above, folder)
        return self.through[folder]

    def _is_link(self, folder: str, path: str) -> bool:
        if 0 < self.counts[folder] < FEW_FILES:
            return os.path.islink(os.path.join(self.root, path))
        if folder not in self.inside:
            try:
                with os.scandir(os.path.join(self.root, folder)) as entries:
                    self.inside[folder] = frozenset(e.name for e in entries if e.is_symlink())
            except OSError:  # a folder that is not there; its files are missed when they are read
                self.inside[folder] = frozenset()
        return path.rpartition("/")[2] in self.inside[folder]


@dataclass
class Loaded:
    """The .npy files of a modality stacked, float32; each recording's row, -1 where missing."""

    rows: np.ndarray
    array: np.ndarray = field(default_factory=lambda: np.zeros((0, 1), dtype=np.float32))
    kind: str = "vector"
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def load_arrays(frame: pd.DataFrame, name: str, root: Path, steps: int, axes: str) -> Loaded:
    """Reads every .npy file of a modality: vectors (d,), or series of one or more channels, which
    are resampled to `steps` where their lengths differ.
    """
    loaded = Loaded(np.full(len(frame), -1))
    arrays: dict[int, np.ndarray] = {}
    broken: dict[str, list[str]] = {}
    by_ending = kinds_by_extension()
    for row, text in enumerate(frame[name]):
        if not text or PurePosixPath(text).suffix.lower() not in by_ending:
            continue
        try:
            array = _load(root / text)
        except DamageError as error:
            broken.setdefault(f"{error.what}; {error.remedy}", []).append(
                f"{frame['sample_id'].iat[row]} ({text})"
            )
            continue
        arrays[row] = array
    for reason, places in broken.items():
        count = f"{len(places)} files: " if len(places) > 1 else ""
        loaded.problems.append(f"{name}: {count}{some(places)}: {reason}")
    if not arrays:
        return loaded
    shapes = Counter(array.shape for array in arrays.values())
    if len({len(shape) for shape in shapes}) > 1:
        loaded.problems.append(
            f"{name}: its files hold arrays of {_shapes(shapes)}; give all the same axes"
        )
        return loaded
    stack, problem, notes = _stacked(name, arrays, shapes, steps, axes)
    if problem:
        loaded.problems.append(problem)
        return loaded
    loaded.rows[list(arrays)] = np.arange(len(arrays))
    loaded.array, loaded.kind = stack, kind_of_array(stack.shape[1:])
    if not loaded.kind:
        loaded.problems.append(
            f"{name}: arrays of shape {stack.shape[1:]} are of no known kind; (d,) or (channels, "
            "steps) were expected"
        )
    loaded.notes = notes + unusual_values(name, stack)
    return loaded


def _load(path: Path) -> np.ndarray:
    """One .npy file as float32. Raises DamageError."""
    try:
        with open_regular(path) as file:
            if problem := declared_problem(file, path.stat().st_size):
                raise DamageError(path, problem, AGAIN)
            file.seek(0)
            array = np.load(file, allow_pickle=False)
    except DamageError:
        raise
    except (ValueError, EOFError) as error:
        raise DamageError(path, str(error).splitlines()[0], AGAIN) from None
    if array.dtype.names:  # a column a channel
        array = np.stack([array[name].astype(np.float64) for name in array.dtype.names])
    if not array.size or array.dtype.kind not in "fiub" or array.ndim == 0:
        names = {"c": "complex numbers", "O": "objects"}.get(array.dtype.kind, str(array.dtype))
        raise DamageError(
            path,
            f"holds {names} of shape {array.shape}",
            "write numbers of shape (d,) or (channels, steps)",
        )
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _stacked(
    name: str,
    arrays: Mapping[int, np.ndarray],
    shapes: Counter[tuple[int, ...]],
    steps: int,
    axes: str,
) -> tuple[np.ndarray, str, list[str]]:
    """One array of all files, what stands against it, and notes on what was turned or resampled."""
    values = list(arrays.values())
    notes: list[str] = []
    if len(next(iter(shapes))) == 1 and len(shapes) > 1:  # one channel a file
        values = [array[None] for array in values]
    elif len(next(iter(shapes))) == 2:
        steps_first, problem = _steps_first(name, shapes, axes)
        if problem:
            return np.zeros(0), problem, []
        if steps_first:
            values = [array.T for array in values]
            notes.append(f"{name}: its files are (steps, channels) and are turned")
    if len({array.shape for array in values}) == 1:
        return np.stack(values), "", notes
    channels = {array.shape[:-1] for array in values}
    if len(channels) > 1:
        return (
            np.zeros(0),
            f"{name}: its files hold arrays of {_shapes(shapes)}; give all the same channels",
            [],
        )
    grid = np.linspace(0, 1, steps)
    resampled = [
        np.stack([np.interp(grid, np.linspace(0, 1, array.shape[-1]), row) for row in array])
        for array in values
    ]
    lengths = sorted({array.shape[-1] for array in values})
    notes.append(f"{name}: series of {lengths[0]} to {lengths[-1]} steps are resampled to {steps}")
    return np.stack(resampled).astype(np.float32), "", notes


def _steps_first(name: str, shapes: Counter[tuple[int, ...]], axes: str) -> tuple[bool, str]:
    """Whether the first axis of these arrays is time: the one whose length varies, else the clearly
    longer; a problem where neither says.
    """
    if axes:
        return axes == "steps_channels", ""
    lengths = [len({shape[axis] for shape in shapes}) for axis in (0, 1)]
    if lengths[0] != lengths[1]:
        return lengths[0] > lengths[1], ""
    first, second = next(iter(shapes))
    if first >= CLEARLY_LONGER * second or second >= LONGER * first:
        return first > second, ""
    return False, (
        f"{name}: arrays of shape {(first, second)} may be (channels, steps) or (steps, channels); "
        'set series_axes="channels_steps" or series_axes="steps_channels"'
    )


def _shapes(shapes: Counter[tuple[int, ...]]) -> str:
    return some([f"{shape} ({count} files)" for shape, count in shapes.most_common()])
