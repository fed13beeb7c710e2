"""The microphone: arc re-ignitions through resonances, gas hiss, a low roar, and the events of the
weld.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import lfilter, oaconvolve

from quadlib.data.sources.weldsim.plan import AUDIO_STREAM, Recording
from quadlib.data.sources.weldsim.process import REFERENCE_POWER_W, Process
from quadlib.data.sources.weldsim.settings import AUDIO_RATE_HZ, Geometry

# The recorder runs for a fixed time, whatever the weld takes.
FILE_S, FILE_OF_SHORT_WELDS_S = 38.0, 25.0
SHORT_WELD_S = 25.0

# Per kind of event: frequency Hz, decay s, share of noise, gain.
SOUNDS: dict[str, tuple[float, float, float, float]] = {
    "spatter": (3600.0, 0.006, 0.8, 0.55),
    "pore": (850.0, 0.030, 0.3, 0.80),
    "drop": (170.0, 0.090, 0.1, 1.00),
    "hole": (500.0, 0.090, 0.9, 0.60),
    "stub": (420.0, 0.060, 0.2, 1.2),
}


def write_audio(path: Path, recording: Recording, process: Process, geometry: Geometry) -> None:
    """Writes FLAC, PCM-16, mono, 16 kHz; every file of a session is equally long."""
    samples = render_audio(recording, process, geometry)
    soundfile.write(
        path,
        np.round(samples * 32767).astype(np.int16),
        AUDIO_RATE_HZ,
        format="FLAC",
        subtype="PCM_16",
    )


def render_audio(recording: Recording, process: Process, geometry: Geometry) -> np.ndarray:
    """Samples in [-1, 1] at 16 kHz, with absolute level: the microphone's gain is the session's,
    never the file's.
    """
    session, cues = recording.session, recording.cues["audio"]
    rng = recording.rng(AUDIO_STREAM)
    short = session.duration_s < SHORT_WELD_S
    seconds = (FILE_OF_SHORT_WELDS_S if short else FILE_S) * geometry.time_scale
    count = int(seconds * AUDIO_RATE_HZ)
    # Envelopes change slowly: 200 points a second are enough, samples are interpolated.
    coarse = np.linspace(0, seconds, int(seconds * 200) + 2)
    weld_time = coarse / geometry.time_scale - session.clock_offset_s["audio"]
    fine = np.arange(count) / AUDIO_RATE_HZ
    arc, power = (
        process.at("arc", weld_time),
        process.at("current_a", weld_time) * process.at("voltage_v", weld_time),
    )
    loudness = arc * (power / REFERENCE_POWER_W) ** 0.6 * 10 ** (7 * cues["level"] / 20)
    # The last 2 s of the arc, where an abrupt crater crackles.
    near_end = arc * np.clip(1 - (recording.arc_off_s - weld_time) / 4.0, 0, 1)
    loudness = loudness * (1 + 3.0 * max(0.0, cues["ending"]) * near_end)

    crackle = _crackle(recording, coarse, loudness, near_end, count, rng)
    hiss = rng.standard_normal(count)
    # An abrupt crater sputters: broadband noise on top of the gas.
    sputter = 0.05 * max(0.0, cues["ending"]) * near_end
    hiss = np.diff(hiss, prepend=0.0) * np.interp(
        fine, coarse, process.at("flow_l_min", weld_time) * 0.0011 + sputter
    )
    roar = lfilter([0.06], [1, -0.94], rng.standard_normal(count))
    roar *= np.interp(fine, coarse, loudness) * 0.10 * 10 ** (9 * cues["low_band"] / 20)
    sound = crackle + hiss + roar
    _add_events(sound, recording, geometry, rng)
    sound += rng.standard_normal(count) * 0.0012 * session.room_noise + 0.0015 * np.sin(
        2 * np.pi * 50 * fine
    )
    tilt = session.microphone_tilt
    sound[1:] += tilt * sound[:-1]
    return np.clip(sound * 10 ** (session.microphone_gain_db / 20) * 0.5, -1, 1)


def _crackle(
    recording: Recording,
    time: np.ndarray,
    loudness: np.ndarray,
    near_end: np.ndarray,
    count: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Re-ignition impulses at 50-120 Hz, the faster the hotter the arc, ringing at the joint's two
    resonances.
    """
    session, cues = recording.session, recording.cues["audio"]
    rough = float(np.clip(0.22 + 0.45 * cues["rough"], 0.05, 1.2))
    rate = np.clip(
        85
        * np.sqrt(session.current_a / 150)
        * np.sqrt(20 / session.voltage_v)
        * np.exp(0.45 * cues["rate"]),
        35,
        150,
    )
    mean = 1 + 0.6 * max(0.0, cues["ending"]) * float(near_end.max())
    intervals = rng.gamma(1 / rough**2, rough**2, int(time[-1] * rate * mean * 1.4) + 8) / rate
    at = np.cumsum(intervals)
    at = at[at < time[-1]]
    height = np.interp(at, time, loudness) * rng.lognormal(0, 0.2 + 0.5 * rough, len(at))
    impulses = np.zeros(count)
    np.add.at(impulses, np.minimum((at * AUDIO_RATE_HZ).astype(int), count - 1), height)
    ring = np.arange(int(0.012 * AUDIO_RATE_HZ)) / AUDIO_RATE_HZ
    # A slow arc rings lower.
    low, high = (frequency * np.exp(0.3 * cues["rate"]) for frequency in session.resonance_hz)
    kernel = np.exp(-ring / 0.0025) * np.sin(2 * np.pi * low * ring) + 0.6 * np.exp(
        -ring / 0.0015
    ) * np.sin(2 * np.pi * high * ring)
    return oaconvolve(impulses, 0.16 * kernel)[:count]


def _add_events(
    sound: np.ndarray, recording: Recording, geometry: Geometry, rng: np.random.Generator
) -> None:
    """Adds the sound of every event in place; where the arc goes through the plate, it falls silent
    first.
    """
    for kind, (frequency, decay, noise, gain) in SOUNDS.items():
        events = recording.shown(kind, "audio")
        seconds = (
            recording.at(events.place) + recording.session.clock_offset_s["audio"]
        ) * geometry.time_scale
        ring = np.arange(int(5 * decay * AUDIO_RATE_HZ)) / AUDIO_RATE_HZ
        for at, mark in zip(seconds, events.mark, strict=True):
            first = int(at * AUDIO_RATE_HZ)
            piece = sound[max(0, first) : first + len(ring)]
            if kind == "hole":
                silent = sound[
                    max(0, first - int(0.9 * geometry.time_scale * AUDIO_RATE_HZ)) : max(0, first)
                ]
                silent *= 0.25
            wave = np.exp(-ring / decay) * (
                (1 - noise) * np.sin(2 * np.pi * frequency * ring)
                + noise * rng.standard_normal(len(ring))
            )
            piece += gain * mark * wave[: len(piece)]
