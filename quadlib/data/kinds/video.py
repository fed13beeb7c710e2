"""A video file becomes a few grey frames over the arc: the mean and the brightest value of each
time bin.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import av
import av.logging
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from quadlib.config import MediaSettings
from quadlib.data.decoding.bins import bin_edges, window_steps
from quadlib.data.decoding.damage import DamageError, open_regular
from quadlib.data.decoding.job import Decoded, Job
from quadlib.data.kinds import Kind
from quadlib.data.kinds.changes import relight, shift

# FFmpeg conceals damage by default: a truncated clip decodes silently short. These flags make it
# raise.
STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}
BIN_DROPOUT = 0.3  # chance that one time bin is masked in training


def decode_video(
    path: Path, settings: MediaSettings, arc: tuple[float, float] | None = None
) -> np.ndarray:
    """Decodes a whole video once, front to back, into uint8 (video_frames, 2, height, width).

    Channel 0 is the mean and channel 1 the maximum of the grey frames of a time bin, taken at full
    size (a spark is a few pixels) and then resized by area. `arc`: the window [on, off) as
    fractions of the record, None for all of it. Every frame is decoded, also outside the arc: fewer
    frames than the header promises are damage, as is any stream error. Raises DamageError.
    """
    av.logging.set_level(av.logging.PANIC)
    with open_regular(path) as file:
        _check_length(path, file)
        try:
            with av.open(file, "r", options=STRICT) as container:
                return _decode(path, container, settings, arc)
        except av.FFmpegError as error:
            raise DamageError(path, f"the video cannot be decoded ({error.strerror})") from None


def _check_length(path: Path, file: IO[bytes]) -> None:
    """A RIFF container (AVI) says how long it is; a cut within the last frame shows nowhere
    else.
    """
    head = file.read(8)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    promised = 8 + int.from_bytes(head[4:8], "little") if head[:4] == b"RIFF" else 0
    if (
        size + 1 < promised < 2**32
    ):  # one byte of padding may be missing; the largest number stands for "unknown"
        raise DamageError(
            path, f"holds {size} bytes where its header promises {promised}: it is cut short"
        )


def _decode(
    path: Path,
    container: av.container.InputContainer,
    settings: MediaSettings,
    arc: tuple[float, float] | None,
) -> np.ndarray:
    if not container.streams.video:
        raise DamageError(path, "holds no video stream", "put the recording's video in its place")
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1  # decoding threads deadlock in loader workers
    stream.codec_context.options = STRICT
    promised = stream.frames
    if not promised:
        raise DamageError(
            path,
            "its header does not say how many frames it has, so a cut could not be seen",
            "re-wrap it: ffmpeg -i IN -c copy OUT.avi",
        )
    starts, stops = bin_edges(*window_steps(promised, arc), settings.video_frames)
    reformatter = VideoReformatter()
    total = np.zeros((settings.video_frames, stream.height, stream.width), dtype=np.uint32)
    peak = np.zeros(total.shape, dtype=np.uint8)
    decoded = 0
    for decoded, frame in enumerate(container.decode(stream), start=1):
        bins = np.flatnonzero((starts < decoded) & (decoded <= stops))
        if not len(bins):
            continue
        grey = reformatter.reformat(
            frame, stream.width, stream.height, "gray", threads=1
        ).to_ndarray()
        for place in bins:
            total[place] += grey
            np.maximum(peak[place], grey, out=peak[place])
    if decoded < promised:
        raise DamageError(
            path,
            f"{decoded} frames can be decoded where its header promises {promised}: it is cut "
            "short",
        )
    mean = (total / (stops - starts)[:, None, None]).round().astype(np.uint8)
    size = (settings.video_width_px, settings.video_height_px)
    frames = [
        [_resized(mean[place], size), _resized(peak[place], size)]
        for place in range(settings.video_frames)
    ]
    return np.array(frames, dtype=np.uint8)


def _resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))


def header_seconds(path: Path) -> float:
    """How long a video lasts, as its container says; NaN where it says nothing."""
    with av.open(str(path)) as container:
        return float("nan") if container.duration is None else container.duration / av.time_base


def decode(job: Job) -> Decoded:
    """The kind's decoder."""
    return Decoded(decode_video(job.path, job.settings, job.arc))


def shape(_: tuple[int, ...], settings: MediaSettings) -> tuple[int, ...]:
    """Time bins, mean and maximum, height, width."""
    return settings.video_frames, 2, settings.video_height_px, settings.video_width_px


def move(frames: np.ndarray, random: np.random.Generator) -> None:
    """All frames shifted alike; a weld has a direction, so left and right stay."""
    vertical, horizontal, _ = random.random(3)
    shift(frames, vertical, horizontal)


def vary(frames: np.ndarray, random: np.random.Generator) -> None:
    """(T, 2, H, W): contrast, brightness, one masked time bin."""
    relight(frames, random)
    chance, position = random.random(2)
    if chance < BIN_DROPOUT:
        frames[int(position * len(frames))] = 0


KIND = Kind(
    axes=("T", 2, "H", "W"),
    encoder="video",
    extensions=(".avi", ".mp4", ".mkv", ".mov", ".webm", ".m4v", ".mpg"),
    decode=decode,
    shape=shape,
    prefix="video_",
    dtype="uint8",
    kept_axes=(1,),
    move=move,
    vary=vary,
    takes_arc=True,
    seconds=header_seconds,
)
