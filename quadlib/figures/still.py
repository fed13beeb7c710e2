"""A figure as a plain PNG, drawn without a browser: what GitHub and other readers show of a stored
notebook in the place of a widget. Heat maps and clouds of points alone.
"""

from __future__ import annotations

import html
import io

import numpy as np
import plotly.graph_objects as go
from PIL import Image, ImageColor, ImageDraw, ImageFont

from quadlib.figures.tracks import palette

WIDTH, TOP, FOOT, EDGE = 760, 34, 26, 10
ROW_PX, CLOUD_PX, MOST_COUNTS = 22, 480, 600
PAPER, TEXT = "#ffffff", "#1d1f21"


def still(figure: go.Figure) -> bytes:
    """PNG of a figure whose first visible trace is a heat map or points; its title above it."""
    shown = [trace for trace in figure.data if trace.visible is not False]
    heat = shown[0].type == "heatmap"
    height = ROW_PX * len(shown[0].y) if heat else CLOUD_PX
    sheet = Image.new("RGB", (WIDTH, TOP + height + FOOT), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    title = html.unescape(str(figure.layout.title.text or ""))
    draw.text((EDGE, EDGE), title, fill=TEXT, font=ImageFont.load_default(15))
    if heat:
        _heat(sheet, draw, shown[0], font)
    else:
        _points(draw, shown, height)
    buffer = io.BytesIO()
    sheet.quantize(64).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _heat(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    trace: go.Heatmap,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    names = [html.unescape(str(name)) for name in trace.y]
    left = EDGE + round(max(draw.textlength(name, font=font) for name in names)) + EDGE
    values = np.asarray(trace.z, dtype=float)
    cell = (WIDTH - left - EDGE) / values.shape[1]
    shade = values / max(float(np.nanmax(values)), 1e-9)
    for row, name in enumerate(names):
        up = TOP + row * ROW_PX
        draw.text((left - EDGE, up + 4), name, fill=TEXT, font=font, anchor="ra")
        for column, value in enumerate(values[row]):
            colour = tuple(palette()[round(255 * shade[row, column])])
            ends = [round(left + place * cell) for place in (column, column + 1)]
            draw.rectangle([ends[0], up, ends[1] - 2, up + ROW_PX - 2], fill=colour)
            if value and values.size <= MOST_COUNTS:
                ink = "#000000" if shade[row, column] > 0.5 else "#ffffff"
                middle = (sum(ends) / 2, up + ROW_PX / 2)
                draw.text(middle, f"{value:g}", fill=ink, font=font, anchor="mm")
    step = max(1, round(34 / cell))
    for column, name in list(enumerate(trace.x))[::step]:
        place = (left + (column + 0.5) * cell, sheet.height - FOOT + 4)
        draw.text(place, str(name), fill=TEXT, font=font, anchor="ma")


def _points(draw: ImageDraw.ImageDraw, traces: list[go.Scatter], height: int) -> None:
    x, y = (np.concatenate([np.asarray(trace[key]) for trace in traces]) for key in "xy")
    low = np.array([x.min(), y.min()])
    span = max(float(np.ptp(x)), float(np.ptp(y)), 1e-9)  # one scale for both axes
    size = min(height, WIDTH) - 2 * EDGE
    for trace in traces:
        radius = (trace.marker.size or 6) / 2
        faint = trace.marker.opacity if trace.marker.opacity is not None else 1.0
        rgb = np.array(ImageColor.getrgb(str(trace.marker.color))[:3])
        colour = tuple(int(part) for part in 255 - faint * (255 - rgb))
        for across, up in zip(np.asarray(trace.x), np.asarray(trace.y), strict=True):
            cx = EDGE + (across - low[0]) / span * size
            cy = TOP + height - EDGE - (up - low[1]) / span * size
            draw.ellipse([cx - radius, cy - radius, cx + radius, cy + radius], fill=colour)
