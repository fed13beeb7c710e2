"""Photos whose file is not what its name, header or first page says."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from .case import Case, Made, listed
from .photos import photos, scene

CASES: list[Case] = []


@listed(
    CASES,
    source="scanner: TIFF of several pages; the first is shown by every viewer",
    good="right or refused",
    says=r"img0\.tif|page",
)
def tiff_of_pages(folder: Path) -> Made:
    def write(path: Path, number: int) -> np.ndarray:
        pages = [Image.fromarray(np.roll(scene(number), k, 2)) for k in range(3)]
        pages[0].save(path, save_all=True, append_images=pages[1:])
        return scene(number)

    return photos(folder, write, "tif")


@listed(CASES, source="stereo cameras and Samsung phones: MPO, two JPEG in one .jpg")
def mpo_named_jpg(folder: Path) -> Made:
    def write(path: Path, number: int) -> Image.Image:
        left, right = Image.fromarray(scene(number)), Image.fromarray(255 - scene(number))
        left.save(path, "MPO", save_all=True, append_images=[right], quality=95)
        return Image.open(path).convert("RGB")

    return photos(folder, write, "jpg")


@listed(
    CASES,
    "refused",
    says=r"img1\.png",
    source="a decompression bomb: 40000 x 40000 declared by 60 bytes",
)
def png_huge_by_its_header(folder: Path) -> Made:
    def write(path: Path, number: int) -> np.ndarray:
        Image.fromarray(scene(number)).save(path)
        if number == 1:
            path.write_bytes(_png(40000, 40000, zlib.compress(bytes(1000))))
        return scene(number)

    return photos(folder, write)


def _png(width: int, height: int, data: bytes) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@listed(
    CASES,
    "refused",
    says=r"img2\.jpg",
    source="https://github.com/python-pillow/Pillow/issues/1510",
)
def jpeg_progressive_cut(folder: Path) -> Made:
    def write(path: Path, number: int) -> np.ndarray:
        Image.fromarray(scene(number)).save(path, quality=95, progressive=True)
        if number == 2:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return scene(number)

    return photos(folder, write, "jpg", 3.0)


@listed(
    CASES,
    "refused",
    says=r"(?i)img0\.heic.*|heif",
    source="iPhone photos without the package that reads them",
)
def heic_without_extra(folder: Path) -> Made:
    def write(path: Path, number: int) -> np.ndarray:
        path.write_bytes(
            struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes([number]) * 400
        )
        return scene(number)

    return photos(folder, write, "heic")


@listed(CASES, source="a PNG that was named .jpg")
def png_named_jpg(folder: Path) -> Made:
    def write(path: Path, number: int) -> np.ndarray:
        Image.fromarray(scene(number)).save(path, "PNG", compress_level=9)
        return scene(number)

    return photos(folder, write, "jpg")


@listed(
    CASES,
    "refused",
    says=r"img5\.jpg",
    source="a web page saved under the name of a photo (403 Forbidden)",
)
def html_named_jpg(folder: Path) -> Made:
    def write(path: Path, number: int) -> np.ndarray:
        Image.fromarray(scene(number)).save(path, quality=95)
        if number == 5:
            path.write_text("<!DOCTYPE html><html><body>403 Forbidden</body></html>")
        return scene(number)

    return photos(folder, write, "jpg", 3.0)


@listed(
    CASES,
    "right or refused",
    says=r"(?i)profile|icc|img0",
    source="a profile other than sRGB: Lab is as far as one can go; phones write Display P3",
)
def jpeg_with_icc_profile(folder: Path) -> Made:
    """The values are kept as they are: both columns then agree, as every training library has it."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    def write(path: Path, number: int) -> Image.Image:
        Image.fromarray(scene(number)).save(path, quality=95, icc_profile=profile)
        return Image.open(path).convert("RGB")

    return photos(folder, write, "jpg")


@listed(
    CASES,
    source="animated WebP and GIF in a column of photos: the first picture, or a refusal",
    good="right or refused",
    says=r"img0\.webp|frames",
)
def webp_animation(folder: Path) -> Made:
    def write(path: Path, number: int) -> np.ndarray:
        pictures = [Image.fromarray(np.roll(scene(number), k, 2)) for k in range(3)]
        pictures[0].save(path, save_all=True, append_images=pictures[1:], lossless=True)
        return scene(number)

    return photos(folder, write, "webp")


@listed(CASES, source="several photos as a list in JSON, one of them upper case .JPG")
def upper_case_ending(folder: Path) -> Made:
    def write(path: Path, number: int) -> Image.Image:
        Image.fromarray(scene(number)).save(path, "JPEG", quality=95)
        return Image.open(io.BytesIO(path.read_bytes())).convert("RGB")

    return photos(folder, write, "JPG")
