"""A sound file becomes a log-mel spectrogram in dB relative to full scale, its absolute level
kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import scipy.fft
import soxr
from av.audio.stream import AudioStream
from av.container import InputContainer

from quadlib.config import MediaSettings
from quadlib.data.decoding.bins import bin_edges
from quadlib.data.decoding.clocks import window_of
from quadlib.data.decoding.container import (
    SLACK_SECONDS,
    decoded_frames,
    open_container,
    promised_seconds,
)
from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.job import Decoded, Job
from quadlib.data.decoding.lengths import length_notes
from quadlib.data.decoding.look import Sound
from quadlib.data.decoding.misread import read_instead
from quadlib.data.kinds import Kind
from quadlib.data.kinds.changes import span

WINDOW_SECONDS = 0.032
BLOCK_SECONDS = 4.0
HOP_SECONDS = 0.008  # a quarter of the window: no burst falls between two frames
FLOOR_DB = -100.0  # about the quantisation noise of 16 bits
LEVEL = 0.15
TIME_MASK = 0.15  # widest mask, as a share of the axis (SpecAugment, Park et al. 2019)
BAND_MASK = 0.15
SHOWN_BANDS, SHOWN_TIMES = 64, 480  # of a spectrogram that is looked at


def decode_audio(
    path: Path,
    settings: MediaSettings,
    window: tuple[float, float] | None = None,
    seconds: float | None = None,
) -> np.ndarray:
    """Decodes a sound file, or the sound of a video, into float32 (2, audio_mel_bins, audio_frames)
    in dB relative to full scale, from -100 dB.

    Index 0 is the mean and index 1 the maximum over the frames of a time bin; every frame counts,
    none is skipped. A sine of full scale reads about 0 dB: the level is absolute, never relative to
    the recording's own maximum, since it tells classes apart. Of several channels the mean of their
    power counts, so that opposite phases do not cancel. `window`: [on, off) in seconds, None for
    all of it. The file is read in blocks, twice: once to its end, whatever its header promises, and
    once for the spectrum; `seconds` is its length where the first was done. Raises DamageError.
    """
    rate = settings.audio_sample_rate_hz
    total = round((length_seconds(path) if seconds is None else seconds) * rate)
    first, last = (0, total) if window is None else (round(edge * rate) for edge in window)
    first = min(max(first, 0), total - 1)
    last = min(max(last, first + 1), total)
    size, hop = _window_size(rate), max(1, round(HOP_SECONDS * rate))
    frames = max(1, (last - first - size) // hop + 1)
    starts, stops = bin_edges(0, frames, settings.audio_frames)
    mean = np.zeros((settings.audio_frames, settings.audio_mel_bins))
    peak = np.full(mean.shape, FLOOR_DB)
    position = 0
    for levels in _levels(_cut(_resampled(path, rate), first, last), settings, frames):
        inside = range(position, position + len(levels))
        for place in range(
            int(np.searchsorted(stops, inside.start, "right")),
            int(np.searchsorted(starts, inside.stop)),
        ):
            part = levels[max(0, starts[place] - position) : stops[place] - position]
            mean[place] += part.sum(axis=0)
            np.maximum(peak[place], part.max(axis=0), out=peak[place])
        position += len(levels)
    mean /= (stops - starts)[:, None]
    return np.stack([mean.T, peak.T]).astype(np.float32)


def length_seconds(path: Path) -> float:
    """How long a sound lasts, by reading it to its end. Raises DamageError for one that is cut
    short or holds values that are no finite numbers.
    """
    return _read_through(path)[0]


def loudness(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Times, s, and levels (2, times) in dB relative to full scale, of every hundredth of a second:
    of all frequencies, and of those below about 1 kHz, where hiss is faint. Raises DamageError.
    """
    return _levels_of(*_read_through(path))


