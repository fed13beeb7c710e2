"""A video file becomes a few grey frames over the arc: the mean and the brightest value of each
time bin.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from PIL import Image

from quadlib.config import MediaSettings
from quadlib.data.decoding.clocks import window_of
from quadlib.data.decoding.container import decoded_frames, open_container, promised_seconds
from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.job import Decoded, Job
from quadlib.data.decoding.look import Frames as FramesSeen
from quadlib.data.kinds import Kind
from quadlib.data.kinds.changes import relight, shift

BIN_DROPOUT = 0.3  # chance that one time bin is masked in training
KEPT_BYTES = 256 * 2**20  # of frames between finding the clock and binning
JUMP_SECONDS = 10.0  # a broadcast's clock that leaps farther was set anew
SHOWN, SHOWN_PX = 16, 240  # frames that are looked at, and their longer side
HIDING = ("vp8", "vp9", "av1")  # codecs with packets that show no frame


@dataclass(frozen=True)
class Timeline:
    """When a video's frames are shown, by one pass over its packets: `seconds` in all, and for
    every stretch of one clock (first time stamp, s; seconds to add to them). `step` is the usual
    time between frames, which stands for the clock of a stream without time stamps.
    """

    seconds: float
    stretches: tuple[tuple[float, float], ...]
    step: float
    leaps: bool
    shown: int


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


class Frames:
    """The frames of a video, each with its time, s after the first one shown. Those that fit into
    memory are decoded once, however often they are looked at. Raises DamageError.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.timeline = path, read_timeline(path)
        self.kept: list[tuple[float, av.VideoFrame]] | None = None

    def __iter__(self) -> Iterator[tuple[float, av.VideoFrame]]:
        return _timed_frames(self.path, self.timeline) if self.kept is None else iter(self.kept)

    def brightness(self) -> tuple[np.ndarray, np.ndarray]:
        """Times, s after the first frame, and mean grey level of every frame."""
        reformatter, times, levels = VideoReformatter(), [], []
        kept, size = [], 0
        for time, frame in self:
            times.append(time)
            levels.append(float(_grey(reformatter, frame, frame.width, frame.height).mean()))
            size += sum(plane.buffer_size for plane in frame.planes)
            if size <= KEPT_BYTES:
                kept.append((time, frame))
            else:
                kept.clear()
        self.kept = kept or None
        return np.array(times), np.array(levels)


def read_timeline(path: Path) -> Timeline:
    """The clock of a video, from its packets alone. Raises DamageError for a file that ends before
    its header says.
    """
    with open_container(path, "video") as container:
        stream = _picture_stream(path, container)
        promised = promised_seconds(path, container, stream)
        whole = stream.duration is None  # then the promise is that of all streams together
        leaps = container.format.name.split(",")[0] in ("mpegts", "mpeg")
        shown, stamped, stretches, step = 0, True, [], 1 / float(stream.average_rate or 25)
        first = last = end = final = before = float("nan")
        total, stamps = 0.0, array("d")
        for packet in container.demux():
            base = float(packet.time_base) if packet.time_base else 0.0
            if packet.pts is not None:
                final = np.fmax(final, (packet.pts + (packet.duration or 0)) * base)
            if packet.stream.index != stream.index or not packet.size or packet.is_discard:
                continue
            shown += 1
            if packet.pts is None:
                stamped = False
                continue
            now, clock = packet.pts * base, None if packet.dts is None else packet.dts * base
            if clock is not None:
                if before - clock > 0.5 or (leaps and clock - before > JUMP_SECONDS):
                    stretches.append((first, total - first))
                    total += end - first
                    first = last = end = float("nan")
                before = clock
            stamps.append(now)
            first = np.fmin(first, now)
            # In MP4 a duration is the step of decoding: only that of the last frame shown counts.
            if not now < last:
                last, end = now, now + ((packet.duration or 0) * base or step)
    if not stamped or not shown:
        return Timeline(max(shown, 1) * step, (), step, leaps, shown)
    reached = np.fmax(end, final) if whole else end
    if max(reached, end - first) + max(2 * step, 0.005 * promised) < promised:
        raise DamageError(
            path,
            f"holds {end - first:.2f} s where its header promises {promised:.2f} s: it is cut "
            "short",
        )
    stretches.append((first, total - first))
    apart = np.diff(np.unique(stamps))
    step = float(np.median(apart)) if len(apart) else end - first
    return Timeline(total + end - first, tuple(stretches), step, leaps, shown)


