"""Single bits of a file turned, as a failing disk or memory does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np


def flips(path: Path, count: int = 0, last: int = 0, seed: int = 0) -> Iterator[str]:
    """Turns one bit of the file after another, names it, and puts the file back at the end: every
    bit, or `count` of them drawn from the seed; of the `last` bytes, or of all.
    """
    good = path.read_bytes()
    places = np.arange(8 * len(good))[-8 * last :]
    if count:
        places = np.random.default_rng(seed).choice(places, size=count)
    try:
        for place in places.tolist():
            data = bytearray(good)
            data[place // 8] ^= 1 << place % 8
            path.write_bytes(data)
            yield f"{path.name}: bit {place % 8} of byte {place // 8}"
    finally:
        path.write_bytes(good)


def silent(path: Path, read, error: type[Exception], count: int = 0, last: int = 0) -> list[str]:
    """The flips of a file after which `read` does not raise the error that names the file."""
    missed = []
    for flip in flips(path, count, last):
        try:
            read()
        except error as caught:
            if path.name not in str(caught):
                missed.append(f"{flip}: {caught}")
        else:
            missed.append(flip)
    return missed
