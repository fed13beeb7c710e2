"""Random changes of training recordings, a pure function of (seed, epoch, recording).

Keyed that way, a recording changes alike whatever the batch it is in, the process that loads it and
the step a run was resumed at. Strengths are in standard deviations of the training recordings; what
is masked becomes 0, their mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from quadlib.data.samples import Modality

BRIGHTNESS = 0.2
CONTRAST = 0.15
SHIFT_FRACTION = 0.06
BIN_DROPOUT = 0.3  # chance that one time bin of a video is masked
AUDIO_LEVEL = 0.15
AUDIO_TIME_MASK = 0.15  # widest mask, as a share of the axis (SpecAugment, Park et al. 2019)
AUDIO_BAND_MASK = 0.15
SERIES_NOISE = 0.05
SERIES_SCALE = 0.05
SERIES_SHIFT = 0.04
SERIES_MASK = 0.1
VECTOR_NOISE = 0.1


def generators(seed: int, epoch: int, rows: Sequence[int]) -> list[np.random.Generator]:
    """One generator a recording, first for `move` and then for `vary`.

    Philox makes independent streams of any two keys, so the three numbers are packed into its key
    and not hashed.
    """
    keys = [np.array([(seed << 32) | (epoch & 0xFFFFFFFF), row], dtype=np.uint64) for row in rows]
    return [np.random.Generator(np.random.Philox(key=key)) for key in keys]


def move(
    raw: Mapping[str, np.ndarray],
    modalities: Mapping[str, Modality],
    random: Sequence[np.random.Generator],
) -> None:
    """Shifts videos and photos, and swaps left and right of half of the photos: raw arrays (B,
    ...), in place.

    All frames and views of a recording move alike. Done before normalising, where a pixel is one
    byte.
    """
    for name, modality in modalities.items():
        if modality.kind not in ("video", "image"):
            continue
        for frames, generator in zip(raw[name], random, strict=True):
            vertical, horizontal, flip = generator.random(3)
            _shift(frames, vertical, horizontal)
            if modality.kind == "image" and flip < 0.5:
                frames[:] = frames[..., ::-1].copy()


def vary(
    inputs: Mapping[str, np.ndarray],
    modalities: Mapping[str, Modality],
    random: Sequence[np.random.Generator],
) -> None:
    """Changes levels and masks parts of normalised arrays (B, ...), in place."""
    changes = {
        "video": _video,
        "image": _image,
        "audio": _audio,
        "series": _series,
        "vector": _vector,
    }
    for name, modality in modalities.items():
        for array, generator in zip(inputs[name], random, strict=True):
            changes[modality.kind](array, generator)


def _video(frames: np.ndarray, random: np.random.Generator) -> None:
    """(T, 2, H, W): contrast, brightness, one masked time bin."""
    _image(frames, random)
    chance, place = random.random(2)
    if chance < BIN_DROPOUT:
        frames[int(place * len(frames))] = 0


def _image(views: np.ndarray, random: np.random.Generator) -> None:
    """(V, 3, H, W): contrast and brightness."""
    contrast, brightness = 2 * random.random(2) - 1
    views *= np.float32(1 + CONTRAST * contrast)
    views += np.float32(BRIGHTNESS * brightness)


def _audio(spectrogram: np.ndarray, random: np.random.Generator) -> None:
    """(2, mel, frames): a small change of level, one masked span of time, one masked span of
    bands.
    """
    spectrogram += np.float32(AUDIO_LEVEL * random.standard_normal())
    spectrogram[:, :, _span(spectrogram.shape[2], AUDIO_TIME_MASK, random)] = 0
    spectrogram[:, _span(spectrogram.shape[1], AUDIO_BAND_MASK, random), :] = 0


def _series(series: np.ndarray, random: np.random.Generator) -> None:
    """(channels, steps): noise, a small change of scale and of time, one masked span of time."""
    steps = series.shape[1]
    moved = round(SERIES_SHIFT * steps * (2 * random.random() - 1))
    series[:] = series[:, np.clip(np.arange(steps) - moved, 0, steps - 1)]
    series *= (1 + SERIES_SCALE * random.standard_normal((len(series), 1))).astype(np.float32)
    series += np.float32(SERIES_NOISE) * random.standard_normal(series.shape, dtype=np.float32)
    series[:, _span(steps, SERIES_MASK, random)] = 0


def _vector(vector: np.ndarray, random: np.random.Generator) -> None:
    """(d,): noise alone; a short vector does not survive the loss of a feature."""
    vector += np.float32(VECTOR_NOISE) * random.standard_normal(vector.shape, dtype=np.float32)


def _span(length: int, widest: float, random: np.random.Generator) -> slice:
    width = int(random.random() * (widest * length + 1))
    start = int(random.random() * (length - width + 1))
    return slice(start, start + width)


def _shift(frames: np.ndarray, vertical: float, horizontal: float) -> None:
    """Moves (..., H, W) by up to SHIFT_FRACTION of its size, each way; the edge is repeated where
    nothing moves in.
    """
    for along, share in ((frames.swapaxes(-1, -2), vertical), (frames, horizontal)):
        moved = round(SHIFT_FRACTION * along.shape[-1] * (2 * share - 1))
        if moved > 0:
            along[..., moved:] = along[..., :-moved].copy(order="K")
            along[..., :moved] = along[..., moved : moved + 1]
        elif moved < 0:
            along[..., :moved] = along[..., -moved:].copy(order="K")
            along[..., moved:] = along[..., moved - 1 : moved]
