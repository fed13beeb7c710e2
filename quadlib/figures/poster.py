"""A poster of a recording: one small picture of all its modalities on one axis of time, for pages
that hold no media.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from quadlib.data.recording import Recording
from quadlib.figures.lanes import HEIGHTS, Lane, axis_of, lanes, seconds_text
from quadlib.figures.tracks import webp

WIDTH, GUTTER, GAP, FOOT = 560, 96, 4, 18
MOST_BYTES = 40_000
PAPER, TEXT, BURNS = "#ffffff", "#4a4a4a", "#e6e6e6"
MOST_LETTERS = 16


def poster(recording: Recording) -> bytes:
    """WebP of at most 40 KB, light in either theme, as printed."""
    picture = _composed(recording)
    for quality in (75, 55, 35, 15):
        data = webp(picture, quality)
        if len(data) <= MOST_BYTES:
            return data
    return data


def _composed(recording: Recording) -> Image.Image:
    axis, width = axis_of(recording), WIDTH - GUTTER
    drawn = list(lanes(recording, width))
    rows = [_squeezed(lane, width) for lane in drawn]
    foot = sum(row.height + GAP for row in rows)
    sheet = Image.new("RGBA", (WIDTH, foot + FOOT), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    if axis is not None:
        span = max(axis[1] - axis[0], 1e-9)
        if recording.arc is not None:  # a grey band under all that has a time
            ends = [GUTTER + round((edge - axis[0]) / span * width) for edge in recording.arc]
            draw.rectangle([ends[0], 0, ends[1], foot - GAP], fill=BURNS)
        for place, anchor, second in ((GUTTER, "la", axis[0]), (WIDTH - 2, "ra", axis[1])):
            draw.text((place, foot), seconds_text(second), fill=TEXT, font=font, anchor=anchor)
    place, before = 0, ""
    for lane, row in zip(drawn, rows, strict=True):
        if lane.shows == "photos":
            draw.rectangle([GUTTER, place, WIDTH, place + row.height], fill=PAPER)
        sheet.paste(row, (GUTTER + round(lane.start * width), place), row)
        name = lane.title.partition(",")[0]
        if name != before:
            draw.text((2, place + 2), name[:MOST_LETTERS], fill=TEXT, font=font)
        place, before = place + row.height + GAP, name
    return sheet.convert("RGB")


def _squeezed(lane: Lane, width: int) -> Image.Image:
    """The pictures of a lane in one row: frames share their span, photos stand side by side."""
    if lane.shows not in ("frames", "photos"):
        return lane.pictures[0].convert("RGBA")
    height = HEIGHTS[lane.shows]
    if lane.shows == "photos":
        fitted = [
            photo.resize((max(1, round(photo.width * height / photo.height)), height))
            for photo in lane.pictures
        ]
        kept = fitted[: max(1, width // max(photo.width + GAP for photo in fitted))]
        row = Image.new("RGBA", (sum(photo.width + GAP for photo in kept), height))
        ends = np.cumsum([0, *(photo.width + GAP for photo in kept)])
    else:
        across = max(1, round(width * (lane.end - lane.start)))
        shape = lane.pictures[0].width / lane.pictures[0].height
        count = int(np.clip(round(across / (height * shape)), 1, len(lane.pictures)))
        picked = np.linspace(0, len(lane.pictures) - 1, count).round().astype(int)
        ends = np.linspace(0, across, count + 1).round().astype(int)
        kept = [
            lane.pictures[which].resize((max(1, int(right - left)), height))
            for which, left, right in zip(picked, ends[:-1], ends[1:], strict=True)
        ]
        row = Image.new("RGBA", (across, height))
    for photo, left in zip(kept, ends[:-1], strict=False):
        row.paste(photo, (int(left), 0))
    return row
