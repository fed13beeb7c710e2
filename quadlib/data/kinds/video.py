"""A video file becomes a few grey frames over the arc: the mean and the brightest value of each
time bin.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from quadlib.config import MediaSettings
from quadlib.data.decoding.clocks import window_of
from quadlib.data.decoding.frames import (
    Frames,
    coloured,
    display_matrix,
    grey,
    middles,
    read_timeline,
    size_of,
    turned,
)
from quadlib.data.decoding.job import Decoded, Job
from quadlib.data.decoding.look import Frames as FramesSeen
from quadlib.data.kinds import Kind
from quadlib.data.kinds.changes import relight, shift

BIN_DROPOUT = 0.3  # chance that one time bin is masked in training
SHOWN, SHOWN_PX = 16, 240  # frames that are looked at, and their longer side


def decode_video(
    path: Path,
    settings: MediaSettings,
    window: tuple[float, float] | None = None,
    frames: Frames | None = None,
) -> np.ndarray:
    """Decodes a whole video once, front to back, into uint8 (video_frames, 2, height, width).

    Channel 0 is the mean and channel 1 the maximum of the grey frames of a time bin, taken at full
    size (a spark is a few pixels) and then resized by area. Bins are equal in time, whatever the
    frame rate does: a bin in which no frame starts keeps the one that is still shown. Frames are
    upright, as the file's display matrix says, and scaled to the first where their size changes.
    `window`: [on, off) in seconds after the first frame, None for all of it; `frames`: those of
    the file, where they are decoded already. Every frame is decoded, also outside the window: less
    than the header promises is damage, as is any stream error. Raises DamageError.
    """
    frames = frames or Frames(path)
    timeline = frames.timeline
    on, off = window if window is not None else (0.0, timeline.seconds)
    bins, width = settings.video_frames, (off - on) / settings.video_frames
    picture = _Picture(bins)
    place, previous = -1, None
    for time, frame in frames:
        # By its middle, since many containers round their time stamps to milliseconds.
        middle = time + min(timeline.step, width) / 2
        position = int(np.floor((middle - on) / width))
        picture.add(previous or frame, range(max(0, place + 1), min(position, bins)))
        if 0 <= position < bins:
            picture.add(frame, (position,))
        place, previous = max(place, position), frame
    if previous is not None:
        picture.add(previous, range(max(0, place + 1), bins))
    return picture.resized((settings.video_width_px, settings.video_height_px))


class _Picture:
    """Sum and maximum of the grey frames of every bin, at the size of the first frame."""

    def __init__(self, bins: int) -> None:
        self.bins = bins
        self.counts = np.zeros(bins)
        self.reformatter = VideoReformatter()
        self.matrix: bytes = b""

    def add(self, frame: av.VideoFrame, places: range | tuple[int, ...]) -> None:
        if not len(places):
            return
        if not self.counts.any():
            self.height, self.width = frame.height, frame.width
            self.total = np.zeros((self.bins, self.height, self.width), dtype=np.uint32)
            self.peak = np.zeros(self.total.shape, dtype=np.uint8)
            self.matrix = display_matrix(frame)
        picture = grey(self.reformatter, frame, self.width, self.height)
        for place in places:
            self.total[place] += picture
            np.maximum(self.peak[place], picture, out=self.peak[place])
            self.counts[place] += 1

    def resized(self, size: tuple[int, int]) -> np.ndarray:
        """uint8 (bins, 2, height, width), upright."""
        mean = (self.total / self.counts[:, None, None]).round().astype(np.uint8)
        frames = [
            [self._upright(mean[k], size), self._upright(self.peak[k], size)]
            for k in range(self.bins)
        ]
        return np.array(frames, dtype=np.uint8)

    def _upright(self, frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        picture = Image.fromarray(np.ascontiguousarray(turned(frame, self.matrix)))
        return np.asarray(picture.resize(size, Image.Resampling.BOX))


def seconds(path: Path) -> float:
    """How long a video lasts, by its packets. Raises DamageError."""
    return read_timeline(path).seconds


def decode(job: Job) -> Decoded:
    """The kind's decoder."""
    frames = Frames(job.path)
    window, facts = window_of(job, frames.timeline.seconds, frames.brightness)
    return Decoded(decode_video(job.path, job.settings, window, frames), facts=facts)


def look(job: Job) -> FramesSeen:
    """Evenly spaced frames of the whole file, in colour: each the one that is shown at the middle
    of its share of the time.
    """
    frames = Frames(job.path)
    seconds = frames.timeline.seconds
    _, facts = window_of(job, seconds, frames.brightness)
    picked: list[np.ndarray] = []
    scale = 0.0
    for frame in middles(frames, (0.0, seconds), SHOWN):
        scale = scale or SHOWN_PX / max(frame.width, frame.height, SHOWN_PX)
        picked.append(coloured(frame, *(round(side * scale) for side in size_of(frame))))
    return FramesSeen(np.stack(picked), seconds=seconds, offset_s=facts.get("offset_s"))


def decode_frames(job: Job) -> Decoded:
    """What networks for photos and videos read: uint8 (video_frames, 3, height, width), RGB, each
    the frame that is shown at the middle of its share of the arc, whole, resized bicubically.
    """
    settings, frames = job.settings, Frames(job.path)
    size = (settings.video_width_px, settings.video_height_px)
    window, facts = window_of(job, frames.timeline.seconds, frames.brightness)
    picked = [
        np.asarray(
            Image.fromarray(coloured(frame, *size_of(frame))).resize(size, Image.Resampling.BICUBIC)
        )
        for frame in middles(
            frames, window or (0.0, frames.timeline.seconds), settings.video_frames
        )
    ]
    return Decoded(np.stack(picked).transpose(0, 3, 1, 2), facts=facts)


def look_at(frames: np.ndarray) -> FramesSeen:
    """(T, 2, H, W): the mean of each time bin."""
    return FramesSeen(np.repeat(frames[:, 0, :, :, None], 3, axis=3))


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
    extensions=(
        *(".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".vob", ".ts", ".mts"),
        *(".m2ts", ".wmv", ".asf", ".flv", ".3gp", ".3g2", ".ogv", ".mxf", ".dv", ".h264", ".h265"),
    ),
    decode=decode,
    shape=shape,
    prefix="video_",
    dtype="uint8",
    kept_axes=(1,),
    move=move,
    vary=vary,
    takes_arc=True,
    seconds=seconds,
    look=look,
    look_at=look_at,
)
