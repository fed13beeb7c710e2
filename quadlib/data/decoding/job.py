"""One decoding job: the files of one modality of one recording, from disk to a raw array."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import DamageError
from quadlib.data.kinds.audio import decode_audio
from quadlib.data.kinds.image import decode_images
from quadlib.data.kinds.series import arc_window, read_series, resample_series
from quadlib.data.kinds.video import decode_video


@dataclass(frozen=True)
class Job:
    """What to decode; `arc` is the window of the record as fractions, `channels` how many a series
    must have (0: any).
    """

    kind: str
    paths: tuple[Path, ...]
    settings: MediaSettings
    arc: tuple[float, float] | None = None
    channels: int = 0


@dataclass(frozen=True)
class Decoded:
    """The raw array of a job; of a series also its arc window, its clock's repeated stamps and its
    long gaps.
    """

    array: np.ndarray
    arc: tuple[float, float] | None = None
    repeated_stamps: int = 0
    long_gaps: int = 0


def decode(job: Job) -> Decoded:
    """Decodes one job. Raises DamageError."""
    if job.kind == "image":
        return Decoded(decode_images(job.paths, job.settings))
    if len(job.paths) != 1:
        raise DamageError(
            job.paths[1],
            f"is one of {len(job.paths)} {job.kind} files of one recording",
            "keep one of them",
        )
    path = job.paths[0]
    if job.kind == "video":
        return Decoded(decode_video(path, job.settings, job.arc))
    if job.kind == "audio":
        return Decoded(decode_audio(path, job.settings, job.arc))
    if job.kind != "series":
        raise DamageError(
            path, f"a {job.kind} cannot be read from a file", "give it as an array in an .npz file"
        )
    series = read_series(path)
    if job.channels and len(series.channels) != job.channels:
        raise DamageError(
            path,
            f"has {len(series.channels)} channels ({', '.join(series.channels)}), the others have "
            f"{job.channels}",
            "give every recording the same columns",
        )
    arc = arc_window(series)
    array = resample_series(series, job.settings.series_steps, arc)
    return Decoded(array, arc, series.repeated_stamps, series.long_gaps)
