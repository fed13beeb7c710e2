"""The Intel Robotic Welding Multimodal Dataset, or any part of it, from a folder; weldsim writes
the same layout.

Format (Stemmer et al., arXiv 2409.02290): <session>/<part>/ with <part>.avi, <part>.flac,
<part>.csv and images/*.jpg, or other containers of these kinds; part is MM-DD-YY-NNNN-CC with class
code CC; manifest.csv has one row a recording.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from quadlib.data.kinds import kind_of_file
from quadlib.data.kinds.series import WELD_CHANNELS, WELD_CURRENT
from quadlib.data.samples import (
    LEAVES_ROOT,
    Modality,
    SampleTable,
    TableError,
    raise_problems,
    some,
    table_problems,
)
from quadlib.data.sources.folders import SEPARATOR, Found, existing_folder, find_recordings
from quadlib.data.sources.text import read_csv

# Class names in the order of their codes, 00 to 11.
CLASSES = (
    "good",
    "excessive_penetration",
    "burnthrough",
    "porosity",
    "porosity_w_excessive_penetration",
    "undercut",
    "overlap",
    "lack_of_fusion",
    "excessive_convexity",
    "spatter",
    "warping",
    "crater_cracks",
)
# Other spellings of whole categories. Session names are never read: parts of them name other
# classes.
ALIASES = {
    "good_weld": "good",
    "burn_through": "burnthrough",
    "porosity_with_excessive_penetration": "porosity_w_excessive_penetration",
    "porosity_w_ep": "porosity_w_excessive_penetration",
    "crater_crack": "crater_cracks",
}
MODALITIES = {
    "video": Modality("video"),
    "image": Modality("image"),
    "audio": Modality("audio"),
    "sensor": Modality("series", (len(WELD_CHANNELS),), WELD_CHANNELS, WELD_CURRENT),
}
NORMAL_CLASS = "good"
# What the welder set: known before a recording is looked at.
CONFOUNDS = (
    "current_a",
    "voltage_v",
    "gas_bar",
    "robot_speed_cpm",
    "thickness_mm",
    "weld_type",
    "steel_type",
)
SET_POINTS = ("thickness_mm", "samples", "current_a", "voltage_v", "gas_bar", "robot_speed_cpm")
PART = re.compile(r"\d{2}-\d{2}-\d{2}-\d{4}-(\d{2})")


def read(path: str | Path | None = None, name: str = "intel_weld") -> SampleTable:
    """One row for every recording's folder under `path`, at any depth, in the order of their names.

    sample_id is session/part, since part names repeat across sessions; group is the session. With a
    manifest.csv the label is its CATEGORY and the split its SPLIT; rows without a folder are
    counted in `notes`; nominal set-points become information columns (float), never modalities.
    Without one, the label is the class code of the part's name and the split is "". class_names are
    those present, in the order of their codes. No media file is opened. Raises TableError that
    lists all problems: unknown categories and codes, CATEGORY against code, folders that the
    manifest does not list, files not named after their recording, links out of the folder.
    """
    if not path:
        raise_problems(name, ["no path was given; name the folder that holds the recordings"])
    found = find_recordings(existing_folder(str(path), name), PART, "manifest.csv", "images")
    frame, problems = _recordings(found)
    notes: list[str] = []
    if found.manifests and len(frame):
        frame, more, notes = _with_manifest(frame, found)
        problems += more
    known = frame["label"].isin(CLASSES)
    classes = tuple(label for label in CLASSES if label in set(frame["label"]))
    if known.any() or not len(
        frame
    ):  # an unknown label has its own problem, with the place where it stands
        problems += table_problems(frame[known], MODALITIES, classes, root=found.root)
    raise_problems(f"{name} {found.root}", found.problems + problems)
    notes += [
        f"{count} of {len(frame)} recordings have no {modality}"
        for modality in MODALITIES
        if (count := int((frame[modality] == "").sum()))
    ]
    frame = frame.drop(columns="folder")
    confounds = [column for column in CONFOUNDS if column in frame]
    return SampleTable(
        frame,
        MODALITIES,
        root=found.root,
        classes=classes,
        name=name,
        notes=notes,
        normal_class=NORMAL_CLASS if NORMAL_CLASS in classes else "",
        confounds={"set-points": confounds} if confounds else {},
    )


def _recordings(found: Found) -> tuple[pd.DataFrame, list[str]]:
    """One row a folder, labelled by the code in its name; and files that do not fit the layout."""
    rows, problems = [], []
    for folder, files in found.parts.items():
        session, _, part = folder.rpartition("/")
        session = session or found.root.name
        code = int(part[-2:])
        row = {
            "sample_id": f"{session}/{part}",
            "label": CLASSES[code] if code < len(CLASSES) else "",
            "group": session,
            "split": "",
            **dict.fromkeys(MODALITIES, ""),
            "folder": folder,
        }
        if code >= len(CLASSES):
            problems.append(
                f"{folder}: code {part[-2:]} is no class; the last two digits are a code, 00 to "
                f"{len(CLASSES) - 1:02d}"
            )
        photos = []
        for file in files:
            stem, suffix = os.path.splitext(file)
            name = "sensor" if suffix.lower() == ".csv" else kind_of_file(file)
            if name == "image" and "/" in file:
                photos.append(f"{folder}/{file}")
            elif name in MODALITIES and name != "image" and stem == part and not row[name]:
                row[name] = f"{folder}/{file}"  # of two, .avi and .AVI or .mp4, one is too many
            elif name in MODALITIES:
                expected = "images/" if name == "image" else f"one {name} named {part}"
                problems.append(
                    f"{folder}/{file} is not where or what it should be: {expected}; move it, "
                    "rename it or take it out"
                )
        row["image"] = SEPARATOR.join(photos)
        rows.append(row)
    columns = ["sample_id", "label", "group", "split", *MODALITIES, "folder"]
    return pd.DataFrame(rows, columns=columns, dtype=str), problems


def _with_manifest(frame: pd.DataFrame, found: Found) -> tuple[pd.DataFrame, list[str], list[str]]:
    """The same rows with the manifest's labels, splits and set-points; problems; and notes."""
    if len(found.manifests) > 1:
        return (
            frame,
            [
                f"{len(found.manifests)} manifests: {some(found.manifests)}; name the folder of "
                "one of them"
            ],
            [],
        )
    file = found.manifests[0]
    try:
        manifest, _ = read_csv(found.root / file)
    except TableError as error:
        return frame, [str(error)], []
    manifest.columns = manifest.columns.str.upper()
    absent = [column for column in ("CATEGORY", "SUBDIRS") if column not in manifest.columns]
    if absent or manifest.columns.duplicated().any():
        return (
            frame,
            [
                f"{file} needs the columns CATEGORY and SUBDIRS, each once; it has "
                f"{', '.join(manifest.columns)}"
            ],
            [],
        )
    place, problems = _match(manifest["SUBDIRS"].tolist(), frame, file)
    label = manifest["CATEGORY"].map(_class_of)
    for category in manifest["CATEGORY"][label == ""].unique():
        lines = np.flatnonzero(manifest["CATEGORY"] == category) + 2
        problems.append(
            f"{file}: category {category!r} at line {some(lines)} is no class; known are "
            f"{', '.join(CLASSES)}"
        )
    listed = np.flatnonzero(place >= 0)
    order = np.full(len(frame), -1)
    order[place[listed]] = listed
    unlisted = frame["folder"][order < 0]
    if len(unlisted):
        problems.append(
            f"{file} does not list {len(unlisted)} folder(s) that are there: {some(unlisted)}; add "
            "their rows, or take the folders or the manifest out"
        )
    rows = manifest.iloc[order[order >= 0]].reset_index(drop=True)
    frame = frame[order >= 0].reset_index(drop=True)
    booked = label.iloc[order[order >= 0]].to_numpy()
    for one, other in sorted(set(zip(booked, frame["label"], strict=True))):
        if one and other and one != other:
            which = frame["folder"][(booked == one) & (frame["label"] == other)]
            problems.append(
                f"{file} says {one}, the code in the folder's name says {other}: {some(which)}; "
                "correct the one that is wrong"
            )
    frame["label"] = booked
    if "SPLIT" in rows:
        frame["split"] = rows["SPLIT"].str.strip().str.lower()
        without = frame["folder"][frame["split"] == ""]
        if 0 < len(without) < len(frame):
            problems.append(
                f"{file} has no SPLIT for {some(without)}; fill it in, or leave all of the column "
                "empty"
            )
    notes = [
        f"{len(manifest) - len(listed)} of {len(manifest)} rows of {file} have no folder here and "
        "were left out"
    ]
    for column in ("weld_type", "steel_type"):
        frame[column] = rows.get(column.upper(), "")
    for column in SET_POINTS:
        text = rows.get(column.upper(), pd.Series("", index=rows.index))
        frame[column] = pd.to_numeric(text, errors="coerce").astype(np.float64)
        if wrong := int((frame[column].isna() & (text.str.strip() != "")).sum()):
            notes.append(
                f"{wrong} values of {column.upper()} in {file} are not numbers and count as unknown"
            )
    return frame, problems, notes if len(listed) < len(manifest) else notes[1:]


