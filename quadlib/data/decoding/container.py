"""Video and sound files as FFmpeg reads them: whole, strict about damage, and never led to another
file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import av
import av.logging
from av.container import InputContainer

from quadlib.data.decoding.damage import DamageError, open_regular
from quadlib.data.decoding.lengths import LARGEST, is_silent, outdated_length, unfinished_fragments
from quadlib.data.decoding.misread import PADDED

# FFmpeg conceals damage by default: a truncated clip decodes silently short. These flags make it
# raise.
STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}
# Recordings alone: a playlist would open the files that it names, and a text is a "video" to tty.
FORMATS = (
    "avi,matroska,mov,mpeg,mpegts,mpegvideo,m4v,h264,hevc,asf,flv,mxf,ogg,gif,dv,nut,ivf,obu,"
    "mjpeg,wav,w64,aiff,au,caf,flac,mp3,aac,ac3,eac3,amr,ape,wv,tta"
)
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
ESTIMATED = ("mp3", "aac", "ac3", "eac3", "ogg", "mpegts", "mpeg", "mpegvideo", "amr", "h264")
SEVEN = (21, 14, 7, 0)
SLACK_SECONDS = 0.15  # an encoder's delay and its last, padded frame


@contextmanager
def open_container(path: Path, what: str) -> Iterator[InputContainer]:
    """A video or sound file, opened; `what` is its kind in messages. Raises DamageError, also for
    what FFmpeg raises inside the `with` block.
    """
    av.logging.set_level(av.logging.PANIC)
    options = STRICT | {"format_whitelist": FORMATS}
    with open_regular(path) as file:
        _check_bytes(path, file)
        if is_silent(file):
            raise DamageError(path, "holds no samples")
        if outdated_length(file):
            options |= {"ignore_length": "1"}
        try:
            with av.open(file, "r", options=options, metadata_errors="ignore") as container:
                yield container
        except av.error.ArgumentError:
            raise DamageError(
                path, f"the {what} cannot be decoded (no known format of recordings)"
            ) from None
        except (av.FFmpegError, OSError, MemoryError, ValueError, ArithmeticError) as error:
            if isinstance(error, DamageError):
                raise
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise DamageError(path, f"the {what} cannot be decoded ({reason})") from None


def promised_seconds(path: Path, container: InputContainer, stream: av.stream.Stream) -> float:
    """How long a stream, or the file as a whole, lasts by a header that was written when the
    recording ended; 0 where there is none, and FFmpeg at most estimates.
    """
    name = container.format.name.split(",")[0]
    if name in ESTIMATED or (name == "mov" and unfinished_fragments(path)):
        return 0.0
    if stream.codec_context.name == PADDED:  # FFmpeg counts three bytes a sample, not four
        return 0.0
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
        # What a pipe writes where it cannot know: the largest number, or almost.
        return (
            seconds
            if seconds * (getattr(stream.codec_context, "bit_rate", 0) or 0) / 8 < LARGEST
            else 0.0
        )
    return 0.0 if container.duration is None else container.duration / av.time_base


def decoded_frames(
    path: Path, container: InputContainer, stream: av.stream.Stream, promised: bool, what: str
) -> Iterator[Any]:
    """Every frame of a stream, front to back. An error between good packets is damage; one at an
    end is what a killed recorder leaves, where no header promises more. Raises DamageError.
    """
    stream.codec_context.thread_count = 1  # decoding threads deadlock in loader workers
    stream.codec_context.options = STRICT
    trouble, started = "", False
    for packet in container.demux(stream):
        if not packet.size and packet.dts is not None:  # "as before": a frame that was not sent
            continue
        try:
            frames = packet.decode()
        except av.error.EOFError:  # a second end of a stream that was flushed
            continue
        except av.FFmpegError as error:
            trouble = trouble or error.strerror or "unknown error"
            continue
        if trouble and packet.size:
            if started or promised:
                break
            trouble = ""
        started = started or bool(frames)
        yield from frames
    else:
        if not (trouble and promised):
            return
    raise DamageError(path, f"the {what} cannot be decoded ({trouble})")


def _check_bytes(path: Path, file: IO[bytes]) -> None:
    """RIFF (AVI, WAV), AIFF, ASF and most MP3 files say how many bytes they have; a cut within the
    last frame shows nowhere else.
    """
    head = file.read(4096)
    size = file.seek(0, os.SEEK_END)
    promised = _promised_bytes(head, file)
    file.seek(0)
    if size + 1 < promised < LARGEST:  # one byte of padding may be missing
        raise DamageError(
            path, f"holds {size} bytes where its header promises {promised}: it is cut short"
        )


def _promised_bytes(head: bytes, file: IO[bytes]) -> int:
    if head[:4] == b"RIFF" or head[:4] == b"FORM":
        return 8 + int.from_bytes(head[4:8], "little" if head[:4] == b"RIFF" else "big")
    if (place := head.find(ASF_PROPERTIES)) >= 0:
        return int.from_bytes(head[place + 40 : place + 48], "little")
    start = 0
    if head[:3] == b"ID3" and len(head) > 9:  # a tag before the sound; seven bits a byte
        start = 10 + sum(
            (byte & 127) << shift for byte, shift in zip(head[6:10], SEVEN, strict=True)
        )
        file.seek(start)
        head = file.read(256)
    for mark in (b"Xing", b"Info") if head[:1] == b"\xff" else ():
        place = head.find(mark, 0, 64)
        if place >= 0 and head[place + 7] & 3 == 3:  # numbers of frames and of bytes follow
            return start + int.from_bytes(head[place + 12 : place + 16], "big")
    return 0
