"""The frames of a video file, each with its time, and what is looked at of one."""

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

from quadlib.data.decoding.container import decoded_frames, open_container, promised_seconds
from quadlib.data.decoding.damage import DamageError

KEPT_BYTES = 256 * 2**20  # of frames between finding the clock and binning
JUMP_SECONDS = 10.0  # a broadcast's clock that leaps farther was set anew
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
            levels.append(float(grey(reformatter, frame, frame.width, frame.height).mean()))
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


def middles(frames: Frames, window: tuple[float, float], count: int) -> Iterator[av.VideoFrame]:
    """The frames that are shown at the middles of equal shares of a window, s; before the first one
    that one, after the last one that.
    """
    on, off = window
    wanted = list(on + (np.arange(count) + 0.5) / count * (off - on))
    previous = None
    for time, frame in chain(frames, [(float("inf"), None)]):
        while wanted and previous is not None and wanted[0] < time:
            yield previous
            wanted.pop(0)
        previous = frame


def size_of(frame: av.VideoFrame) -> tuple[int, int]:
    """Width and height."""
    return frame.width, frame.height


def coloured(frame: av.VideoFrame, width: int, height: int) -> np.ndarray:
    """(H, W, 3) uint8, upright."""
    picture = VideoReformatter().reformat(frame, max(1, width), max(1, height), "rgb24", threads=1)
    return np.ascontiguousarray(turned(picture.to_ndarray(), display_matrix(frame)))


def grey(
    reformatter: VideoReformatter, frame: av.VideoFrame, width: int, height: int
) -> np.ndarray:
    """(H, W) uint8, of a given size."""
    return reformatter.reformat(frame, width, height, "gray", threads=1).to_ndarray()


def display_matrix(frame: av.VideoFrame) -> bytes:
    """How the frame is to be turned, as the file says; empty where it does not."""
    matrix = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]
    return b"" if matrix is None else bytes(matrix)


def turned(picture: np.ndarray, matrix: bytes) -> np.ndarray:
    """(H, W, ...) turned by the display matrix, which says where the pixel (x, y) is shown: at
    (a x + c y, b x + d y).
    """
    if len(matrix) != 36:
        return picture
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    if abs(b) > abs(a):
        picture, a, d = picture.swapaxes(0, 1), c, b
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