def _class_of(category: str) -> str:
    """The class of a whole category, however spaced and capitalised; "" for an unknown one."""
    name = re.sub(r"[\s_\-]+", "_", category.strip().casefold())
    name = ALIASES.get(name, name)
    return name if name in CLASSES else ""


def _match(subdirs: list[str], frame: pd.DataFrame, file: str) -> tuple[np.ndarray, list[str]]:
    """For each manifest row its row of `frame`, or -1 where the folder is absent; its path is
    compared, never opened.
    """
    by_name: dict[tuple[str, ...], list[int]] = {}
    keys = [tuple(sample_id.split("/")) for sample_id in frame["sample_id"]]
    for row, key in enumerate(keys):
        by_name.setdefault(key[-2:], []).append(row)
    place = np.full(len(subdirs), -1)
    taken: dict[int, int] = {}
    refused, roots, far = [], set(), []
    for line, text in enumerate(subdirs, start=2):
        path = text.strip().replace("\\", "/")
        key = tuple(part for part in path.split("/") if part not in ("", "."))
        if (
            re.search(LEAVES_ROOT, path.removeprefix("/"))
            or len(key) < 2
            or not PART.fullmatch(key[-1])
        ):
            refused.append(
                f"{file} line {line}: SUBDIRS {text!r} is not session/part; write it as in the "
                "original manifest"
            )
            continue
        matches = [(_common(keys[row], key), row) for row in by_name.get(key[-2:], [])]
        best = max(matches, default=(0, -1))
        if path.startswith("/"):
            (roots.add(key[:-2]) if matches else far.append((line, text, key[:-2])))
        if not matches:
            continue
        if [depth for depth, _ in matches].count(best[0]) > 1:
            refused.append(
                f"{file} line {line}: {text!r} fits {len(matches)} folders equally well; name the "
                "folder of one tree as path"
            )
        elif best[1] in taken:
            refused.append(
                f"{file}: lines {taken[best[1]]} and {line} both name "
                f"{keys[best[1]][-2]}/{key[-1]}; remove one"
            )
        else:
            place[line - 2] = best[1]
            taken[best[1]] = line
    # an absolute path is taken as the place of another machine's copy when rows beside it were
    # found here under it
    refused += [
        f"{file} line {line}: {text!r} lies outside the folder; write it from the manifest's "
        "folder on"
        for line, text, above in far
        if above not in roots
    ]
    return place, refused


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many components two paths share, counted from their ends."""
    count = 0
    while count < min(len(one), len(other)) and one[-1 - count] == other[-1 - count]:
        count += 1
    return count
