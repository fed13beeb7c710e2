"""WAV files that FFmpeg misreads: 24 bits in each 32, which it takes for the floats that Audition
keeps there (the samples tell which they are), and RIFX, whose big end is first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import numpy as np
import soundfile

from quadlib.data.decoding.damage import DamageError, open_regular
from quadlib.data.decoding.lengths import LARGEST, sound_chunk

PADDED = "pcm_f24le"  # FFmpeg's name for 24 bits in each 32
BLOCK_BYTES = 1 << 20
FULL_SCALE = 2.0**31
FLOATS = (
    2.0**-60,
    2.0**24,
)  # sizes of such floats, whose full scale is 2^23; small integers have less


def read_instead(path: Path, codec: str, channels: int) -> Iterator[np.ndarray] | None:
    """The samples of a file that FFmpeg would misread, (samples, channels) float32 with full scale
    1, a block each; None for any other. Raises DamageError for samples of neither form.
    """
    if codec == PADDED:
        shift = _shift(path)
        return None if shift is None else _padded(path, shift, channels)
    with open_regular(path) as file:
        if file.read(4) != b"RIFX":
            return None
    return cast(
        Iterator[np.ndarray],
        soundfile.blocks(path, blocksize=BLOCK_BYTES // 8, dtype="float32", always_2d=True),
    )


def _padded(path: Path, shift: int, channels: int) -> Iterator[np.ndarray]:
    for block in _blocks(path, 4 * channels):
        samples = np.left_shift(block, shift).astype(np.float32) / np.float32(FULL_SCALE)
        yield samples.reshape(-1, channels)


def _shift(path: Path) -> int | None:
    """Bits by which the integers are to be moved up: 0 where their low byte is empty, as the
    standard has it, 8 where their high byte only repeats the sign; None where they are floats.
    """
    high = low = floats = True
    for block in _blocks(path, 4):
        low &= not (block & 0xFF).any()
        high &= bool((block == block << 8 >> 8).all())
        with np.errstate(invalid="ignore"):
            size = np.abs(block.view("<f4").astype(np.float64))
        floats &= bool(((size == 0) | ((size > FLOATS[0]) & (size < FLOATS[1]))).all())
        if not (high or low or floats):
            raise DamageError(
                path, "holds 24 bits in each 32, and they are no integers", "save it with 24 bits"
            )
    return None if floats and not high else 0 if low else 8


def _blocks(path: Path, frame: int) -> Iterator[np.ndarray]:
    """The samples as 32 bit integers, in whole frames of so many bytes."""
    with open_regular(path) as file:
        left = _to_samples(path, file)
        while left >= frame and (piece := file.read(min(left, BLOCK_BYTES // frame * frame))):
            left -= len(piece)
            yield np.frombuffer(piece[: len(piece) // 4 * 4], "<i4")


def _to_samples(path: Path, file: IO[bytes]) -> int:
    """Moves a file to its first sample; returns how many bytes they are. Raises DamageError."""
    size = file.seek(0, os.SEEK_END)
    start, length = sound_chunk(file, size)
    there = size - start
    if there < length < LARGEST:
        raise DamageError(
            path,
            f"holds {there} bytes of sound where its header promises {length}: it is cut short",
        )
    file.seek(start)
    return length if 0 < length <= there else there
