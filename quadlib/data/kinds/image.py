"""The photos of a recording become a fixed number of small colour views."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import DamageError, open_regular
from quadlib.data.decoding.job import Decoded, Job
from quadlib.data.kinds import Kind
from quadlib.data.kinds.changes import relight, shift

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")


def decode_images(paths: Sequence[Path], settings: MediaSettings) -> np.ndarray:
    """Decodes all photos of a recording and keeps evenly picked ones: uint8 (image_views, 3,
    height, width), RGB.

    Photos are turned upright by their EXIF orientation and resized; fewer photos than views are
    repeated. The top share image_masked_fraction is set to black, where a sticker would give the
    class away. Every photo is decoded, also one that is not picked, so that no damage passes.
    Raises DamageError.
    """
    photos = [_decode(path, settings) for path in paths]
    picked = np.linspace(0, len(photos) - 1, settings.image_views).round().astype(int)
    views = np.stack([photos[position] for position in picked]).transpose(0, 3, 1, 2)
    views[:, :, : round(settings.image_masked_fraction * settings.image_height_px)] = 0
    return np.ascontiguousarray(views)


def _decode(path: Path, settings: MediaSettings) -> np.ndarray:
    size = (settings.image_width_px, settings.image_height_px)
    with open_regular(path) as file, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file, formats=FORMATS) as image:
                longest = max(size)
                image.draft(
                    "RGB", (2 * longest, 2 * longest)
                )  # JPEG decodes at a fraction of its size, where that is enough
                image.load()
                upright = ImageOps.exif_transpose(image).convert("RGB")
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise DamageError(
                path,
                "has more pixels than a photo can have, which would exhaust memory",
                "scale it down",
            ) from None
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            reason = (
                "no known image format"
                if isinstance(error, Image.UnidentifiedImageError)
                else str(error)
            )
            raise DamageError(path, f"the photo cannot be decoded ({reason})") from None
    return np.array(upright.resize(size, Image.Resampling.BILINEAR))


def decode(job: Job) -> Decoded:
    """The kind's decoder."""
    return Decoded(decode_images(job.paths, job.settings))


def shape(_: tuple[int, ...], settings: MediaSettings) -> tuple[int, ...]:
    """Views, colours, height, width."""
    return settings.image_views, 3, settings.image_height_px, settings.image_width_px


def move(views: np.ndarray, random: np.random.Generator) -> None:
    """All views shifted alike, left and right swapped for half of the recordings."""
    vertical, horizontal, flip = random.random(3)
    shift(views, vertical, horizontal)
    if flip < 0.5:
        views[:] = views[..., ::-1].copy()


KIND = Kind(
    axes=("V", 3, "H", "W"),
    encoder="image",
    extensions=(".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"),
    decode=decode,
    shape=shape,
    prefix="image_",
    dtype="uint8",
    kept_axes=(1,),
    move=move,
    vary=relight,
    several_files=True,
)
