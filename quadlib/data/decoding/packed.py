"""Compressed text, unpacked no further than text can be compressed."""

from __future__ import annotations

import zlib
from pathlib import Path

from quadlib.data.decoding.damage import RESTORE, DamageError
from quadlib.data.decoding.expansion import most_bytes

GZIP = 16 + zlib.MAX_WBITS


def unpack(path: Path, content: bytes) -> bytes:
    """The content of a gzip file, of one member or several. Raises DamageError where it is none, is
    cut short, or would go on beyond what such a file of numbers and words comes to.
    """
    most = most_bytes(len(content))
    parts: list[bytes] = []
    size, rest = 0, content
    try:
        while rest:
            stream = zlib.decompressobj(GZIP)
            parts.append(stream.decompress(rest, most + 1 - size))
            size += len(parts[-1])
            if size > most:
                raise DamageError(
                    path,
                    f"is {len(content)} bytes that unpack to more than {most / 2**20:,.0f} MiB",
                    "if that is meant, unpack it",
                )
            if not stream.eof:
                raise EOFError("it ends before its end mark")
            rest = stream.unused_data.lstrip(b"\0")  # padding, as tapes have
    except (zlib.error, EOFError) as error:
        raise DamageError(path, f"is not a readable gzip file ({error})", RESTORE) from None
    return b"".join(parts)
