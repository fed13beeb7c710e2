"""A recording as HTML: with its media, to be played by viewer.js, or as a poster that holds none.

All text is escaped; pictures and sound are inside the page, as `data:` addresses.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from functools import cache
from html import escape
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from quadlib.data.decoding.look import Look, Sound
from quadlib.data.recording import Recording
from quadlib.figures.lanes import Lane, axis_of, clock_words, lanes, left_out, seconds_text
from quadlib.figures.poster import poster
from quadlib.figures.tracks import address

WIDTH = 760  # pixels of the axis, as drawn; the page may scale it
QUALITY = 55
TICKS = 5


@cache
def script() -> str:
    """The script that plays every `.quad-recording` it is given; plain, no module."""
    return Path(__file__).with_name("viewer.js").read_text(encoding="utf-8")


@cache
def style() -> str:
    """The style sheet of recordings."""
    return Path(__file__).with_name("viewer.css").read_text(encoding="utf-8")


def recording_html(recording: Recording) -> str:
    """The recording with its media: frames, photos, sound and curves on one axis of time. Without
    a script the sound has the browser's own controls.
    """
    axis = axis_of(recording)
    drawn = list(lanes(recording, WIDTH))
    stage = "".join(
        _photo(picture, lane, place)
        for lane in drawn
        if lane.shows == "photos"
        for place, picture in enumerate(lane.pictures, start=1)
    )
    frames = next((lane for lane in drawn if lane.shows == "frames"), None)
    if frames is not None:
        middle = frames.pictures[len(frames.pictures) // 2]
        first = f"{frames.modality}, the frame at the time that is chosen"
        stage = f'<img class="quad-now" alt="{escape(first)}" src="{address(middle, 70)}">' + stage
    time = "" if axis is None else _controls(axis, recording.arc[0] if recording.arc else axis[0])
    return (
        '<div class="quad-recording" role="group" '
        f'aria-label="Recording {escape(recording.sample_id)}"'
        + ("" if axis is None else f' data-start="{axis[0]:.4f}" data-end="{axis[1]:.4f}"')
        + f">{_head(recording)}"
        + (f'<div class="quad-stage">{stage}</div>' if stage else "")
        + time
        + f'<div class="quad-lanes">{"".join(_lane(lane) for lane in drawn)}'
        + ("" if axis is None else _over(recording, axis))
        + "</div>"
        + ("" if axis is None else _ticks(axis))
        + "".join(_sound(part.name, part.look) for part in recording.parts if part.look)
        + f"{_notes(recording)}</div>"
    )


def side_by_side(pages: Iterable[str]) -> str:
    """Recordings beside each other, or below where the page is narrow."""
    return f'<div class="quad-side">{"".join(pages)}</div>'


def thumbnail(recording: Recording) -> str:
    """The first picture that tells something, small, and which recording it is of."""
    drawn = sorted(lanes(recording, 200), key=lambda lane: lane.shows not in ("frames", "photos"))
    if not drawn:
        return _head(recording)
    picture = drawn[0].pictures[len(drawn[0].pictures) // 2].copy()
    picture.thumbnail((200, 120))
    return (
        f'{_head(recording)}<img alt="{escape(drawn[0].words)}" src="{address(picture, QUALITY)}">'
    )


def poster_html(recording: Recording) -> str:
    """The recording as one small picture with its words: for a page that may leave the machine."""
    words = "; ".join(lane.words for lane in lanes(recording, WIDTH))
    data = base64.b64encode(poster(recording)).decode()
    return (
        f'<figure class="quad-poster">{_head(recording)}<img style="max-width:100%" '
        f'alt="{escape(words)}" src="data:image/webp;base64,{data}">'
        f"<figcaption>{_notes(recording)}</figcaption></figure>"
    )


def _head(recording: Recording) -> str:
    facts = (recording.label, f"session {recording.group}", recording.split)
    words = escape(" · ".join(fact for fact in facts if fact))
    return f'<p class="quad-head"><strong>{escape(recording.sample_id)}</strong> {words}</p>'


def _notes(recording: Recording) -> str:
    clock = clock_words(recording)
    burns = "" if recording.arc is None else "The grey band is the window that the log marks. "
    said = left_out(recording) + ([f"{burns}{clock}."] if clock else [])
    return "".join(f'<p class="quad-note">{escape(text)}</p>' for text in said)


def _controls(axis: tuple[float, float], first: float) -> str:
    return (
        '<p class="quad-controls" hidden><button type="button" class="quad-play">Play</button>'
        f'<input type="range" class="quad-time" min="{axis[0]:.3f}" max="{axis[1]:.3f}" step="0.01"'
        f' value="{first:.3f}" aria-label="Time in the recording">'
        f'<output class="quad-clock">{seconds_text(first)}</output></p>'
    )


def _lane(lane: Lane) -> str:
    if lane.shows == "photos":
        return ""
    quality = QUALITY if lane.shows in ("frames", "spectrogram") else 0
    shown = "".join(f'<img alt="" src="{address(picture, quality)}">' for picture in lane.pictures)
    place = f"left:{100 * lane.start:.3f}%;width:{100 * (lane.end - lane.start):.3f}%"
    return (
        f'<div class="quad-lane"><span class="quad-title">{escape(lane.title)}</span>'
        f'<div class="quad-axis"><div class="quad-{lane.shows}" role="img" '
        f'aria-label="{escape(lane.words)}" style="{place}">{shown}</div></div></div>'
    )


def _photo(picture: Image.Image, lane: Lane, place: int) -> str:
    return f'<img alt="{escape(lane.modality)}, photo {place}" src="{address(picture, 70)}">'


def _over(recording: Recording, axis: tuple[float, float]) -> str:
    """What lies over all lanes: the window of the arc, and the cursor."""
    arc = ""
    if recording.arc is not None:
        span = max(axis[1] - axis[0], 1e-9)
        start, end = (100 * (edge - axis[0]) / span for edge in recording.arc)
        arc = f'<div class="quad-arc" style="left:{start:.3f}%;width:{end - start:.3f}%"></div>'
    return f'<div class="quad-over">{arc}<div class="quad-cursor"></div></div>'


def _ticks(axis: tuple[float, float]) -> str:
    seconds = np.linspace(*axis, TICKS)
    shown = "".join(f"<span>{seconds_text(second)}</span>" for second in seconds)
    return f'<p class="quad-ticks" aria-hidden="true">{shown}</p>'


def _sound(name: str, look: Look) -> str:
    """The sound as FLAC, which loses nothing."""
    if not isinstance(look, Sound) or not len(look.samples):
        return ""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(look.samples, -1, 1), look.rate_hz, "PCM_16", format="FLAC")
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<audio controls preload="auto" data-start="{look.offset_s or 0.0:.4f}" '
        f'aria-label="{escape(name)}" src="data:audio/flac;base64,{data}"></audio>'
    )
