"""The photos of a recording become a fixed number of small colour views."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import DamageError, open_regular

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
    views = np.stack([photos[place] for place in picked]).transpose(0, 3, 1, 2)
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
