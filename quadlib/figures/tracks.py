"""Small pictures of sound, curves and numbers, drawn without a browser; ink on nothing, so that
they stand on a light page and on a dark one.
"""

from __future__ import annotations

import base64
import io
from functools import cache

import numpy as np
from PIL import Image, ImageDraw
from plotly.colors import sample_colorscale

from quadlib.figures.style import SEQUENTIAL

FINER = 2  # lines are drawn so many times as large, then scaled down: smooth edges


def address(picture: Image.Image, quality: int = 0) -> str:
    """A picture as WebP in a `data:` address; quality 0 loses nothing."""
    return f"data:image/webp;base64,{base64.b64encode(webp(picture, quality)).decode()}"


def webp(picture: Image.Image, quality: int = 0) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", lossless=not quality, quality=quality or 80, method=2)
    return buffer.getvalue()


def wave(samples: np.ndarray, size: tuple[int, int], colour: str) -> Image.Image:
    """The envelope of a sound: from the least to the largest sample of each column, on the scale
    of its own loudest one.
    """
    width, height = size
    edges = np.linspace(0, len(samples), width + 1).astype(int)[:-1]
    low, high = (function.reduceat(samples, edges) for function in (np.minimum, np.maximum))
    top = max(float(np.abs(samples).max(initial=0)), 1e-9)
    picture = Image.new("RGBA", size)
    draw, middle = ImageDraw.Draw(picture), (height - 1) / 2
    for column in range(width):
        up, down = (middle * (1 - value[column] / top) for value in (high, low))
        draw.line([(column, round(up)), (column, round(down))], fill=colour)
    return picture


def spectrogram(levels: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Levels in dB (bands, times), the lowest band at the bottom, the quietest twentieth dark."""
    low, high = np.percentile(levels, 5), levels.max()
    shade = np.clip((levels - low) / max(high - low, 1e-9), 0, 1)
    colours = palette()[(255 * shade[::-1]).astype(np.uint8)]
    return Image.fromarray(colours).resize(size, Image.Resampling.BILINEAR)


def curve(times: np.ndarray, values: np.ndarray, size: tuple[int, int], colour: str) -> Image.Image:
    """One channel over its own time and its own range."""
    width, height = (FINER * side for side in size)
    span, low = max(float(np.ptp(times)), 1e-12), np.nanmin(values)
    spread = max(float(np.nanmax(values) - low), 1e-12)
    x = (times - times[0]) / span * (width - 1)
    y = (height - 1) * (0.96 - 0.92 * (values - low) / spread)
    if len(x) > 2 * width:  # two points a column show every peak
        edges = np.unique(np.searchsorted(x, np.arange(width)))
        edges = edges[edges < len(x)]
        ends = np.stack([np.minimum.reduceat(y, edges), np.maximum.reduceat(y, edges)], axis=1)
        x, y = np.repeat(x[edges], 2), ends.ravel()
    picture = Image.new("RGBA", (width, height))
    points = [(float(a), float(b)) for a, b in zip(x, y, strict=True) if np.isfinite(b)]
    ImageDraw.Draw(picture).line(points, fill=colour, width=FINER + 1)
    return picture.resize(size, Image.Resampling.LANCZOS)


def bars(values: np.ndarray, size: tuple[int, int], colour: str) -> Image.Image:
    """Numbers side by side as bars from 0."""
    width, height = size
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    spread = max(high - low, 1e-12)
    zero = (height - 1) * high / spread
    picture = Image.new("RGBA", size)
    draw, step = ImageDraw.Draw(picture), width / len(values)
    for place, value in enumerate(values):
        ends = sorted((zero, (height - 1) * (high - float(value)) / spread))
        left = round(place * step)
        draw.rectangle(
            [left, round(ends[0]), max(left, round((place + 1) * step) - 2), round(ends[1])],
            fill=colour,
        )
    return picture


@cache
def palette() -> np.ndarray:
    """The one sequential map: uint8 (256, 3)."""
    colours = sample_colorscale(SEQUENTIAL, np.linspace(0, 1, 256).tolist(), colortype="tuple")
    return (255 * np.array(colours)).round().astype(np.uint8)
