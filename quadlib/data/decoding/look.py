"""What there is to see and to hear of one recording's modality, before anything is drawn."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from quadlib.data.decoding.clocks import Window


@dataclass(frozen=True)
class Look:
    """A modality of one recording for a human: each subclass is one way of looking.

    `seconds` is how long it lasts, 0 where it has no time; `offset_s` how long after the log it
    starts, None where that is not known.
    """

    seconds: float = field(default=0.0, kw_only=True)
    offset_s: float | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Frames(Look):
    """Evenly spaced frames of a video: uint8 (n, height, width, 3)."""

    frames: np.ndarray


@dataclass(frozen=True)
class Photos(Look):
    """The photos, each uint8 (height, width, 3)."""

    photos: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Sound(Look):
    """Samples float32 (n,) of full scale 1 at a rate, and a spectrogram in dB (bands, times); an
    array that is a spectrogram has no samples.
    """

    samples: np.ndarray
    rate_hz: int
    spectrogram: np.ndarray


@dataclass(frozen=True)
class Curves(Look):
    """Channels over time: values (n, channels) at seconds (n,) after the first reading, and the
    window in which the arc burns, None where no channel says.
    """

    times: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]
    units: tuple[str, ...]
    arc: Window | None = None


@dataclass(frozen=True)
class Values(Look):
    """Numbers without a time of their own, float (d,)."""

    values: np.ndarray
