"""Judges the media cases in bulk: all files of a kind are one table, decoded as `data check`
decodes them, and each is held against what ffmpeg or Pillow reads.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from quadlib.config import TrainSettings
from quadlib.data.samples import Modality, SampleTable
from quadlib.data.store.store import decode_table
from tests.data.cases.matrix import Case, Outcome, Right, Verdict
from tests.data.cases.media_makers import make, picture_of

Row = tuple[str, str, str, Any, str]
TOLERANCE = {"video": 1.5, "audio": 2.0, "image": 6.0}  # grey levels, decibels, levels
SIZE = (96, 64)


def judge_all(cases: Sequence[Row], folder: Path) -> list[Outcome]:
    """Every case with its verdict and the reason; the command ffmpeg makes the files."""
    outcomes = []
    for kind in dict.fromkeys(case[1] for case in cases):
        rows = [case for case in cases if case[1] == kind]
        root = folder / kind
        places = [root / str(number) for number in range(len(rows))]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(_prepare, rows, places))
        files = [place / case[2] for case, place in zip(rows, places, strict=True)]
        arrays, damage = decoded(kind, root, files)
        reference: dict[Path, np.ndarray] = {}
        if kind == "audio":
            heard = [place / "expected.wav" for place in places]
            heard = [path for path in heard if path.exists()]
            expected, trouble = decoded(kind, root, heard) if heard else (np.zeros(0), {})
            assert not trouble, trouble
            reference = dict(zip([path.parent for path in heard], expected, strict=True))
        for number, (case, place) in enumerate(zip(rows, places, strict=True)):
            verdict, detail = _refused_or_read(case[4], damage.get(number))
            if not verdict:
                verdict, detail = _compared(case, place, arrays[number], reference)
            told = Case(case[0], kind, lambda _: None, Right())
            outcomes.append(Outcome(told, verdict, detail))
    return outcomes


def decoded(kind: str, root: Path, files: list[Path]) -> tuple[np.ndarray, dict[int, str]]:
    """What quadlib makes of files of a kind, and what it says is wrong with them, by position."""
    names = [str(number) for number in range(len(files))]
    frame = pd.DataFrame({"sample_id": names, "label": "a", "group": "g", "split": ""})
    frame[kind] = [str(file.relative_to(root)) for file in files]
    table = SampleTable(frame, {kind: Modality(kind)}, root=root)
    settings = TrainSettings(
        outputs=str(root / "outputs"),
        image_views=1,
        image_width_px=SIZE[0],
        image_height_px=SIZE[1],
    )
    store = decode_table(table, settings)
    damage = {int(item.sample_id): f"{item.what}; {item.remedy}" for item in store.damage}
    return store.arrays[kind], damage


def _prepare(case: Row, place: Path) -> None:
    place.mkdir(parents=True)
    make(case[3], place / case[2])
    if case[1] == "audio" and case[4].startswith("= "):
        make(case[4][2:], place / "expected.wav")
    elif case[1] == "audio" and case[4] == "ffmpeg":
        command = ["ffmpeg", "-nostdin", "-v", "fatal", "-y", "-i", f"file:{place / case[2]}"]
        command += ["-map", "0:a:0", "-c:a", "pcm_f32le", str(place / "expected.wav")]
        subprocess.run(command, check=True)


def _refused_or_read(right: str, damage: str | None) -> tuple[Verdict | None, str]:
    """The verdict where the decoder's yes or no is enough for one."""
    if damage and ("crashed" in damage or "did not end" in damage):
        return "foreign traceback", damage
    if not right.startswith("refused: "):
        return ("healthy refused", damage) if damage else (None, "")
    words = right.removeprefix("refused: ")
    if damage is None:
        return "silently wrong", f"accepted; expected {right}"
    if words not in damage:
        return "silently wrong", f"the cause is not named: {words!r} is not in: {damage}"
    return "right", ""


def _compared(
    case: Row, place: Path, array: np.ndarray, reference: dict[Path, np.ndarray]
) -> tuple[Verdict, str]:
    _, kind, name, maker, right = case
    if right == "range":
        return "right", ""
    if kind == "video":
        expected = video_of_ffmpeg(place / name, len(array), *array.shape[2:])
    elif kind == "audio":
        expected = reference[place]
    else:
        size = getattr(maker, "size", SIZE)
        picture = (
            _photo_of_ffmpeg(place / name) if right == "ffmpeg" else picture_of(right[2:], size)
        )
        small = Image.fromarray(picture).resize(SIZE, Image.Resampling.BOX, reducing_gap=3)
        expected = np.asarray(small).transpose(2, 0, 1)[None]
    error = np.abs(array.astype(float) - expected.astype(float))
    if kind == "audio":  # below that is what codecs and dither leave of silence
        error = error[(expected > -70) | (array > -70)]
    away = error.mean() if error.size else 0.0
    return ("silently wrong", f"{away:.1f} away") if away > TOLERANCE[kind] else ("right", "")


def video_of_ffmpeg(path: Path, bins: int, height: int, width: int) -> np.ndarray:
    """Mean and brightest grey of every time bin, as ffmpeg's command line decodes the frames."""
    command = ["ffmpeg", "-nostdin", "-i", f"file:{path}", "-map", "0:V:0"]
    command += ["-vsync", "passthrough", "-vf", "showinfo,format=gray", "-f", "rawvideo", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    size = re.search(rb" s:(\d+)x(\d+) ", done.stderr)
    assert size, done.stderr[-500:]
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, int(size[2]), int(size[1]))
    times = re.findall(rb"pts_time:\s*(-?[\d.]+)", done.stderr)
    clock = np.array([float(text) for text in times[: len(frames)]])
    steps = np.diff(clock)
    if len(clock) < len(frames) or (steps < 0).any():
        clock, steps = np.arange(len(frames)) / 25, np.full(max(0, len(frames) - 1), 0.04)
    step = np.median(steps) if len(steps) else 1
    edges = np.linspace(clock[0], clock[-1] + step, bins + 1)
    clock = clock + min(step, edges[1] - edges[0]) / 2
    first = np.searchsorted(clock, edges[:-1])
    last = np.maximum(np.searchsorted(clock, edges[1:]), first)
    result = []
    for start, stop in zip(first, last, strict=True):
        shown = frames[start:stop] if stop > start else frames[max(0, start - 1) : max(1, start)]
        for frame in (shown.mean(axis=0).round().astype(np.uint8), shown.max(axis=0)):
            result.append(Image.fromarray(frame).resize((width, height), Image.Resampling.BOX))
    return np.array(result).reshape(bins, 2, height, width)


def _photo_of_ffmpeg(path: Path) -> np.ndarray:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(path)]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(SIZE[1], SIZE[0], 3)