def _timed_frames(path: Path, timeline: Timeline) -> Iterator[tuple[float, av.VideoFrame]]:
    """Every frame with its time, s after the first one shown. Raises DamageError."""
    with open_container(path, "video") as container:
        stream = _picture_stream(path, container)
        promised = promised_seconds(path, container, stream) > 0
        count, stretch, before, now = 0, 0, float("-inf"), 0.0
        for frame in decoded_frames(path, container, stream, promised, "video"):
            if timeline.stretches and frame.pts is not None:
                stamp = float(frame.time)
                leap = timeline.leaps and stamp - before > JUMP_SECONDS and np.isfinite(before)
                if before - stamp > 0.5 or leap:
                    stretch = min(stretch + 1, len(timeline.stretches) - 1)
                before, now = stamp, max(now, stamp + timeline.stretches[stretch][1])
            else:
                now = count * timeline.step
            count += 1
            yield now, frame
        hiding = stream.codec_context.name in HIDING or "dav1d" in stream.codec_context.name
    if not count:
        raise DamageError(path, "holds no video frame that can be decoded")
    if promised and not hiding and count < 0.9 * timeline.shown - 1:
        raise DamageError(
            path, f"{count} of its {timeline.shown} video frames can be decoded: it is damaged"
        )


def _picture_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    """The first stream that moves; a cover picture does not."""
    for stream in container.streams.video:
        known = stream.codec_context is not None
        if known and not stream.disposition & Disposition.attached_pic:
            return stream
    raise DamageError(path, "holds no video stream", "put the recording's video in its place")


def _grey(
    reformatter: VideoReformatter, frame: av.VideoFrame, width: int, height: int
) -> np.ndarray:
    return reformatter.reformat(frame, width, height, "gray", threads=1).to_ndarray()


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
            self.matrix = _display_matrix(frame)
        grey = _grey(self.reformatter, frame, self.width, self.height)
        for place in places:
            self.total[place] += grey
            np.maximum(self.peak[place], grey, out=self.peak[place])
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
        picture = Image.fromarray(np.ascontiguousarray(_turned(frame, self.matrix)))
        return np.asarray(picture.resize(size, Image.Resampling.BOX))


def _display_matrix(frame: av.VideoFrame) -> bytes:
    matrix = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]
    return b"" if matrix is None else bytes(matrix)


def _turned(picture: np.ndarray, matrix: bytes) -> np.ndarray:
    """(H, W, ...) turned by the display matrix, which says where the pixel (x, y) is shown: at
    (a x + c y, b x + d y).
    """
    if len(matrix) != 36:
        return picture
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    if abs(b) > abs(a):
        picture, a, d = picture.swapaxes(0, 1), c, b
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


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
    wanted = list((np.arange(SHOWN) + 0.5) / SHOWN * seconds)
    picked: list[np.ndarray] = []
    previous, scale, reformatter = None, 0.0, VideoReformatter()
    for time, frame in chain(frames, [(float("inf"), None)]):
        while wanted and previous is not None and wanted[0] < time:
            scale = scale or SHOWN_PX / max(previous.width, previous.height, SHOWN_PX)
            width, height = (
                max(1, round(side * scale)) for side in (previous.width, previous.height)
            )
            small = reformatter.reformat(previous, width, height, "rgb24", threads=1).to_ndarray()
            picked.append(_turned(small, _display_matrix(previous)))
            wanted.pop(0)
        previous = frame
    return FramesSeen(np.stack(picked), seconds=seconds, offset_s=facts.get("offset_s"))


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
