"""The weld camera: a dark plate, then the arc, the pool below it whose size and brightness follow
the power, and sparks.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags

from quadlib.data.sources.weldsim.plan import VIDEO_STREAM, Recording
from quadlib.data.sources.weldsim.process import REFERENCE_POWER_W, Process
from quadlib.data.sources.weldsim.settings import Geometry

ASPECT = 1.6
CHUNK_FRAMES = 16  # a chunk stays in the cache
CHROMA = (130, 126)
# Black is 16 and white 235 in this format: a reader would clip what is darker or brighter.
LUMA = np.round(16 + np.arange(256, dtype=np.float32) * (219 / 255)).astype(np.uint8)


def write_video(path: Path, recording: Recording, process: Process, geometry: Geometry) -> None:
    """Writes AVI, MPEG-4 (FMP4), near-monochrome; one thread and bit-exact flags make the same file
    every time.
    """
    width, height = geometry.video_px
    with av.open(str(path), "w", format="avi", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mpeg4", rate=geometry.frames_per_s)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        codec = stream.codec_context
        codec.thread_count = 1
        codec.bit_rate = int(9000 * geometry.frames_per_s * (width * height / 10_240) ** 0.5)
        codec.flags |= Flags.bitexact
        for chunk in render_frames(recording, process, geometry):
            for grey in chunk:
                container.mux(stream.encode(_frame(grey, width, height)))
        container.mux(stream.encode(None))


def _frame(grey: np.ndarray, width: int, height: int) -> av.VideoFrame:
    rows, columns = grey.shape
    planes = np.empty((rows * 3 // 2, columns), dtype=np.uint8)
    np.take(LUMA, grey, out=planes[:rows], mode="clip")
    planes[rows : rows * 5 // 4], planes[rows * 5 // 4 :] = CHROMA
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    return (
        frame if (columns, rows) == (width, height) else frame.reformat(width=width, height=height)
    )


def render_frames(
    recording: Recording, process: Process, geometry: Geometry
) -> Iterator[np.ndarray]:
    """Frames, uint8 (n, height, width) at the render size, in chunks."""
    rng = recording.rng(VIDEO_STREAM)
    scene = _Scene(recording, process, geometry, rng)
    for first in range(0, len(scene.time), CHUNK_FRAMES):
        yield scene.frames(slice(first, min(first + CHUNK_FRAMES, len(scene.time))))


class _Scene:
    """The tracks of arc, pool and sparks over all frames; frames are drawn from them in chunks."""

    def __init__(
        self, recording: Recording, process: Process, geometry: Geometry, rng: np.random.Generator
    ) -> None:
        session, cues = recording.session, recording.cues["video"]
        self.rng, self.session, self.cues = rng, session, cues
        width, height = geometry.video_render_px
        self.x = np.linspace(0, ASPECT, width, dtype=np.float32)
        self.y = np.linspace(0, 1, height, dtype=np.float32)
        count = int(recording.duration_s * geometry.time_scale * geometry.frames_per_s)
        time = (
            np.arange(count) / geometry.frames_per_s / geometry.time_scale
            - session.clock_offset_s["video"]
        )
        self.time = time
        on, off = recording.arc_on_s, recording.arc_off_s
        arc = ((time >= on) & (time < off)).astype(float)
        # The camera sees the session's usual power; what the current does within a weld is the
        # sensor's to tell.
        power = np.full(count, session.current_a * session.voltage_v / REFERENCE_POWER_W) * (
            1 + rng.normal(0, 0.03)
        )
        flicker = np.exp(rng.normal(0, 0.05 + 0.22 * np.clip(cues["flicker"], 0, 2), count))
        self.along = np.clip((time - on) / (off - on), 0, 1)
        abrupt = float(np.clip(cues["abrupt"], -0.3, 1.2))
        # A filled crater fades out over the last 4 s; an abrupt one flares up and is gone.
        ending = np.clip(1 - (off - time) / 4.0, 0, 1) * arc
        self.flare = 1 + ending * (0.7 * abrupt - 0.55 * (1 - abrupt))
        glow = np.where(
            time >= off,
            np.exp(-np.clip(time - off, 0, None) / 1.2) * 0.6 * (1 - max(0.0, abrupt)),
            0,
        )
        self.hole = self._envelope(recording, "hole", 0.9)
        self.drop = self._envelope(recording, "drop", 0.8)
        flash = 0.8 * self._envelope(recording, "stub", 0.35) + 0.5 * self._envelope(
            recording, "pore", 0.3
        ) * rng.normal(0, 1, count)
        self.brightness = session.exposure * power**0.6 * flicker * np.clip(1 + flash, 0.3, 2.2)
        self.arc = arc * self.flare * np.clip(1 - 1.1 * self.hole, 0, 1)
        self.pool = np.maximum(arc * self.flare, glow)
        zoom = session.camera_zoom
        self.half_width = 0.15 * zoom * power**0.4 * np.exp(0.5 * cues["width"]) * self.flare**0.4
        self.half_height = (
            0.085
            * zoom
            * power**0.3
            * np.exp(0.5 * cues["height"] - 0.1 * cues["width"])
            * self.flare**0.4
        )
        direction = 1 if rng.random() < 0.5 else -1
        wander = np.interp(self.along, np.linspace(0, 1, 7), rng.normal(0, 0.012, 7))
        self.centre_x = (
            ASPECT / 2
            + session.camera_shift[0]
            + wander
            + direction * 0.5 * cues["drift"] * (self.along - 0.5)
        )
        self.centre_y = (
            0.6
            + session.camera_shift[1]
            + 0.09 * cues["sink"]
            + 0.1 * self.drop
            + 0.16 * cues["drift"] * (self.along - 0.5)
        )
        self.fume = np.clip(0.1 + cues["fume"], 0, 2) * np.exp(
            np.interp(self.along, np.linspace(0, 1, 12), rng.normal(0, 0.4, 12))
        )
        self.background = self._background(recording)
        self.sparks = self._sparks(recording, geometry)

    def _envelope(self, recording: Recording, kind: str, seconds: float) -> np.ndarray:
        """How much of each frame the events of a kind cover."""
        events = recording.shown(kind, "video")
        total = np.zeros(len(self.time))
        for at, mark in zip(recording.at(events.place), events.mark, strict=True):
            total += min(1.3, mark) * np.exp(-0.5 * ((self.time - at - seconds / 2) / seconds) ** 2)
        return np.clip(total, 0, 1.3)

    def _background(self, recording: Recording) -> np.ndarray:
        """The lit plate: brighter below, a dark joint line; an upright plate behind it in a
        fillet.
        """
        y, x = self.y[:, None], self.x[None, :]
        plate = 0.5 + 0.5 * y + 0.1 * (x - 0.8)
        if recording.session.joint == "fillet":
            plate = np.where(y < 0.5 + recording.session.camera_shift[1], plate * 0.6 + 0.1, plate)
        return (
            plate
            * (
                1
                - 0.4 * np.exp(-0.5 * ((y - 0.52 - recording.session.camera_shift[1]) / 0.02) ** 2)
            )
        ).astype(np.float32)

    def _sparks(
        self, recording: Recording, geometry: Geometry
    ) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """Bright tracks: frame, rows and columns of the pixels; every spatter event throws
        several.
        """
        events = recording.shown("spatter", "video")
        tracks = []
        for at, mark in zip(recording.at(events.place), events.mark, strict=True):
            frame = int(np.searchsorted(self.time, at))
            for _ in range(int(self.rng.integers(2, 5))):
                angle, reach = (
                    self.rng.uniform(-0.2, np.pi + 0.2),
                    0.3 * mark * self.rng.uniform(0.5, 1.4),
                )
                for step in range(2):
                    if frame + step >= len(self.time):
                        continue
                    path = np.linspace(
                        0.1 + step * reach, 0.1 + (step + 1) * reach, 4 * len(self.y) // 10
                    )
                    column = (self.centre_x[frame] + path * np.cos(angle)) / ASPECT * len(self.x)
                    row = (self.centre_y[frame] - path * np.sin(angle) + 0.35 * path**2) * len(
                        self.y
                    )
                    inside = (
                        (row >= 0)
                        & (row < len(self.y) - 1)
                        & (column >= 0)
                        & (column < len(self.x) - 1)
                    )
                    tracks.append(
                        (frame + step, row[inside].astype(int), column[inside].astype(int))
                    )
        return tracks

    def frames(self, part: slice) -> np.ndarray:
        """Frames of one slice of time, uint8 (n, height, width)."""
        cues = self.cues
        cx, cy = self.centre_x[part], self.centre_y[part]
        arc, bright = self.arc[part], self.brightness[part]
        lit = (8 * self.session.light + 26 * arc * bright).astype(np.float32)
        picture = lit[:, None, None] * self.background
        layer = np.empty_like(picture)  # one for all blobs: fresh memory costs more than they do
        blob = partial(self._blob, out=layer)
        half_width, half_height = self.half_width[part], self.half_height[part]
        pool_level = 105 * self.pool[part] * bright
        picture += blob(cx, cy, half_width, half_height, level=pool_level)
        # A sinking pool shows a dark middle, a rolling one runs ahead of its arc, a long arc stands
        # above it.
        sink = np.clip(0.75 * cues["sink"] + 0.7 * self.drop[part], -0.3, 1.2)
        level = 0.75 * pool_level * sink
        picture -= blob(cx, cy + 0.02, 0.5 * half_width, 0.55 * half_height, level=level)
        if cues["roll"] > 0:
            level = 80 * cues["roll"] * self.pool[part] * bright
            picture += blob(cx + 0.26, cy + 0.03, 0.13, 0.07, level=level)
        if cues["fume"] > -0.1:
            level = 58 * self.fume[part] * arc * bright
            picture += blob(cx + 0.05, cy - 0.36, 0.34, 0.22, level=level)
        if (hole := 150 * self.hole[part] * (self.pool[part] > 0.05)).any():
            picture -= blob(cx, cy, 0.75 * half_width, 0.8 * half_height, level=hole)
        long = np.clip(cues["arc_length"], -0.5, 1.5)
        level = 230 * arc * np.minimum(1.5, bright)
        above = cy - 0.11 - 0.07 * long
        picture += blob(cx, above, 0.05, 0.06 * np.exp(0.75 * long), level=level)
        self.rng.standard_normal(dtype=np.float32, out=layer)
        layer *= 2.5
        picture += layer
        first = part.start
        for frame, rows, columns in self.sparks:
            if first <= frame < part.stop:
                for shift in (0, 1):
                    picture[frame - first, rows + shift, columns] = 240
        return np.clip(picture, 0, 255, out=picture).astype(np.uint8)

    def _blob(
        self,
        cx: np.ndarray,
        cy: np.ndarray,
        half_width: np.ndarray | float,
        half_height: np.ndarray | float,
        level: np.ndarray,
        out: np.ndarray,
    ) -> np.ndarray:
        """Gaussian blobs, one a frame, in `out`: a product of a row and a column, so that whole
        chunks cost two small exponentials.
        """
        across = np.exp(
            -0.5 * ((self.x[None, :] - cx[:, None]) / np.reshape(half_width, (-1, 1))) ** 2
        )
        down = (
            np.exp(-0.5 * ((self.y[None, :] - cy[:, None]) / np.reshape(half_height, (-1, 1))) ** 2)
            * level[:, None]
        )
        down, across = down.astype(np.float32), across.astype(np.float32)
        return np.multiply(down[:, :, None], across[:, None, :], out=out)
