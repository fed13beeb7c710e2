"""Sounds in the containers and codings that recorders, phones and programs write.

The truth is the same sound as libsndfile, ffmpeg or numpy has it, saved as a plain WAV of 64-bit
floats in a second column: both columns must decode to the same spectrogram.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from .case import COUNT, Case, Made, ffmpeg, listed, table

CASES: list[Case] = []
RATE = 16000
LOUD_DB = 35  # below the loudest cell: codecs for ears may drop what is quieter


def tune(number: int, rate: int = RATE, seconds: float = 1.6, level: float = 0.5) -> np.ndarray:
    """Eight tones one after the other, others in every recording; float64 (n,)."""
    time = np.arange(int(rate * seconds)) / rate
    step = np.minimum((time / seconds * 8).astype(int), 7)
    tone = 300 * 2 ** ((step * 3 % 8) / 3) * (1 + 0.04 * number)
    phase = 2 * np.pi * np.cumsum(tone) / rate
    return level * (0.3 + 0.7 * step / 7) * np.sin(phase)


def sounds(
    folder: Path,
    write: Callable[[Path, int], tuple[np.ndarray, int]],
    ending: str = "wav",
    tolerance_db: float = 0.5,
    **settings: Any,
) -> Made:
    """`write(path, number)` writes the stranger's file and returns its samples and rate."""
    names = [f"snd{number}.{ending}" for number in range(COUNT)]
    plain = [f"plain{number}.wav" for number in range(COUNT)]
    for number in range(COUNT):
        samples, rate = write(folder / names[number], number)
        soundfile.write(folder / plain[number], samples, rate, subtype="DOUBLE")
    made = table(folder, {"sound": names, "plain": plain}, **settings)
    return Made(made, lambda dataset, words: compare_sounds(dataset, tolerance_db))


def compare_sounds(dataset: Any, tolerance_db: float) -> list[str]:
    """Mean difference in dB over the loud cells, for each recording."""
    wrong = []
    present = dataset.store.present
    if not present.all():
        wrong.append(f"{(~present).sum()} files were masked")
    for row, (sound, plain) in enumerate(
        zip(dataset.store.arrays["sound"], dataset.store.arrays["plain"], strict=True)
    ):
        loud = plain > plain.max() - LOUD_DB
        off = float(np.abs(sound - plain)[loud].mean())
        if not off <= tolerance_db:
            wrong.append(
                f"row {row} is off by {off:.2f} dB (level {float((sound - plain)[loud].mean()):+.2f})"
            )
    return wrong[:3]


def with_soundfile(
    folder: Path,
    ending: str,
    rate: int = RATE,
    shape=lambda mono, number: mono,
    tolerance: float = 0.5,
    **how: Any,
) -> Made:
    def write(path: Path, number: int) -> tuple[np.ndarray, int]:
        samples = shape(tune(number, rate), number)
        soundfile.write(path, samples, rate, **how)
        return samples, rate

    return sounds(folder, write, ending, tolerance)


def with_ffmpeg(
    folder: Path,
    ending: str,
    *options: str,
    rate: int = RATE,
    tolerance: float = 2.0,
    shape=lambda mono, number: mono,
) -> Made:
    """The file is coded by ffmpeg, and the truth is what ffmpeg decodes from it again."""

    def write(path: Path, number: int) -> tuple[np.ndarray, int]:
        source = path.with_suffix(".source.wav")
        soundfile.write(source, shape(tune(number, rate), number), rate, subtype="FLOAT")
        ffmpeg("-i", source, *options, path)
        back = path.with_suffix(".back.wav")
        ffmpeg("-i", path, "-map", "0:a:0", "-c:a", "pcm_f32le", back)
        return soundfile.read(back)

    return sounds(folder, write, ending, tolerance)


@listed(CASES, source="Windows 3.1 .. 95 recorders: 8 bits unsigned")
def wav_8_bit_unsigned(folder: Path) -> Made:
    return with_soundfile(folder, "wav", subtype="PCM_U8")


@listed(CASES, source="Zoom and Tascam recorders: 24 bits, 48 kHz, stereo")
def wav_24_bit_stereo(folder: Path) -> Made:
    return with_soundfile(
        folder, "wav", 48000, lambda mono, number: np.stack([mono, 0.3 * mono], 1), subtype="PCM_24"
    )


@listed(CASES, source="32-bit integers")
def wav_32_bit_integers(folder: Path) -> Made:
    return with_soundfile(folder, "wav", subtype="PCM_32")


