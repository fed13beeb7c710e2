"""Folders of recordings as people keep them, read by make-table."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from .case import Case, Made, ffmpeg, listed, opened
from .logs import numbers, readings, rows, text
from .photos import scene

CASES: list[Case] = []


def photo(path: Path, number: int) -> None:
    """A photo that differs from all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.roll(scene(number % 8), number, 1)).save(path)


def log(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    truth = readings(number)
    columns = [numbers(v) for v in (truth.seconds, *truth.channels.values())]
    text(path, ["time_s,current,voltage", *rows(*columns)])


def read_folder(
    folder: Path,
    truth: dict[str, str],
    compare: Callable[[pd.DataFrame, Any], list[str]] | None = None,
    **settings: Any,
) -> Made:
    """`truth`: file below the folder -> its label."""

    def differ(dataset: Any, words: str) -> list[str]:
        frame = dataset.table.frame
        files = {}
        for row, label in enumerate(frame["label"]):
            for name in dataset.table.modalities:
                for path in dataset.table.paths(row, name):
                    files[path.relative_to(folder).as_posix()] = label
        wrong = [
            f"{name} is {files.get(name, 'left out')}, not {label}"
            for name, label in truth.items()
            if files.get(name) != label
        ]
        wrong += [f"{name} too many" for name in files if name not in truth]
        return wrong[:4] + (compare(frame, dataset) if compare else [])

    loose = {"batch_size": 8, "min_per_class": 1} | settings
    return Made(opened(folder / "recordings.csv", **loose), differ, folder)


def counted(expected: int) -> Callable[[pd.DataFrame, Any], list[str]]:
    return lambda frame, dataset: (
        [] if len(frame) == expected else [f"{len(frame)} recordings, not {expected}"]
    )


def classes(count: int = 8, ending: str = "png") -> dict[str, str]:
    return {
        f"{label}/{label}_{n:02d}.{ending}": label
        for label in ("good", "bad")
        for n in range(count)
    }


def image_folder(folder: Path) -> dict[str, str]:
    truth = classes()
    for number, name in enumerate(truth):
        photo(folder / name, number)
    return truth


@listed(CASES, source="torchvision ImageFolder: class/photo.png")
def image_folder_of_classes(folder: Path) -> Made:
    return read_folder(folder, image_folder(folder), counted(16))


@listed(CASES, source="https://github.com/pytorch/vision/issues/109")
def hidden_files_of_systems(folder: Path) -> Made:
    truth = image_folder(folder)
    for label in ("good", "bad"):
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", f"._{label}_00.png"):
            (folder / label / name).write_bytes(b"\0\5\x16\7" + bytes(100))
    (folder / "__MACOSX/good").mkdir(parents=True)
    (folder / "__MACOSX/good/._good_00.png").write_bytes(b"\0\5\x16\7" + bytes(100))
    (folder / ".ipynb_checkpoints").mkdir()
    photo(folder / ".ipynb_checkpoints/good-checkpoint.png", 3)
    return read_folder(folder, truth, counted(16))


@listed(CASES, source="train/val/test above the classes (ImageNet, Keras, YOLO classify)")
def splits_above_classes(folder: Path) -> Made:
    truth = {}
    for split, count in (("train", 6), ("val", 3), ("test", 3)):
        for label in ("good", "bad"):
            for n in range(count):
                truth[f"{split}/{label}/{split}{n}.png"] = label
    for number, name in enumerate(truth):
        photo(folder / name, number)

    def splits(frame: pd.DataFrame, dataset: Any) -> list[str]:
        counts = frame["split"].value_counts().to_dict()
        return [] if counts == {"train": 12, "val": 6, "test": 6} else [f"splits {counts}"]

    return read_folder(folder, truth, splits)


@listed(CASES, source="class/recording/one file of each kind")
def folder_of_each_recording(folder: Path) -> Made:
    truth = {}
    for label in ("good", "bad"):
        for n in range(8):
            truth |= {f"{label}/run{n}/{name}": label for name in ("photo.png", "log.csv")}
    for number, name in enumerate(truth):
        (photo if name.endswith("png") else log)(folder / name, number)
    return read_folder(folder, truth, counted(16))


@listed(CASES, source="class/recording/several photos, numbered without leading zeros")
def several_photos_of_each_recording(folder: Path) -> Made:
    truth = {
        f"{label}/run{n}/{k}.png": label
        for label in ("good", "bad")
        for n in range(6)
        for k in (1, 2, 10)
    }
    for number, name in enumerate(truth):
        photo(folder / name, number)

    def order(frame: pd.DataFrame, dataset: Any) -> list[str]:
        """One recording a run, photos as people count them; or one a photo, no run in two splits."""
        if len(frame) == 36 and frame["group"].nunique() in (6, 12):
            return []
        modality = next(iter(dataset.table.modalities))
        names = [path.name for path in dataset.table.paths(0, modality)]
        return [] if names == ["1.png", "2.png", "10.png"] else [f"order {names}"]

    return read_folder(folder, truth, order)


@listed(CASES, source="Hugging Face imagefolder: metadata.csv with file_name and label")
def hugging_face_metadata(folder: Path) -> Made:
    truth = {f"img{n:02d}.png": ("cat", "dog")[n % 2] for n in range(16)}
    for number, name in enumerate(truth):
        photo(folder / name, number)
    pd.DataFrame({"file_name": list(truth), "label": list(truth.values()), "note": "x"}).to_csv(
        folder / "metadata.csv", index=False
    )
    return read_folder(folder, truth, counted(16))


@listed(
    CASES, source="links to another disk", good="right or refused", says="(?i)link|outside|good_00"
)
def symbolic_links(folder: Path) -> Made:
    truth = image_folder(folder)
    store = folder.parent / "elsewhere"
    store.mkdir()
    for name in truth:
        target = store / name.replace("/", "_")
        shutil.move(folder / name, target)
        (folder / name).symlink_to(target)
    return read_folder(folder, truth, counted(16))


@listed(
    CASES, "refused", says="bad_03", source="a file of no bytes, left by a copy that was broken off"
)
def empty_file_among_others(folder: Path) -> Made:
    truth = image_folder(folder)
    (folder / "bad/bad_03.png").write_bytes(b"")
    return read_folder(folder, truth)


@listed(CASES, source="an empty class folder stays behind, and one of odd name")
def empty_class_folder(folder: Path) -> Made:
    truth = image_folder(folder)
    (folder / "unused class").mkdir()
    return read_folder(folder, truth, counted(16))


@listed(CASES, "refused", says=r"(?i)zip|unpack|folder", source="a zip that was never unpacked")
def zipped(folder: Path) -> Made:
    image_folder(folder / "inside")
    shutil.make_archive(str(folder / "recordings"), "zip", folder / "inside")
    shutil.rmtree(folder / "inside")
    return read_folder(folder, {})


@listed(CASES, source="one name, several endings: run1.mp4, run1.wav, run1.csv in class folders")
def files_of_one_name(folder: Path) -> Made:
    truth = {}
    for label in ("good", "bad"):
        for n in range(6):
            truth |= {f"{label}/run{n}.{ending}": label for ending in ("wav", "csv", "png")}
    for number, name in enumerate(truth):
        if name.endswith("wav"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            tone = f"sine=frequency={300 + number * 7}:duration=1"
            ffmpeg("-f", "lavfi", "-i", tone, folder / name)
        else:
            (photo if name.endswith("png") else log)(folder / name, number)
    return read_folder(folder, truth, counted(12))


@listed(CASES, source="class folders with umlauts, blanks, commas and dots")
def names_of_classes(folder: Path) -> Made:
    labels = ("i.O. (gut)", "Poren, groß & klein")
    truth = {f"{label}/Bild {n}.jpg": label for label in labels for n in range(8)}
    for number, name in enumerate(truth):
        photo(folder / name, number)
    return read_folder(folder, truth, counted(16))


@listed(
    CASES,
    source="sessions between class and file: class/2023-06-04/photo.png; no day in two splits",
)
def class_session_file(folder: Path) -> Made:
    truth = {
        f"{label}/2023-06-{day:02d}/IMG_{n}.png": label
        for label in ("good", "bad")
        for day in range(1, 7)
        for n in range(2)
    }
    for number, name in enumerate(truth):
        photo(folder / name, number)

    def sessions(frame: pd.DataFrame, dataset: Any) -> list[str]:
        count = frame["group"].nunique()
        return (
            []
            if count in (6, 12) or len(frame) == 12
            else [f"{count} sessions of {len(frame)} recordings"]
        )

    return read_folder(folder, truth, sessions)
