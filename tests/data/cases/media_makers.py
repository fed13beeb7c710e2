"""How the files of the media cases are made, where a command line cannot."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image, ImageCms

Maker = str | Callable[[Path], None]
RAMP = (
    "-f lavfi -i \"color=gray:s=96x64:r=25:d=4,format=gray,geq=lum='40+150*T/4*X/W+40*lt(Y,H/4)'\""
)
TONE = (
    "-f lavfi -i \"aevalsrc='0.2*sin(2*PI*440*t)*(1.2+sin(2*PI*t/5))"
    "+0.05*sin(2*PI*1500*t)*t/5':s=16000:d=5\""
)


def make(maker: Maker, path: Path) -> None:
    """Writes the file of a case."""
    if callable(maker):
        maker(path)
        return
    with TemporaryDirectory() as folder:
        command = maker
        for name, value in {"ramp": RAMP, "tone": TONE, "tmp": folder, "out": f"'{path}'"}.items():
            command = command.replace("{" + name + "}", value)
        command = command.replace(
            "ffmpeg ",
            "ffmpeg -nostdin -v error -y ",
        ).replace(" - >", " pipe:1 >")
        done = subprocess.run(command, shell=True, capture_output=True, text=True)
    if done.returncode or not path.exists():
        raise RuntimeError(f"{command}: {done.stderr[-600:]}")


def cut(maker: Maker, share: float) -> Callable[[Path], None]:
    """The first `share` of a file's bytes."""

    def write(path: Path) -> None:
        make(maker, path)
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    return write


def patched(maker: Maker, *patches: Any, big: bool = False) -> Callable[[Path], None]:
    """Numbers of 32 bits set at offsets after marks: mark, offset, value, and so on."""

    def write(path: Path) -> None:
        make(maker, path)
        content = bytearray(path.read_bytes())
        for mark, offset, value in zip(patches[::3], patches[1::3], patches[2::3], strict=True):
            place = content.index(mark) + offset
            content[place : place + 4] = struct.pack(">I" if big else "<I", value)
        path.write_bytes(content)

    return write


def text(path: Path) -> None:
    path.write_text("this is no recording\n" * 50)


def gradient(size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """A grey picture (H, W) in [0, 1] that every turn and mirror changes."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    return (0.1 + 0.6 * x / size[0] + 0.2 * (y < size[1] / 4)).astype(np.float32)


def rgb(size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """A coloured picture uint8 (H, W, 3) that every turn and mirror changes."""
    grey = gradient(size)
    red = np.round(255 * grey).astype(np.uint8)
    green = (np.arange(size[1]) * 180 // size[1]).astype(np.uint8)[:, None].repeat(size[0], 1)
    return np.stack([red, green, np.full_like(red, 60)], axis=-1)


def picture_of(name: str, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """The RGB picture that a photo case should show."""
    if name == "rgb":
        return rgb(size)
    grey = np.round(255 * gradient(size)).astype(np.uint8)
    if name == "bit":
        grey = np.where(grey > 127, 255, 0).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


UNTURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def photo(
    mode: str,
    size: tuple[int, int] = (96, 64),
    turn: int = 1,
    exif_turn: int = 0,
    more: bool = False,
    after: bytes = b"",
    profile: bool = False,
    **options: Any,
) -> Callable[[Path], None]:
    """A photo as Pillow saves it; `turn` stores it turned, with the EXIF mark to turn it back."""

    def write(path: Path) -> None:
        name = {"1": "bit", "L": "grey", "LA": "grey"}.get(mode, "rgb")
        picture = Image.fromarray(picture_of(name, size))
        if turn in UNTURN:
            picture = picture.transpose(UNTURN[turn])
        if turn > 1 or exif_turn:
            exif = Image.Exif()
            exif[0x0112] = exif_turn or turn
            options["exif"] = exif
        if mode == "P":
            picture = picture.quantize(256)
        elif mode == "CMYK":
            picture = picture.convert("CMYK")
        elif mode in ("RGBA", "LA"):
            picture.putalpha(Image.fromarray(np.full(size[::-1], 128, np.uint8)))
            picture = picture.convert(mode)
        else:
            picture = picture.convert(mode)
        if profile:
            options["icc_profile"] = ImageCms.ImageCmsProfile(
                ImageCms.createProfile("sRGB")
            ).tobytes()
        if more:
            options.update(save_all=True, append_images=[Image.new("RGB", size, "white")])
        picture.save(path, **options)
        if after:
            path.write_bytes(path.read_bytes() + after)

    write.size = size  # type: ignore[attr-defined]
    return write


def raw_photo(kind: str, format: str, scale: float = 1) -> Callable[[Path], None]:
    """A grey photo of more than eight bits."""

    def write(path: Path) -> None:
        grey = gradient()
        if kind.endswith("u2"):
            values = np.round(65535 * scale * grey).astype(np.uint16)
            if kind[0] == ">":
                big = Image.frombytes("I;16B", grey.shape[::-1], values.astype(">u2").tobytes())
                big.save(path, format=format)
                return
            picture = Image.fromarray(values)
        elif kind == "i4":
            picture = Image.fromarray(np.round(2.0e9 * grey).astype(np.int32))
        else:
            if kind == "nan":
                grey[10:20, 10:20] = np.nan
            picture = Image.fromarray((scale * grey).astype(np.float32))
        picture.save(path, format=format)

    return write


def wav_bytes(what: str) -> Callable[[Path], None]:
    """A WAV of floats: with samples that are no number, or without samples."""

    def write(path: Path) -> None:
        samples = np.sin(np.arange(16000) / 9).astype("<f4") * 0.3
        samples[5000:5010] = np.nan
        data = samples.tobytes() if what == "nan" else b""
        header = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, 16000, 64000, 4, 32)
        data = header + struct.pack("<4sI", b"data", len(data)) + data
        path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(data)) + b"WAVE" + data)

    return write


def padded_wav(what: str) -> Callable[[Path], None]:
    """The tone as a WAV whose header says 24 bits, and whose samples take four bytes each; or one
    without samples, with a chunk of words behind them.
    """

    def write(path: Path) -> None:
        make("ffmpeg {tone} -f s32le -c:a pcm_s32le {out}", path)
        high = np.frombuffer(path.read_bytes(), "<i4") >> 8
        samples = {
            "left": high << 8,
            "extensible": high << 8,
            "right": high,
            "floats": high.astype("<f4"),
            "noise": np.random.default_rng(0).integers(-(2**31), 2**31, 4000),
            "empty": high[:0],
        }[what]
        data = samples.astype("<f4" if what == "floats" else "<i4").tobytes()
        form = struct.pack("<HHIIHH", 1, 1, 16000, 64000, 4, 24)
        if what == "extensible":
            pcm = bytes.fromhex("0100000000001000800000aa00389b71")
            form = b"\xfe\xff" + form[2:] + struct.pack("<HHI", 22, 24, 4) + pcm
        words = b"LIST\x10\0\0\0INFOISFT\4\0\0\0Lavf" if what == "empty" else b""
        chunks = [(b"fmt ", form), (b"data", data)]
        body = b"".join(name + struct.pack("<I", len(part)) + part for name, part in chunks)
        body += words
        path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)

    return write