@listed(CASES, source="32-bit float recorders (Zoom F3): peaks above full scale are no error")
def wav_float_above_full_scale(folder: Path) -> Made:
    return with_soundfile(folder, "wav", shape=lambda mono, number: mono * 6, subtype="FLOAT")


@listed(CASES, source="WAVE_FORMAT_EXTENSIBLE, 5.1")
def wav_extensible_six_channels(folder: Path) -> Made:
    return with_soundfile(
        folder,
        "wav",
        48000,
        lambda mono, number: np.stack([mono * k for k in (1, 0.5, 0.2, 0.05, 0.3, 0.3)], 1),
        format="WAVEX",
        subtype="PCM_16",
    )


@listed(CASES, source="RF64 of long recordings (EBU Tech 3306)")
def wav_rf64(folder: Path) -> Made:
    return with_soundfile(folder, "wav", format="RF64", subtype="PCM_16")


@listed(CASES, source="telephone recordings: A-law, 8 kHz")
def wav_a_law(folder: Path) -> Made:
    return with_soundfile(folder, "wav", 8000, subtype="ALAW", tolerance=1.5)


@listed(CASES, source="voice recorders: IMA ADPCM")
def wav_ima_adpcm(folder: Path) -> Made:
    return with_ffmpeg(folder, "wav", "-c:a", "adpcm_ima_wav", tolerance=0.5)


@listed(CASES, source="BWF: a bext chunk before the data, and others after it")
def wav_broadcast_chunks(folder: Path) -> Made:
    def write(path: Path, number: int) -> tuple[np.ndarray, int]:
        samples = tune(number)
        soundfile.write(path, samples, RATE, subtype="PCM_16")
        data = path.read_bytes()
        bext, odd = (
            b"bext" + struct.pack("<I", 602) + bytes(602),
            b"iXML" + struct.pack("<I", 5) + b"<a/>\n\0",
        )
        body = data[12:36] + bext + data[36:] + odd
        path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)
        return samples, RATE

    return sounds(folder, write)


def _spoiled_length(folder: Path, size: int) -> Made:
    def write(path: Path, number: int) -> tuple[np.ndarray, int]:
        samples = tune(number)
        soundfile.write(path, samples, RATE, subtype="PCM_16")
        data = bytearray(path.read_bytes())
        at = data.index(b"data") + 4
        data[4:8] = struct.pack("<I", size and 0xFFFFFFFF)
        data[at : at + 4] = struct.pack("<I", size)
        path.write_bytes(data)
        return samples, RATE

    return sounds(folder, write)


@listed(CASES, source="https://github.com/afarhan/sbitx/issues/16")
def wav_length_never_written(folder: Path) -> Made:
    return _spoiled_length(folder, 0xFFFFFFFF)


@listed(CASES, source="https://github.com/agfline/wavfix/issues/12")
def wav_length_zero_after_power_loss(folder: Path) -> Made:
    return _spoiled_length(folder, 0)


@listed(CASES, source="https://github.com/google/oboe/issues/2108")
def wav_length_int32_max(folder: Path) -> Made:
    return _spoiled_length(folder, 0x7FFFFFFF)


@listed(CASES, source="LAME: the encoder's delay and padding are cut by the decoder")
def mp3_with_delay(folder: Path) -> Made:
    return with_ffmpeg(folder, "mp3", "-c:a", "libmp3lame", "-b:a", "128k", rate=44100)


@listed(CASES, source="iPhone voice memos: AAC in .m4a")
def m4a_aac(folder: Path) -> Made:
    return with_ffmpeg(folder, "m4a", "-c:a", "aac", "-b:a", "96k", rate=44100)


@listed(
    CASES,
    source="browser MediaRecorder: Opus in .webm, in a column of sounds",
    good="right or refused",
    says="snd0|webm|video",
)
def webm_opus(folder: Path) -> Made:
    return with_ffmpeg(folder, "webm", "-c:a", "libopus", rate=48000)


@listed(CASES, source="WhatsApp voice messages: Opus in .opus/.ogg")
def ogg_opus(folder: Path) -> Made:
    return with_ffmpeg(folder, "opus", "-c:a", "libopus", rate=48000)


@listed(CASES, source="Logic, Audacity: AIFF, big-endian")
def aiff(folder: Path) -> Made:
    return with_soundfile(folder, "aiff", 44100, subtype="PCM_24")


@listed(CASES, source="iOS: Core Audio Format with ALAC")
def caf_alac(folder: Path) -> Made:
    return with_ffmpeg(folder, "caf", "-c:a", "alac", rate=44100, tolerance=0.5)


