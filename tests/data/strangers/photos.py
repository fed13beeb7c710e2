"""Photos of phones, scanners, microscopes and machine vision, in every mode that Pillow knows.

The truth is what Pillow makes of the file by its own documented steps, saved as a plain PNG in a
second column: both columns must decode to the same picture.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from .case import COUNT, Case, Made, ffmpeg, listed, table

CASES: list[Case] = []
WIDTH, HEIGHT = 192, 96


def scene(number: int) -> np.ndarray:
    """Colours that differ in every corner and every recording: uint8 (HEIGHT, WIDTH, 3)."""
    x = np.linspace(0, 1, WIDTH)[None, :]
    y = np.linspace(0, 1, HEIGHT)[:, None]
    red, green, blue = (
        40 + number + 150 * x + 0 * y,
        30 + 10 * number + 120 * y + 0 * x,
        200 - 100 * x * y,
    )
    return np.stack(np.broadcast_arrays(red, green, blue), -1).round().astype(np.uint8)


def photos(
    folder: Path,
    write: Callable[[Path, int], Image.Image | np.ndarray],
    ending: str = "png",
    tolerance: float = 2.0,
    **settings: Any,
) -> Made:
    """`write(path, number)` writes the stranger's file and returns how it truly looks, RGB."""
    names = [f"img{number}.{ending}" for number in range(COUNT)]
    plain = [f"plain{number}.png" for number in range(COUNT)]
    means = []
    for number in range(COUNT):
        truth = write(folder / names[number], number)
        picture = truth if isinstance(truth, Image.Image) else Image.fromarray(truth)
        picture = picture.convert("RGB")
        picture.info.clear()
        picture.save(folder / plain[number], compress_level=1)
        means.append(np.asarray(picture).mean(axis=(0, 1)))
    made = table(folder, {"photo": names, "plain": plain}, image_views=1, **settings)
    return Made(made, lambda dataset, words: compare_photos(dataset, means, tolerance))


def compare_photos(dataset: Any, means: list[np.ndarray], tolerance: float) -> list[str]:
    """Mean difference in levels of 255 between the columns, and of the plain one from numpy."""
    wrong = [] if dataset.store.present.all() else [f"{(~dataset.store.present).sum()} were masked"]
    ids = dataset.table.frame["sample_id"].tolist()
    for number, mean in enumerate(means):
        row = ids.index(f"r{number}")
        photo, plain = (
            dataset.store.arrays[name][row, 0].astype(float) for name in ("photo", "plain")
        )
        if np.abs(plain.mean(axis=(1, 2)) - mean).max() > 2:
            wrong.append(f"r{number}: the plain photo itself is off")
        off = np.abs(photo - plain).mean()
        if not off <= tolerance:
            wrong.append(f"r{number} is off by {off:.1f} levels")
    return wrong[:3]


def _exif(folder: Path, orientation: int) -> Made:
    def write(path: Path, number: int) -> Image.Image:
        picture = Image.fromarray(scene(number))
        exif = picture.getexif()
        exif[0x0112] = orientation
        picture.save(path, exif=exif, quality=95)
        return ImageOps.exif_transpose(Image.open(path))

    return photos(folder, write, "jpg")


for turned in (2, 3, 5, 6, 8):

    def _make(folder: Path, turned: int = turned) -> Made:
        return _exif(folder, turned)

    CASES.append(
        Case(
            f"exif_orientation_{turned}",
            _make,
            source="https://github.com/python-pillow/Pillow/issues/4703",
        )
    )


@listed(CASES, source="EXIF orientation in a PNG (eXIf) and in WebP", good="right")
def exif_orientation_in_webp(folder: Path) -> Made:
    def write(path: Path, number: int) -> Image.Image:
        picture = Image.fromarray(scene(number))
        exif = picture.getexif()
        exif[0x0112] = 6
        picture.save(path, exif=exif, lossless=True)
        return ImageOps.exif_transpose(Image.open(path))

    return photos(folder, write, "webp")


@listed(CASES, source="https://github.com/python-pillow/Pillow/issues/6563")
def cmyk_jpeg(folder: Path) -> Made:
    def write(path: Path, number: int) -> Image.Image:
        Image.fromarray(scene(number)).convert("CMYK").save(path, quality=95)
        return Image.open(path).convert("RGB")

    return photos(folder, write, "jpg")