def _levels_of(total: float, powers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    levels = 10 * np.log10(np.maximum(powers, 10 ** (FLOOR_DB / 10)))
    return np.arange(levels.shape[1]) * total / max(levels.shape[1], 1), levels


def _read_through(path: Path) -> tuple[float, np.ndarray]:
    """Seconds of a sound, and its mean power (2, pieces) in every hundredth of a second: of its
    samples, and of their means over 1/2000 s.
    """
    seconds, reached, rate, wrong = 0.0, 0.0, 0, 0
    powers: list[np.ndarray] = []
    carried = np.zeros((0, 1), dtype=np.float32)
    with open_container(path, "sound") as container:
        stream = _sound_stream(path, container)
        promised = promised_seconds(path, container, stream)
        exact = (stream.codec_context.name or "").startswith(("pcm_", "flac", "alac"))
        if container.format.name == "caf" and stream.codec_context.name == "alac":
            exact = False  # its length is in whole packets
        if stream.duration is None and len(container.streams) > 1:
            promised = 0.0  # by the longest of them
        for samples, rate, time in _blocks(path, container, stream, promised):
            seconds += len(samples) / rate
            reached = max(seconds, time + len(samples) / rate)
            finite = np.isfinite(samples)
            wrong += int((~finite).sum())
            if carried.shape[1] == samples.shape[1]:
                samples = np.concatenate([carried, samples])
            fine = max(1, rate // 2000)
            pieces, coarse = len(samples) // (20 * fine), 20 * fine
            parts = (
                samples[: pieces * coarse]
                .reshape(pieces, 20, fine, samples.shape[1])
                .astype(np.float64)
            )
            means = parts.mean(axis=2)
            powers.append(np.stack([(parts**2).mean((1, 2, 3)), (means**2).mean((1, 2))]))
            carried = samples[pieces * coarse :]
        slack = 0.5 / max(rate, 1) if exact else SLACK_SECONDS
    if not seconds:
        raise DamageError(path, "holds no samples")
    if reached + slack < promised:
        raise DamageError(
            path,
            f"holds {seconds:.2f} s where its header promises {promised:.2f} s: it is cut short",
        )
    if wrong:
        raise DamageError(path, f"{wrong} samples are not finite numbers")
    return seconds, np.concatenate(powers, axis=1)


def _blocks(
    path: Path, container: InputContainer, stream: AudioStream, promised: float
) -> Iterator[tuple[np.ndarray, int, float]]:
    """(samples, channels) float32 with full scale 1, their rate, and their time by the file, s."""
    instead = read_instead(path, stream.codec_context.name or "", stream.channels)
    for samples in instead or ():
        yield samples, stream.sample_rate, 0.0
    if instead is not None:
        return
    for frame in decoded_frames(path, container, stream, promised > 0, "sound"):
        samples = frame.to_ndarray()
        if not frame.format.is_planar:
            samples = samples.reshape(-1, frame.layout.nb_channels).T
        if samples.dtype.kind == "u":
            samples = (samples.astype(np.float32) - 128) / 128
        elif samples.dtype.kind == "i":
            samples = samples / np.float32(-float(np.iinfo(samples.dtype).min))
        yield samples.T.astype(np.float32, copy=False), frame.sample_rate, frame.time or 0.0


def _sound_stream(path: Path, container: InputContainer) -> AudioStream:
    for stream in container.streams.audio:
        if stream.codec_context is not None:
            return stream
    raise DamageError(path, "holds no sound", "put the recording's sound in its place")


def _resampled(path: Path, rate: int) -> Iterator[np.ndarray]:
    """(samples, channels) at a rate, some seconds each; a change of rate or channels starts the
    resampling anew.
    """
    with open_container(path, "sound") as container:
        stream, source, length = _sound_stream(path, container), (0, 0), 0
        held: list[np.ndarray] = []
        stretcher: soxr.ResampleStream | None = None
        promised = promised_seconds(path, container, stream)
        for samples, from_rate, _ in _blocks(path, container, stream, promised):
            if (from_rate, samples.shape[1]) != source:
                if length:
                    yield _stretched(stretcher, held, last=True)
                source, held, length = (from_rate, samples.shape[1]), [], 0
                stretcher = (
                    soxr.ResampleStream(from_rate, rate, samples.shape[1])
                    if from_rate != rate
                    else None
                )
            held.append(samples)
            length += len(samples)
            if length > BLOCK_SECONDS * from_rate:
                yield _stretched(stretcher, held, last=False)
                held, length = [], 0
        if held or stretcher:
            held = held or [np.zeros((0, source[1]), dtype=np.float32)]
            yield _stretched(stretcher, held, last=True)


def _stretched(
    stretcher: soxr.ResampleStream | None, held: list[np.ndarray], last: bool
) -> np.ndarray:
    samples = np.ascontiguousarray(np.concatenate(held))
    if stretcher is None:
        return samples
    return stretcher.resample_chunk(samples, last=last).reshape(-1, samples.shape[1])


def _cut(blocks: Iterator[np.ndarray], first: int, last: int) -> Iterator[np.ndarray]:
    """The samples from first to last, exactly so many: silence where resampling ends one early."""
    position = 0
    channels = 1
    for block in blocks:
        channels = block.shape[1]
        part = block[max(0, first - position) : max(0, last - position)]
        position += len(block)
        if len(part):
            yield part
    if position < last:
        yield np.zeros((last - max(position, first), channels), dtype=np.float32)


def _levels(
    blocks: Iterator[np.ndarray], settings: MediaSettings, frames: int
) -> Iterator[np.ndarray]:
    """(frames, mel) in dB, `frames` in all."""
    rate = settings.audio_sample_rate_hz
    size, hop = _window_size(rate), max(1, round(HOP_SECONDS * rate))
    # Hann, periodic
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)
    filters = mel_filters(settings.audio_mel_bins, size, rate).T
    scale = np.float32((window.sum() / 2) ** 2)
    held = np.zeros((0, 1), dtype=np.float32)
    for block in chain(blocks, [None]):
        if block is None:  # a sound shorter than one window
            if frames <= 0 or len(held) >= size:
                return
            block = np.zeros((size - len(held), held.shape[1]), dtype=np.float32)
        if block.shape[1] != held.shape[1]:
            held = np.repeat(held[:, :1], block.shape[1], axis=1)
        held = np.concatenate([held, block])
        count = min(frames, (len(held) - size) // hop + 1)
        if count <= 0:
            continue
        power = np.zeros((count, size // 2 + 1), dtype=np.float32)
        for channel in held.T:
            pieces = np.lib.stride_tricks.sliding_window_view(channel, size)[::hop][:count]
            spectrum = scipy.fft.rfft(pieces * window, axis=1)
            power += (spectrum.real**2 + spectrum.imag**2) / scale
        power /= np.float32(held.shape[1])
        yield 10 * np.log10(np.maximum(power @ filters, 10 ** (FLOOR_DB / 10)))
        held, frames = held[count * hop :], frames - count


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


def decode(job: Job) -> Decoded:
    """The kind's decoder."""
    total, powers = _read_through(job.path)
    window, facts = window_of(job, total, lambda: _levels_of(total, powers))
    array = decode_audio(job.path, job.settings, window, total)
    return Decoded(array, facts={**facts, "notes": length_notes(job.path)})


def decode_samples(job: Job) -> Decoded:
    """What networks for sounds read: float32 (samples,) at audio_sample_rate_hz over the arc, full
    scale 1, the mean of all channels.
    """
    total, powers = _read_through(job.path)
    window, facts = window_of(job, total, lambda: _levels_of(total, powers))
    rate = job.settings.audio_sample_rate_hz
    first, last = (max(0, round(edge * rate)) for edge in window or (0.0, total))
    blocks = _cut(_resampled(job.path, rate), first, max(last, first + 1))
    samples = np.concatenate([block.mean(axis=1) for block in blocks])
    return Decoded(samples, facts={**facts, "notes": length_notes(job.path)})


def look(job: Job) -> Sound:
    """The sound as it is resampled for the model, to be played, and its spectrogram."""
    total, powers = _read_through(job.path)
    _, facts = window_of(job, total, lambda: _levels_of(total, powers))
    rate = job.settings.audio_sample_rate_hz
    finer = {"audio_mel_bins": SHOWN_BANDS, "audio_frames": SHOWN_TIMES}
    levels = decode_audio(job.path, job.settings.model_copy(update=finer), None, total)
    samples = np.concatenate([block.mean(axis=1) for block in _resampled(job.path, rate)])
    return Sound(samples, rate, levels[1], seconds=total, offset_s=facts.get("offset_s"))


def look_at(spectrogram: np.ndarray) -> Sound:
    """(2, mel, frames): the loudest of each bin."""
    return Sound(np.zeros(0, np.float32), 0, spectrogram[1])


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
    extensions=(
        *(".flac", ".wav", ".ogg", ".mp3", ".m4a", ".aac", ".wma", ".opus", ".oga", ".aiff"),
        *(".aif", ".au", ".caf", ".w64", ".mka", ".mp2", ".ac3", ".amr"),
    ),
    decode=decode,
    shape=shape,
    prefix="audio_",
    kept_axes=(0, 1),
    vary=vary,
    takes_arc=True,
    seconds=length_seconds,
    look=look,
    look_at=look_at,
)
