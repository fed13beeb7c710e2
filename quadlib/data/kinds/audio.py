"""A sound file becomes a log-mel spectrogram in dB relative to full scale, its absolute level
kept.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.fft
import soundfile
import soxr

from quadlib.config import MediaSettings
from quadlib.data.decoding.bins import bin_edges, window_steps
from quadlib.data.decoding.damage import DamageError, open_regular
from quadlib.data.decoding.job import Decoded, Job
from quadlib.data.kinds import Kind
from quadlib.data.kinds.changes import span

WINDOW_SECONDS = 0.032
HOP_SECONDS = 0.008  # a quarter of the window: no burst falls between two frames
FLOOR_DB = -100.0  # about the quantisation noise of 16 bits
LEVEL = 0.15
TIME_MASK = 0.15  # widest mask, as a share of the axis (SpecAugment, Park et al. 2019)
BAND_MASK = 0.15


def decode_audio(
    path: Path, settings: MediaSettings, arc: tuple[float, float] | None = None
) -> np.ndarray:
    """Decodes a sound file into float32 (2, audio_mel_bins, audio_frames) in dB relative to full
    scale, from -100 dB.

    Index 0 is the mean and index 1 the maximum over the frames of a time bin; every frame counts,
    none is skipped. A sine of full scale reads about 0 dB: the level is absolute, never relative to
    the recording's own maximum, since it tells classes apart. `arc`: the window [on, off) as
    fractions of the record, None for all of it. Raises DamageError.
    """
    samples, rate = _read(path)
    if rate != settings.audio_sample_rate_hz:
        samples = soxr.resample(samples, rate, settings.audio_sample_rate_hz)
    rate = settings.audio_sample_rate_hz
    size, hop = _window_size(rate), max(1, round(HOP_SECONDS * rate))
    first, last = window_steps(len(samples), arc)
    samples = samples[first:last]
    if len(samples) < size:
        samples = np.pad(samples, (0, size - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop]
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(
        np.float32
    )  # Hann, periodic
    spectrum = scipy.fft.rfft(frames * window, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2) / np.float32((window.sum() / 2) ** 2)
    level = 10 * np.log10(
        np.maximum(
            power @ mel_filters(settings.audio_mel_bins, size, rate).T, 10 ** (FLOOR_DB / 10)
        )
    )
    starts, stops = bin_edges(0, len(level), settings.audio_frames)
    mean = np.stack(
        [level[start:stop].mean(axis=0) for start, stop in zip(starts, stops, strict=True)], axis=1
    )
    peak = np.stack(
        [level[start:stop].max(axis=0) for start, stop in zip(starts, stops, strict=True)], axis=1
    )
    return np.stack([mean, peak]).astype(np.float32)


def _read(path: Path) -> tuple[np.ndarray, int]:
    """Mono samples, float32, full scale 1, and their rate in Hz."""
    with open_regular(path) as file:
        try:
            with soundfile.SoundFile(file) as sound:
                promised, rate = sound.frames, sound.samplerate
                samples = sound.read(dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise DamageError(path, f"the sound cannot be decoded ({_reason(error)})") from None
    if len(samples) < promised or not len(samples):
        raise DamageError(
            path,
            f"{len(samples)} samples can be decoded where its header promises {promised}: it is "
            "cut short",
        )
    if not np.isfinite(samples).all():
        raise DamageError(
            path, f"{int((~np.isfinite(samples)).sum())} samples are not finite numbers"
        )
    return samples.mean(axis=1), rate


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).strip().rstrip(".")


def _window_size(rate: int) -> int:
    return 2 ** round(np.log2(WINDOW_SECONDS * rate))


@lru_cache(maxsize=8)
def mel_filters(bands: int, window_size: int, rate: int) -> np.ndarray:
    """Triangular filters on the mel scale of Stevens and Volkmann (2595 log10(1 + f/700)), peak 1:
    float32 (bands, window_size/2 + 1).

    Peak 1 keeps a sine's level; a triangle is never narrower than the spectrum's resolution, so
    that no band is empty.
    """
    frequency = np.arange(window_size // 2 + 1) * rate / window_size
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    centre, step = edges[1:-1, None], rate / window_size
    below = np.maximum(centre - edges[:-2, None], step)
    above = np.maximum(edges[2:, None] - centre, step)
    rising, falling = 1 - (centre - frequency) / below, 1 - (frequency - centre) / above
    return np.maximum(np.minimum(rising, falling), 0).astype(np.float32)


def header_seconds(path: Path) -> float:
    """How long a sound lasts, by its header."""
    return float(soundfile.info(str(path)).duration)


def decode(job: Job) -> Decoded:
    """The kind's decoder."""
    return Decoded(decode_audio(job.path, job.settings, job.arc))


def shape(_: tuple[int, ...], settings: MediaSettings) -> tuple[int, ...]:
    """Mean and maximum, mel bands, time bins."""
    return 2, settings.audio_mel_bins, settings.audio_frames


def vary(spectrogram: np.ndarray, random: np.random.Generator) -> None:
    """(2, mel, frames): a small change of level, one masked span of time, one masked span of
    bands.
    """
    spectrogram += np.float32(LEVEL * random.standard_normal())
    spectrogram[:, :, span(spectrogram.shape[2], TIME_MASK, random)] = 0
    spectrogram[:, span(spectrogram.shape[1], BAND_MASK, random), :] = 0


KIND = Kind(
    axes=(2, "mel", "frames"),
    encoder="audio",
    extensions=(".flac", ".wav", ".ogg", ".mp3"),
    decode=decode,
    shape=shape,
    prefix="audio_",
    kept_axes=(0, 1),
    vary=vary,
    takes_arc=True,
    seconds=header_seconds,
)
