"""WAV headers that no longer say how long the sound is, as recorders leave them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from quadlib.config import MediaSettings
from quadlib.data.decoding.job import Job
from quadlib.data.decoding.lengths import length_notes
from quadlib.data.kinds.audio import decode, length_seconds

RATE, START = 16000, 44
SAMPLES = np.random.default_rng(0).normal(0, 0.1, 2 * RATE)
BYTES = 2 * len(SAMPLES)


def wav(folder: Path, riff: int, data: int, after: bytes = b"") -> Path:
    """Two seconds of noise under a header of these two lengths."""
    path = folder / "r.wav"
    soundfile.write(path, SAMPLES, RATE, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[4:8], content[40:44] = struct.pack("<I", riff), struct.pack("<I", data)
    path.write_bytes(bytes(content) + after)
    return path


@pytest.mark.parametrize(
    ("riff", "data", "words"),
    [
        (0, 0, "does not say how long it is"),
        (2**32 - 1, 2**32 - 1, "does not say how long it is"),
        (36, 0, "does not say how long it is"),
        (BYTES // 2 + 36, BYTES // 2, "counts 32000 bytes of sound, and 64000 are there"),
        (BYTES + 36, BYTES // 2, "counts 32000 bytes of sound, and 64000 are there"),
    ],
)
def test_an_outdated_length_is_said_and_the_sound_read_to_its_end(tmp_path, riff, data, words):
    path = wav(tmp_path, riff, data)
    assert length_seconds(path) == pytest.approx(2.0)
    decoded = decode(Job("audio", None, (path,), MediaSettings()))
    assert words in decoded.facts["notes"][0]
    whole = wav(tmp_path, BYTES + 36, BYTES)
    assert np.array_equal(
        decoded.array, decode(Job("audio", None, (whole,), MediaSettings())).array
    )


@pytest.mark.parametrize(
    "after",
    [b"", b"\0", b"LIST\x04\0\0\0INFO", b"id3 \x03\0\0\0abc\0", bytes(9000), b"TAG" + 125 * b"x"],
)
def test_chunks_tags_and_empty_space_after_the_sound_are_none(tmp_path, after):
    path = wav(tmp_path, BYTES + 36, BYTES, after)
    assert length_notes(path) == [] and length_seconds(path) == pytest.approx(2.0)


def test_other_files_have_no_such_length(tmp_path):
    soundfile.write(tmp_path / "r.flac", SAMPLES, RATE)
    (tmp_path / "short.wav").write_bytes(b"RIFF")
    assert length_notes(tmp_path / "r.flac") == length_notes(tmp_path / "short.wav") == []
