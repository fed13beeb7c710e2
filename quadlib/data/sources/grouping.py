"""Which files of a folder are one recording: by folder, by name, by name in a folder a kind."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from quadlib.data.kinds import kinds_by_extension
from quadlib.registry import KINDS


def recordings_of(files: Sequence[str]) -> dict[str, list[str]]:
    """Recording -> its files: by folder where a folder is one, else by the name of the files."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for file in files:
        by_folder[str(PurePosixPath(file).parent)].append(file)
    for folder in sorted(by_folder, reverse=True):  # photos in a folder of their own inside
        parent = str(PurePosixPath(folder).parent)
        photos = all(KINDS[kind_of_file(file)].several_files for file in by_folder[folder])
        if photos and parent in by_folder and _is_recording(by_folder[parent]):
            by_folder[parent] += by_folder.pop(folder)
    depths: dict[int, list[bool]] = defaultdict(list)
    alike = _of_the_same_names(by_folder)
    for folder, inside in by_folder.items():
        depths[folder.count("/")].append(folder in alike or _is_recording(inside))
    recordings: dict[str, list[str]] = {}
    for folder, inside in by_folder.items():
        if folder != "." and all(depths[folder.count("/")]):
            recordings[folder] = inside
            continue
        for file in inside:
            stem = _without_number(stem_of(file), inside)
            recordings.setdefault(f"{folder}/{stem}".removeprefix("./"), []).append(file)
    return recordings


def depth_of_kinds(files: Sequence[str]) -> int | None:
    """The depth at which a folder holds one kind of files, and others beside it the other files of
    the same recordings: 0 of photos/r1.jpg and sound/r1.wav. None where there is none.
    """
    for depth in range(max(file.count("/") for file in files)):
        deep = [file for file in files if file.count("/") > depth]
        kinds = {(file.split("/")[depth], kind_of_file(file)) for file in deep}
        one_each = len({folder for folder, _ in kinds}) == len(kinds) == len({k for _, k in kinds})
        together = beside(deep, depth)
        whole = sum(len(parts) == len(kinds) for parts in together.values())
        if len(deep) == len(files) and len(kinds) > 1 and one_each and whole > len(together) / 2:
            return depth
    return None


def beside(files: Sequence[str], depth: int) -> dict[str, list[str]]:
    """Recording -> its files: their paths differ in the folder at this depth and their ending."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in files:
        *folders, _ = file.split("/")
        found["/".join([*folders[:depth], *folders[depth + 1 :], stem_of(file)])].append(file)
    return dict(sorted(found.items()))


def _of_the_same_names(by_folder: Mapping[str, Sequence[str]]) -> set[str]:
    """The folders below those of classes whose files are called by what they hold, in each of a
    depth alike: ACC.csv and EDA.csv. Names that differ in numbers alone are those of recordings.
    """
    by_depth: dict[int, list[str]] = defaultdict(list)
    for folder in by_folder:
        by_depth[folder.count("/")].append(folder)
    found: set[str] = set()
    for depth, folders in by_depth.items():
        names = [{PurePosixPath(file).name for file in by_folder[folder]} for folder in folders]
        shared = set.intersection(*names)
        words = {re.sub(r"[\W\d_]+", "", stem_of(name)) for name in shared}
        most = max(map(len, names))
        called = 1 < len(words) == len(shared) > most / 2 and "" not in words
        below = depth > 0 and len(folders) > 1
        if below and called and all(differ(by_folder[folder]) for folder in folders):
            found.update(folders)
    return found


def differ(files: Sequence[str]) -> bool:
    """Whether no two files have one name but for their endings."""
    return len({stem_of(file) for file in files}) == len(files)


def _is_recording(files: Sequence[str]) -> bool:
    """Whether the files of one folder are one recording: few photos or one file of each kind, with
    no name that two kinds share.
    """
    kinds = [kind_of_file(file) for file in files]
    several = Counter(kinds)
    if len(several) == 1 or any(
        count > 1 and not KINDS[kind].several_files for kind, count in several.items()
    ):
        return False
    names = Counter(stem_of(file) for file in files)
    shared = sum(1 for count in names.values() if count > 1)
    return shared <= 1


def _without_number(stem: str, files: Sequence[str]) -> str:
    """A photo's name without its number, where another file of the folder has the rest as name or
    several numbers stand behind it.
    """
    match = re.fullmatch(r"(.*?\w)[ _-](?:\(?\d{1,2}\)?|front|back|left|right|top|side)", stem)
    if not match:
        return stem
    stems = {stem_of(file) for file in files}
    return match[1] if match[1] in stems else stem


def stem_of(file: str) -> str:
    """A file's name without its folders and all that stands behind its first dot."""
    return PurePosixPath(file).name.partition(".")[0]


def kind_of_file(file: str) -> str:
    return kinds_by_extension().get(PurePosixPath(file).suffix.lower(), "")