@listed(CASES, source="FLAC with a cover picture, which ffmpeg shows as a video stream")
def flac_with_cover(folder: Path) -> Made:
    def write(path: Path, number: int) -> tuple[np.ndarray, int]:
        source, cover = path.with_suffix(".source.wav"), folder / "cover.png"
        soundfile.write(source, tune(number), RATE, subtype="PCM_16")
        ffmpeg("-f", "lavfi", "-i", "color=red:s=32x32", "-frames:v", "1", cover)
        ffmpeg(
            "-i",
            source,
            "-i",
            cover,
            "-map",
            "0:a",
            "-map",
            "1:v",
            "-c:v",
            "copy",
            "-disposition:v",
            "attached_pic",
            path,
        )
        return tune(number), RATE

    return sounds(folder, write, "flac")


@listed(CASES, source="mono microphone on the left of a stereo recorder")
def stereo_with_a_silent_channel(folder: Path) -> Made:
    return with_soundfile(
        folder, "wav", 44100, lambda mono, number: np.stack([mono, 0 * mono], 1), subtype="PCM_16"
    )


@listed(CASES, source="balanced line recorded as stereo: right = -left, the sum is silence")
def stereo_with_an_inverted_channel(folder: Path) -> Made:
    made = with_soundfile(
        folder, "wav", 44100, lambda mono, number: np.stack([mono, -mono], 1), subtype="PCM_16"
    )

    def compare(dataset: Any, words: str) -> list[str]:
        level = float(dataset.store.arrays["sound"].max())
        return compare_sounds(dataset, 0.5) + ([] if level > -40 else [f"silence: {level:.0f} dB"])

    return Made(made.settings, compare)


@listed(CASES, source="ultrasonic microphones: 192 kHz")
def wav_192_khz(folder: Path) -> Made:
    return with_soundfile(folder, "wav", 192000, subtype="PCM_24")


@listed(
    CASES,
    source="cheap sound cards: a DC offset of a tenth of full scale; the tones stay as they are",
)
def wav_dc_offset(folder: Path) -> Made:
    return with_soundfile(folder, "wav", shape=lambda mono, number: mono + 0.1, subtype="PCM_16")


@listed(CASES, source="20 dB in the file are 20 dB in the array")
def level_is_absolute(folder: Path) -> Made:
    def write(path: Path, number: int) -> tuple[np.ndarray, int]:
        soundfile.write(path, tune(number, level=0.05), RATE, subtype="PCM_24")
        return tune(number, level=0.5), RATE

    made = sounds(folder, write)

    def compare(dataset: Any, words: str) -> list[str]:
        quiet, loud = dataset.store.arrays["sound"], dataset.store.arrays["plain"]
        high = loud > loud.max() - LOUD_DB
        off = float((loud - quiet)[high].mean())
        return [] if abs(off - 20) < 0.5 else [f"{off:.1f} dB apart, not 20"]

    return Made(made.settings, compare)


@listed(
    CASES,
    "refused",
    says=r"snd2\.wav",
    source="a recording that the full card cut in half; its header promises all of it",
)
def wav_cut_in_half(folder: Path) -> Made:
    def write(path: Path, number: int) -> tuple[np.ndarray, int]:
        soundfile.write(path, tune(number), RATE, subtype="PCM_16")
        if number == 2:
            path.write_bytes(path.read_bytes()[:25000])
        return tune(number), RATE

    return sounds(folder, write)


@listed(CASES, source="an MP3 that was named .wav")
def mp3_named_wav(folder: Path) -> Made:
    def write(path: Path, number: int) -> tuple[np.ndarray, int]:
        source, coded = path.with_suffix(".source.wav"), path.with_suffix(".mp3")
        soundfile.write(source, tune(number, 44100), 44100)
        ffmpeg("-i", source, "-b:a", "128k", coded)
        coded.rename(path)
        back = path.with_suffix(".back.wav")
        ffmpeg("-i", path, "-c:a", "pcm_f32le", back)
        return soundfile.read(back)

    return sounds(folder, write, "wav", 2.0)


@listed(CASES, "refused", says=r"snd1\.wav", source="a file of no samples")
def wav_of_no_samples(folder: Path) -> Made:
    def write(path: Path, number: int) -> tuple[np.ndarray, int]:
        soundfile.write(path, tune(number)[: 0 if number == 1 else None], RATE)
        return tune(number), RATE

    return sounds(folder, write)