@listed(CASES, source="16-bit grey PNG of thermal cameras; scaled by its range")
def png_16_bit_grey(folder: Path) -> Made:
    def write(path: Path, number: int) -> np.ndarray:
        grey = scene(number)[..., 0]
        Image.fromarray(grey.astype(np.uint16) * 257).save(path)
        return np.stack([grey] * 3, -1)

    return photos(folder, write)


@listed(
    CASES,
    source="16 bits a colour, 48 a pixel (ffmpeg, Photoshop); Pillow alone keeps the high byte",
)
def png_16_bit_colour(folder: Path) -> Made:
    def write(path: Path, number: int) -> np.ndarray:
        source = path.with_suffix(".source.png")
        Image.fromarray(scene(number)).save(source)
        ffmpeg("-i", source, "-pix_fmt", "rgb48be", path)
        return scene(number)

    return photos(folder, write)


@listed(
    CASES,
    source="12-bit cameras in 16-bit TIFF: only 0 to 4095 is used; scaled by 65535 it is nearly black",
    good="right or refused",
    says="img0|dark|12",
)
def tiff_12_of_16_bits(folder: Path) -> Made:
    def write(path: Path, number: int) -> np.ndarray:
        counts = scene(number)[..., 0].astype(np.uint16) * 16
        Image.fromarray(counts).save(path)
        return np.stack([(counts // 257).astype(np.uint8)] * 3, -1)

    return photos(folder, write, "tif")


@listed(
    CASES,
    source="a palette with a transparent colour (Office, GIMP): what is transparent is seen on some ground",
    good="right or refused",
    says="img0",
)
def palette_with_transparency(folder: Path) -> Made:
    def write(path: Path, number: int) -> Image.Image:
        picture = Image.fromarray(scene(number)).quantize(64)
        picture.save(path)
        return Image.open(path).convert("RGB")

    return photos(folder, write)


@listed(CASES, source="grey with alpha, all opaque")
def grey_with_alpha(folder: Path) -> Made:
    def write(path: Path, number: int) -> np.ndarray:
        grey = scene(number)[..., 1]
        Image.merge("LA", [Image.fromarray(grey), Image.new("L", (WIDTH, HEIGHT), 255)]).save(path)
        return np.stack([grey] * 3, -1)

    return photos(folder, write)


@listed(
    CASES,
    source="RGBA cut out by hand: noise stands under what is transparent",
    good="right or refused",
    says="img0",
)
def transparent_noise(folder: Path) -> Made:
    def write(path: Path, number: int) -> list[Image.Image] | Image.Image:
        noise = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        colours = np.where(
            np.arange(WIDTH)[None, :, None] < WIDTH // 2, scene(number), noise
        ).astype(np.uint8)
        alpha = np.repeat((np.arange(WIDTH) < WIDTH // 2)[None], HEIGHT, 0).astype(np.uint8) * 255
        cut = Image.fromarray(np.dstack([colours, alpha]))
        cut.save(path)
        return Image.alpha_composite(Image.new("RGBA", cut.size, (0, 0, 0, 255)), cut)

    made = photos(folder, write)

    def compare(dataset: Any, words: str) -> list[str]:
        right_half = dataset.store.arrays["photo"][:, 0, :, :, -20:].astype(float)
        spread = right_half.std(axis=(2, 3)).mean()  # any one ground will do; noise will not
        return (
            []
            if spread < 3
            else [f"what is transparent was read: it varies by {spread:.0f} levels"]
        )

    return Made(made.settings, compare)


@listed(CASES, source="1-bit scans: TIFF G4")
def tiff_1_bit(folder: Path) -> Made:
    def write(path: Path, number: int) -> Image.Image:
        Image.fromarray(scene(number)[..., 1]).convert("1").save(path, compression="group4")
        return Image.open(path).convert("RGB")

    return photos(folder, write, "tif")


@listed(CASES, source="microscopes and satellites: JPEG 2000")
def jpeg_2000(folder: Path) -> Made:
    def write(path: Path, number: int) -> np.ndarray:
        Image.fromarray(scene(number)).save(path, irreversible=False)
        return scene(number)

    return photos(folder, write, "jp2")


@listed(
    CASES, "right or refused", says=r"img0\.tif", source="ImageJ: 32-bit float TIFF, values 0 to 1"
)
def tiff_float_0_to_1(folder: Path) -> Made:
    def write(path: Path, number: int) -> np.ndarray:
        grey = scene(number)[..., 0]
        Image.fromarray(grey.astype(np.float32) / 255).save(path)
        return np.stack([grey] * 3, -1)

    return photos(folder, write, "tif")
