"""Photos of the finished bead: ripples and class marks along a stripe, and the paper sticker with
the part's name.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from quadlib.data.sources.weldsim.plan import IMAGE_STREAM, Recording
from quadlib.data.sources.weldsim.settings import Geometry

MARGIN = 0.04
BEAD_START, BEAD_END, BEAD_LINE, BEAD_HALF_WIDTH = 0.10, 0.90, 0.60, 0.115

# Three columns of five rows, a bit a dot.
GLYPHS = {
    "0": "111101101101111",
    "1": "010110010010111",
    "2": "111001111100111",
    "3": "111001111001111",
    "4": "101101111001001",
    "5": "111100111001111",
    "6": "111100111101111",
    "7": "111001010010010",
    "8": "111101111101111",
    "9": "111101111001111",
    "-": "000000111000000",
}


def photo_jpegs(recording: Recording, geometry: Geometry) -> list[bytes]:
    """The photos of one weld as JPEG files: the same bead from slightly different places, lights
    and distances.
    """
    rng = recording.rng(IMAGE_STREAM)
    width, height = geometry.photo_px
    canvas = render_bead(
        recording, (int(width * (1 + 2 * MARGIN)), int(height * (1 + 2 * MARGIN))), rng
    )
    tint = np.array(recording.session.photo_tint, dtype=np.float32)
    files = []
    for _ in range(geometry.photos):
        left, top = (int(rng.uniform(0, 2 * MARGIN) * side) for side in (width, height))
        grain = (
            rng.standard_normal((height // 2, width // 2), dtype=np.float32)
            .repeat(2, 0)
            .repeat(2, 1)
            * recording.session.grain
            * 0.5
        )
        view = canvas[top : top + height, left : left + width].copy()
        view[: grain.shape[0], : grain.shape[1]] += grain
        view *= recording.session.photo_light * np.exp(rng.normal(0, 0.04))
        colour = np.clip(view[:, :, None] * tint, 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(colour).save(file, "JPEG", quality=88)
        files.append(file.getvalue())
    return files


def render_bead(
    recording: Recording, size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Grey levels, float32 (height, width), of plate, bead, marks and sticker; places are shares of
    width and height.
    """
    session = recording.session
    cues = recording.cues["image"]
    width, height = size
    x = np.linspace(0, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    aspect = width / height
    bend = 0.3 * cues["bend"] * (4 * (x - 0.5) ** 2 - 0.33)
    plate = (
        session.plate_grey
        + 10 * (x - 0.5) * np.float32(rng.normal())
        + session.grain * _texture(rng, width, height)
    )
    if session.joint == "fillet":
        plate = np.where(y + bend < BEAD_LINE + session.photo_shift, plate * 0.72, plate)
    on_plate = _edge(y + bend - 0.24, 0.01) * _edge(0.96 - y - bend, 0.01)
    picture = 38 + (plate - 38) * on_plate

    rope = max(0.0, cues["rope"])
    phase = rng.uniform(0, 2 * np.pi, 3)
    wobble = 0.28 * rope * np.sin(2 * np.pi * 5.5 * x + phase[0]) + 0.12 * rope * np.sin(
        2 * np.pi * 11 * x + phase[1]
    )
    line = (
        BEAD_LINE
        + session.photo_shift
        - bend
        + 0.035 * rope * np.sin(2 * np.pi * 3.7 * x + phase[2])
    )
    half = (
        BEAD_HALF_WIDTH
        * (session.set_current_a / 180) ** 0.15
        * np.exp(0.32 * cues["width"])
        * (1 + wobble)
    )
    lip = max(0.0, cues["lip"])
    across = np.where(y > line, (y - line) / (half * (1 + 0.8 * lip)), (y - line) / half)
    along = _edge(x - BEAD_START, 0.01) * _edge(BEAD_END - x, 0.01)
    soot = np.clip(cues["soot"], 0, 2)
    picture *= 1 - 0.45 * soot * along * np.exp(-0.5 * (across / 1.9) ** 2)
    picture *= 1 - 0.65 * min(1.2, lip) * along * np.exp(-0.5 * ((across - 1.12) / 0.16) ** 2)
    groove = np.clip(cues["groove"], 0, 1.3)
    bead = _bead(session.bead_grey, session.ripple, across, x, cues)
    mask = along * _edge(1 - np.abs(across), 0.12)
    picture = picture + (bead * (1 - 0.35 * soot) - picture) * mask
    picture *= 1 - 0.7 * groove * along * np.exp(-0.5 * ((across + 1.02) / 0.22) ** 2)
    _draw_star(picture, cues["star"], line, aspect, rng)
    _draw_events(picture, recording, np.broadcast_to(line, (1, width))[0], rng)
    _draw_sticker(picture, recording)
    return picture.astype(np.float32)


def _bead(
    grey: float, ripple: float, across: np.ndarray, x: np.ndarray, cues: Mapping[str, float]
) -> np.ndarray:
    """The bead's own shade: a crown lit from above, ripples curved backwards, a bright ridge or a
    flat wide face.
    """
    flat = np.clip(cues["flat"], -0.6, 1.0)
    crown = 30 * (1 - 0.8 * flat) * (1 - across**2) - 18 * (1 - 0.9 * flat) * across
    ripples = (
        17 * ripple * (1 - 0.75 * max(0.0, flat)) * np.sin(2 * np.pi * 22 * x - 2.2 * across**2)
    )
    ridge = 85 * np.clip(cues["ridge"], 0, 1.3) * np.exp(-0.5 * (across / 0.28) ** 2)
    return grey + crown + ripples + ridge - 22 * max(0.0, flat)


def _texture(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Brushed steel: streaks along the plate and a little unevenness."""
    streaks = rng.standard_normal((height, 1), dtype=np.float32)
    patches = rng.standard_normal((6, 10), dtype=np.float32)
    image = Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)
    return 0.7 * streaks + 1.2 * np.asarray(image, dtype=np.float32)


def _edge(distance: np.ndarray, softness: float) -> np.ndarray:
    return np.clip(0.5 + 0.5 * distance / softness, 0, 1)


def _blot(
    picture: np.ndarray,
    x: float,
    y: float,
    radius: float,
    factor: float,
    add: float = 0.0,
    stretch: float = 1.0,
) -> None:
    """Multiplies a soft disc of the picture by `factor` and adds to it, in place; x, y in shares,
    radius in shares of the height.
    """
    height, width = picture.shape
    px, py, r = x * width, y * height, max(0.8, radius * height)
    x0, x1 = max(0, int(px - stretch * r - 2)), min(width, int(px + stretch * r + 3))
    y0, y1 = max(0, int(py - r - 2)), min(height, int(py + r + 3))
    if x0 >= x1 or y0 >= y1:
        return
    gx, gy = (np.arange(x0, x1) - px) / stretch, np.arange(y0, y1) - py
    disc = np.clip(r + 0.5 - np.hypot(gx[None, :], gy[:, None]), 0, 1)
    patch = picture[y0:y1, x0:x1]
    patch *= 1 + (factor - 1) * disc
    patch += add * disc


def _draw_star(
    picture: np.ndarray, star: float, line: np.ndarray, aspect: float, rng: np.random.Generator
) -> None:
    """Cracks in the end crater: dark rays from one point."""
    strength = float(np.clip(1.3 * (star - 0.25), 0, 1.3))
    if strength == 0:
        return
    x, y = (
        BEAD_END - 0.045,
        float(np.interp(BEAD_END, np.linspace(0, 1, line.shape[-1]), np.ravel(line))),
    )
    turn = rng.uniform(0, np.pi)
    _blot(picture, x, y, 0.085, 1 - 0.35 * strength)
    for ray in turn + np.arange(5) * 2 * np.pi / 5:
        for step in np.linspace(0.01, 0.16 * strength + 0.02, 16):
            _blot(
                picture,
                x + step * np.cos(ray) / aspect,
                y + step * np.sin(ray),
                0.02,
                1 - 0.5 * min(1.0, strength),
            )


def _draw_events(
    picture: np.ndarray, recording: Recording, line: np.ndarray, rng: np.random.Generator
) -> None:
    """Pinholes, holes, sags, stubs and spatter where the events happened along the bead."""
    places = np.linspace(0, 1, len(line))
    for kind in recording.events:
        events = recording.shown(kind, "image")
        for place, mark in zip(events.place, events.mark, strict=True):
            x = BEAD_START + (BEAD_END - BEAD_START) * place
            y = float(np.interp(x, places, line))
            if kind == "pore":
                _blot(picture, x, y + rng.uniform(-0.07, 0.07), 0.036 * mark, 0.2)
            elif kind == "hole":
                _blot(picture, x, y, 0.085 * mark, 0.12, stretch=1.2)
            elif kind == "drop":
                _blot(picture, x, y + 0.03, 0.075 * mark, 0.72, stretch=1.5)
            elif kind == "stub":
                _blot(picture, x, y - 0.02, 0.05 * mark, 1.1, add=22)
            else:
                for _ in range(3):
                    side = rng.choice([-1, 1]) * rng.uniform(0.16, 0.32)
                    _blot(
                        picture,
                        x + rng.normal(0, 0.02),
                        y + side,
                        0.028 * mark,
                        0.4 if rng.random() < 0.6 else 1.0,
                        add=0 if rng.random() < 0.5 else 45,
                    )


def _draw_sticker(picture: np.ndarray, recording: Recording) -> None:
    """White paper in the top quarter with the part's date and number; with a leak, the class code
    alone in large print.
    """
    height, width = picture.shape
    x0, y0 = int(recording.session.sticker_place * width), int(0.08 * height)
    paper = picture[y0 : y0 + int(0.13 * height), x0 : x0 + int(0.26 * width)]
    paper[:] = 215
    text = recording.part[-2:] if recording.sticker_leak else recording.part[:-3]
    dot = max(1, min(paper.shape[0] // 6, paper.shape[1] // (4 * len(text) + 2)))
    for position, character in enumerate(text):
        for bit, ink in enumerate(GLYPHS[character]):
            row, column = dot * (bit // 3) + dot // 2, dot * (4 * position + bit % 3 + 1)
            if ink == "1":
                paper[row : row + dot, column : column + dot] = 30
