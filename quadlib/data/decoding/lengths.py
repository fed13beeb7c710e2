"""Whether the header of a WAV or MP4 file still fits what is in the file: recorders that lose power
leave the length of their last save.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from quadlib.data.decoding.damage import open_regular

LARGEST = 2**31 - 2**16  # bytes; above it a header of 32 bits stands for "unknown"
MOST_INDEX = 2**24  # bytes that are searched for a length
LEFTOVER = 1024  # bytes after the sound that are no chunk and may be a tag


def outdated_length(file: IO[bytes]) -> str:
    """How the length in a WAV file's header fails to say what is there, in words; "" where it holds
    or where the file is none. The file is left at its start.

    After the sound come chunks, each with a name and a length, or nothing. Anything else there,
    unless it is empty space, is sound that the header does not count.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            return ""
        start, length = sound_chunk(file, size)
        if length == 0 and _is_chunks(file, start, size):
            return ""
        if start and (length == 0 or length >= LARGEST) and size > start:
            return "its header does not say how long it is, so it is read to its end"
        end = start + length + length % 2
        if not start or size - end <= LEFTOVER or _is_chunks(file, end, size) or _empty(file, end):
            return ""
        return (
            f"its header counts {length} bytes of sound, and {size - start} are there (a recorder "
            "that lost power?), so it is read to its end"
        )
    finally:
        file.seek(0)


def is_silent(file: IO[bytes]) -> bool:
    """Whether a WAV file has no sample, though other chunks may follow, which FFmpeg would play.
    The file is left at its start.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    known = head[:4] == b"RIFF" and head[8:12] == b"WAVE"
    start, length = sound_chunk(file, size) if known else (0, 0)
    silent = bool(start) and length == 0 and (size == start or _is_chunks(file, start, size))
    file.seek(0)
    return silent


def unfinished_fragments(path: Path) -> bool:
    """Whether an MP4 is a row of fragments without a length or an index at its end, as a recorder
    leaves it that was killed: what its last fragment promises may not have been written.
    """
    with open_regular(path) as file:
        size, place, found = file.seek(0, os.SEEK_END), 0, set()
        while place + 8 <= size:
            file.seek(place)
            head = file.read(16)
            length, name = int.from_bytes(head[:4], "big"), head[4:8]
            if length == 1:  # a long one, or one to the end of the file
                length = int.from_bytes(head[8:16], "big")
            found.add(name)
            if name == b"moov" and b"mehd" in file.read(min(length, MOST_INDEX)):
                return False
            place += length if length >= 8 else size
    return b"moof" in found and b"mfra" not in found


def length_notes(path: Path) -> list[str]:
    """The same of a path, as notes for the inventory."""
    with open_regular(path) as file:
        outdated = outdated_length(file)
    return [outdated] if outdated else []


def sound_chunk(file: IO[bytes], size: int) -> tuple[int, int]:
    """Where the chunk of samples starts, and its length; (0, 0) where there is none."""
    place = 12
    while place + 8 <= size:
        file.seek(place)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] == b"data":
            return place + 8, length
        place += 8 + length + length % 2
    return 0, 0


def _is_chunks(file: IO[bytes], place: int, size: int) -> bool:
    """Whether all from a place on is named chunks that end with the file."""
    while place + 8 <= size:
        file.seek(place)
        head = file.read(8)
        if not all(32 <= letter < 127 for letter in head[:4]):
            return False
        length = int.from_bytes(head[4:], "little")
        place += 8 + length + length % 2
    return place - 1 <= size


def _empty(file: IO[bytes], place: int) -> bool:
    """Whether all from a place on is zeros, as a recorder reserves space."""
    file.seek(place)
    while piece := file.read(1 << 20):
        if piece.strip(b"\0"):
            return False
    return True
