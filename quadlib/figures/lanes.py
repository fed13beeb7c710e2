"""A recording as lanes over one axis of time, each with its pictures and the words for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from quadlib.data.decoding.look import Curves, Frames, Look, Photos, Sound, Values
from quadlib.data.recording import Part, Recording
from quadlib.figures import tracks
from quadlib.figures.style import Mark, many, modality_marks, number

MOST_CHANNELS = 8
HEIGHTS = {"frames": 60, "photos": 60, "wave": 44, "spectrogram": 56, "curve": 34, "bars": 56}


@dataclass(frozen=True)
class Lane:
    """Pictures side by side between two places of the axis, as shares of it. `shows`: frames,
    photos, wave, spectrogram, curve or bars. `words` stand for the pictures where they are not
    seen.
    """

    modality: str
    title: str
    words: str
    shows: str
    pictures: tuple[Image.Image, ...]
    start: float = 0.0
    end: float = 1.0


def axis_of(recording: Recording) -> tuple[float, float] | None:
    """First and last second of anything, on the clock of the log; None where nothing has a time."""
    spans = [_span(part.look) for part in recording.parts if part.look and part.look.seconds]
    return (min(a for a, _ in spans), max(b for _, b in spans)) if spans else None


def seconds_text(second: float) -> str:
    """A time on the axis: 0.0 s, never -0.0 s."""
    return f"{round(second, 1) + 0.0:.1f} s"


def clock_words(recording: Recording) -> str:
    """How the clocks of the files lie to each other."""
    timed = [part for part in recording.parts if part.look and part.look.seconds]
    texts = []
    for part in timed:
        assert part.look is not None
        offset = part.look.offset_s
        if offset is None and len(timed) > 1:
            texts.append(f"{part.name}: clock not known, drawn from 0 s")
        elif offset:
            side = "after" if offset > 0 else "before"
            texts.append(f"{part.name} starts {abs(offset):.2f} s {side} the log")
    return "; ".join(texts)


def lanes(recording: Recording, width: int) -> Iterator[Lane]:
    """Every lane of what can be seen, drawn for an axis so many pixels wide."""
    axis = axis_of(recording)
    marks = modality_marks([part.name for part in recording.parts])
    for part in recording.parts:
        if part.look is None:
            continue
        start, end = 0.0, 1.0
        if axis is not None and part.look.seconds:
            span = max(axis[1] - axis[0], 1e-9)
            start, end = ((edge - axis[0]) / span for edge in _span(part.look))
        for lane in _drawn(part, part.look, max(24, round(width * (end - start))), marks):
            yield Lane(*lane, start, end)


def _span(look: Look) -> tuple[float, float]:
    start = look.offset_s or 0.0
    return start, start + look.seconds


def _drawn(
    part: Part, look: Look, width: int, marks: dict[str, Mark]
) -> Iterator[tuple[str, str, str, str, tuple[Image.Image, ...]]]:
    """The lanes of one modality, without their place."""
    name, colour = part.name, marks[part.name].colour
    lasts = f", {look.seconds:.2f} s" if look.seconds else ""
    if isinstance(look, Frames):
        frames = tuple(Image.fromarray(np.ascontiguousarray(frame)) for frame in look.frames)
        yield name, name, f"{many(len(frames), 'frame')} of {name}{lasts}", "frames", frames
    elif isinstance(look, Photos):
        photos = tuple(Image.fromarray(np.ascontiguousarray(photo)) for photo in look.photos)
        words = many(len(photos), f"photo of {name}", f"photos of {name}")
        yield name, name, words, "photos", photos
    elif isinstance(look, Sound):
        if len(look.samples):
            loudest = float(np.abs(look.samples).argmax()) / look.rate_hz
            words = f"waveform of {name}{lasts}, loudest at {loudest:.2f} s of it"
            picture = tracks.wave(look.samples, (width, HEIGHTS["wave"]), colour)
            yield name, name, words, "wave", (picture,)
        top = f", 0 to {look.rate_hz / 2000:g} kHz" if look.rate_hz else ""
        size = (width, HEIGHTS["spectrogram"])
        picture = tracks.spectrogram(look.spectrogram, size)
        yield name, f"{name}, mel{top}", f"spectrogram of {name}{lasts}", "spectrogram", (picture,)
    elif isinstance(look, Curves):
        for place in range(min(len(look.names), MOST_CHANNELS)):
            values, unit = look.values[:, place], look.units[place]
            ends = f"{number(float(values.min()))} to {number(float(values.max()))} {unit}".strip()
            picture = tracks.curve(look.times, values, (width, HEIGHTS["curve"]), colour)
            title = f"{look.names[place]}, {ends}"
            yield name, title, f"{name}, {look.names[place]}: {ends}{lasts}", "curve", (picture,)
    elif isinstance(look, Values):
        low, high = number(float(look.values.min())), number(float(look.values.max()))
        words = f"{len(look.values)} numbers of {name}, {low} to {high}"
        picture = tracks.bars(look.values, (width, HEIGHTS["bars"]), colour)
        yield name, f"{name}, {low} to {high}", words, "bars", (picture,)


def left_out(recording: Recording) -> list[str]:
    """What is missing of the recording or cannot be shown, a sentence each."""
    said = [f"Missing: {', '.join(recording.missing)}."] if recording.missing else []
    for part in recording.parts:
        if part.problem:
            said.append(f"{part.name}: {part.problem}.")
        if isinstance(part.look, Curves) and len(part.look.names) > MOST_CHANNELS:
            said.append(
                f"{part.name}: {many(len(part.look.names) - MOST_CHANNELS, 'further channel')}: "
                f"{', '.join(part.look.names[MOST_CHANNELS:])}."
            )
    return said
