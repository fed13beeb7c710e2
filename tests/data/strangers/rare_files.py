"""Sounds, photos and videos in forms that few programs write, and some that many do."""

import struct
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from .case import COUNT, Case, Made, ffmpeg, listed, table
from .clips import H264, clips, encode, film
from .photos import photos, scene
from .sounds import RATE, sounds, tune

CASES: list[Case] = []


@listed(CASES, source="old Unix audio tools: RIFX, a WAV with its big end first")
def rifx(folder: Path) -> Made:
    def write(path: Path, number: int) -> tuple[np.ndarray, int]:
        samples = tune(number)
        data = np.round(samples * 32767).astype(">i2").tobytes()
        form = struct.pack(">HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
        body = b"WAVEfmt " + struct.pack(">I", 16) + form + b"data" + struct.pack(">I", len(data))
        path.write_bytes(b"RIFX" + struct.pack(">I", len(body) + len(data)) + body + data)
        return samples, RATE

    return sounds(folder, write)


@listed(CASES, source="converters of 20 bits: 20 valid ones in each 24")
def wav_of_20_bits(folder: Path) -> Made:
    def write(path: Path, number: int) -> tuple[np.ndarray, int]:
        samples = np.round(tune(number) * (2**19 - 1)).astype(np.int32) << 12
        data = samples.astype("<i4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
        pcm = bytes.fromhex("0100000000001000800000aa00389b71")
        form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE, 3 * RATE, 3, 24, 22, 20, 4) + pcm
        body = b"WAVEfmt " + struct.pack("<I", 40) + form + b"data" + struct.pack("<I", len(data))
        path.write_bytes(b"RIFF" + struct.pack("<I", len(body) + len(data)) + body + data)
        return samples / 2**31, RATE

    return sounds(folder, write)


@listed(CASES, "refused", says=r"\.pcm", source="a microcontroller's samples without a header")
def headerless_pcm(folder: Path) -> Made:
    names = [f"snd{number}.pcm" for number in range(COUNT)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(np.round(tune(number) * 32767).astype("<i2").tobytes())
    return Made(table(folder, {"sound": names}), lambda dataset, words: [])


@listed(
    CASES,
    "refused",
    says=r"(?i)one of 2|several|b0\.wav",
    source="recorders that begin a new file at 2 GB: two files of one recording",
)
def sound_in_two_files(folder: Path) -> Made:
    names = []
    for number in range(COUNT):
        for part in "ab":
            soundfile.write(folder / f"{part}{number}.wav", tune(number), RATE)
        names.append(f"a{number}.wav|b{number}.wav")
    return Made(table(folder, {"sound": names}), lambda dataset, words: [])


@listed(
    CASES,
    source="X-ray scanners: a TIFF of 16 bits in which 0 is white",
    good="right or refused",
    says=r"img0\.tif",
)
def tiff_zero_is_white_16_bits(folder: Path) -> Made:
    def write(path: Path, number: int) -> np.ndarray:
        grey = scene(number)[..., 0]
        values = 65535 - grey.astype(np.uint16) * 257
        Image.fromarray(values).save(path)
        content = bytearray(path.read_bytes())
        tag = struct.pack("<HHI", 262, 3, 1)  # PhotometricInterpretation
        at = content.index(tag) + 8
        content[at : at + 2] = struct.pack("<H", 0)
        path.write_bytes(content)
        return np.repeat(grey[:, :, None], 3, 2)

    return photos(folder, write, "tif")


@listed(CASES, source="the same with 8 bits, as fax machines and scanners have it")
def tiff_zero_is_white_8_bits(folder: Path) -> Made:
    def write(path: Path, number: int) -> np.ndarray:
        grey = scene(number)[..., 0]
        Image.fromarray(255 - grey).save(path)
        content = bytearray(path.read_bytes())
        at = content.index(struct.pack("<HHI", 262, 3, 1)) + 8
        content[at : at + 2] = struct.pack("<H", 0)
        path.write_bytes(content)
        return np.repeat(grey[:, :, None], 3, 2)

    return photos(folder, write, "tif")


@listed(CASES, source="Photoshop: CMYK JPEG with Adobe's inverted inks")
def cmyk_of_photoshop(folder: Path) -> Made:
    def write(path: Path, number: int) -> Image.Image:
        Image.fromarray(scene(number)).convert("CMYK").save(path, quality=98)
        return Image.open(path).convert("RGB")

    return photos(folder, write, "jpg", 3.0)


def _unknown(folder: Path, content: bytes, ending: str) -> Made:
    names = [f"img{number}.{ending}" for number in range(COUNT)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(content + bytes([number]))
    return Made(table(folder, {"photo": names}), lambda dataset, words: [])


@listed(CASES, "refused", says=r"\.dng", source="cameras: raw files")
def raw_of_a_camera(folder: Path) -> Made:
    return _unknown(folder, b"II*\0" + bytes(4000), "dng")


@listed(CASES, "refused", says=r"\.dcm", source="medical scanners: DICOM")
def dicom(folder: Path) -> Made:
    return _unknown(folder, bytes(128) + b"DICM" + bytes(4000), "dcm")


@listed(CASES, source="embedded displays: BMP of 5, 6 and 5 bits")
def bmp_of_16_bits(folder: Path) -> Made:
    def write(path: Path, number: int) -> Image.Image:
        Image.fromarray(scene(number)).save(folder / "wide.png")
        ffmpeg("-i", folder / "wide.png", "-pix_fmt", "rgb565le", path)
        return Image.open(path).convert("RGB")

    return photos(folder, write, "bmp")


@listed(CASES, source="JPEG within TIFF, in tiles, as slide scanners write it")
def jpeg_in_tiff(folder: Path) -> Made:
    def write(path: Path, number: int) -> Image.Image:
        Image.fromarray(scene(number)).save(path, compression="jpeg", quality=95)
        return Image.open(path).convert("RGB")

    return photos(folder, write, "tif", 3.0)


@listed(CASES, "refused", says=r"\.y4m", source="codec laboratories: YUV4MPEG")
def y4m(folder: Path) -> Made:
    return clips(
        folder, lambda path, number: encode(path, film(number), "-pix_fmt", "yuv420p"), "y4m"
    )


@listed(
    CASES,
    "right or refused",
    says=r"frames0",
    source="machine vision: a folder of numbered pictures as a video",
)
def folder_of_frames(folder: Path) -> Made:
    names = []
    for number in range(COUNT):
        (folder / f"frames{number}").mkdir()
        for at, picture in enumerate(film(number)[:10]):
            Image.fromarray(picture).save(folder / f"frames{number}" / f"{at:04d}.png")
        names.append(f"frames{number}/")
    return Made(table(folder, {"clip": names}, image_views=1), lambda dataset, words: [])


@listed(CASES, source="phones: slow motion of 240 frames a second in HEVC")
def slow_motion(folder: Path) -> Made:
    return clips(
        folder,
        lambda path, number: encode(
            path, film(number, 240), "-c:v", "libx265", "-preset", "ultrafast", "-crf", "10",
            "-pix_fmt", "yuv420p", "-x265-params", "log-level=none", rate="240",
        ),
        "mov",
    )  # fmt: skip


@listed(CASES, source="security recorders: H.264 in AVI")
def h264_in_avi(folder: Path) -> Made:
    return clips(folder, lambda path, number: encode(path, film(number), *H264), "avi")
