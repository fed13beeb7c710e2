"""The photos of a recording become a fixed number of small colour views."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import DamageError, open_regular
from quadlib.data.decoding.job import Decoded, Job
from quadlib.data.decoding.look import Photos
from quadlib.data.kinds import Kind
from quadlib.data.kinds.changes import relight, shift

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000", "AVIF", "TGA")
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # a TIFF's tag, minded by Pillow up to 8 bits
TWELVE_BITS, FOURTEEN_BITS = 4096, 16384
MOST_PIXELS = 200_000_000  # in memory, after a JPEG's reduction: 0.8 GB
# What Pillow's many readers raise for files that are damaged.
BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, RuntimeError),
    *(ArithmeticError, AttributeError),
)
SHOWN_PX = 320  # longer side of a photo that is looked at
HEIF = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")  # brands of a phone's photos


def decode_images(
    paths: Sequence[Path],
    settings: MediaSettings,
    notes: list[str] | None = None,
    resample: Image.Resampling = Image.Resampling.BILINEAR,
) -> np.ndarray:
    """Decodes all photos of a recording and keeps evenly picked ones: uint8 (image_views, 3,
    height, width), RGB.

    Photos are turned upright by their EXIF orientation, brought to eight bits by the range of their
    mode, and resized; fewer photos than views are repeated. Where image_mask says, they are black:
    a sticker would give the class away. Every photo is decoded, also one that is not picked, so
    that no damage passes. `notes` takes what is odd and no damage. Raises DamageError.
    """
    notes = [] if notes is None else notes
    photos = [_decode(path, settings, notes, resample) for path in paths]
    picked = np.linspace(0, len(photos) - 1, settings.image_views).round().astype(int)
    views = np.stack([photos[position] for position in picked])
    views[:, masked_pixels(settings)] = 0
    return np.ascontiguousarray(views.transpose(0, 3, 1, 2))


def masked_pixels(settings: MediaSettings) -> np.ndarray:
    """Which pixels image_mask blanks: bool (height, width)."""
    size = (settings.image_width_px, settings.image_height_px)
    mask = Image.new("1", [8 * side for side in size])
    numbers = settings.image_mask
    if len(numbers) == 4:
        left, top, right, bottom = numbers
        numbers = [left, top, right, top, right, bottom, left, bottom]
    corners = [
        (x * mask.width, y * mask.height) for x, y in zip(numbers[::2], numbers[1::2], strict=True)
    ]
    if corners:
        ImageDraw.Draw(mask).polygon(corners, fill=1)
    # A pixel goes when a quarter of it lies inside.
    return np.asarray(mask).reshape(size[1], 8, size[0], 8).mean(axis=(1, 3)) > 0.25


def _decode(
    path: Path, settings: MediaSettings, notes: list[str], resample: Image.Resampling
) -> np.ndarray:
    size = (settings.image_width_px, settings.image_height_px)
    photo = _upright(path, settings, notes, max(size))
    return np.array(photo.resize(size, resample))


def _upright(path: Path, settings: MediaSettings, notes: list[str], longest: int) -> Image.Image:
    """The photo in RGB of eight bits, not much larger than twice `longest` where its format can be
    read so.
    """
    with open_regular(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of EXIF data that are broken, and of many pixels
        head = file.read(12)
        file.seek(0)
        formats: tuple[str, ...] = FORMATS
        if head[4:8] == b"ftyp" and head[8:12] in HEIF:
            _register_heif(path)
            formats = (*FORMATS, "HEIF")
        try:
            with _of_any_size(), Image.open(file, formats=formats) as image:
                _check_one_picture(path, image)
                # JPEG decodes at a fraction of its size, where that is enough.
                image.draft("RGB", (2 * longest, 2 * longest))
                _check_pixels(path, image)
                colours = image.mode in ("RGB", "RGBA", "LA")
                deep = colours and any(";16" in str(tile.args) for tile in image.tile)
                image.load()
                grey = _eight_bits(path, image, settings.image_white, notes)
                if deep:
                    _check_colours(path, image, settings.image_white)
                return ImageOps.exif_transpose(_seen(grey)).convert("RGB")
        except DamageError:
            raise
        except BROKEN as error:
            reason = (
                "no known image format"
                if isinstance(error, Image.UnidentifiedImageError)
                else str(error) or type(error).__name__
            )
            raise DamageError(path, f"the photo cannot be decoded ({reason})") from None


def _eight_bits(path: Path, image: Image.Image, white: int, notes: list[str]) -> Image.Image:
    """The picture in eight bits a colour: 16 bits by their range or up to `white`, floats where
    they lie from 0 to 1. Pillow itself clips both. Raises DamageError for a range that cannot be
    known.
    """
    exif = image.getexif()
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG")):
        values = np.asarray(image).astype(np.float32)
        _check_white(path, int(values.max()), white, notes)
        if image.format == "TIFF" and image.getexif().get(PHOTOMETRIC) == WHITE_IS_ZERO:
            values = (white or 65535) - values
        values *= 255 / (white or 65535)
    elif image.mode == "F":
        values = np.asarray(image)
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= 1):
            raise DamageError(
                path,
                f"is a picture of float values from {low:g} to {high:g}, whose black and white are "
                "not known",
                "scale it to the range from 0 to 1, or save it with 8 or 16 bits",
            )
        values = 255 * values
    elif image.mode == "I":
        raise DamageError(
            path,
            "is a picture of 32 bit integers, whose black and white are not known",
            "save it with 8 or 16 bits",
        )
    else:
        return image
    picture = Image.fromarray(values.round().astype(np.uint8))
    picture.getexif().update(exif)
    return picture


def _check_white(path: Path, brightest: int, white: int, notes: list[str]) -> None:
    """A camera of 12 bits uses a sixteenth of the range of its file of 16: almost all is black."""
    if white and brightest > white:
        raise DamageError(
            path,
            f"has values above image_white={white}",
            "set image_white to the largest value that the camera gives",
        )
    if not white and 0 < brightest < TWELVE_BITS:
        raise DamageError(
            path,
            "is a photo of 16 bits of which no value reaches 4096, as of a camera of 12 bits: it "
            "would be almost black",
            "set image_white=4095, or image_white=65535 where it is that dark",
        )
    if not white and 0 < brightest < FOURTEEN_BITS:
        notes.append(
            "photos of 16 bits of which no value reaches 16384 are dark; for a camera of 14 bits, "
            "set image_white=16383"
        )


def _check_colours(path: Path, image: Image.Image, white: int) -> None:
    """Of 16 bits a colour Pillow keeps the upper eight, in which 12 bits leave four."""
    brightest = int(np.asarray(image.convert("RGB")).max())
    if 0 < white < 65535 or (not white and 0 < brightest < TWELVE_BITS / 256):
        raise DamageError(
            path,
            "has 16 bits a colour, of which the upper 8 are read: a camera of 12 bits leaves them "
            "almost black",
            "save it with 8 bits a colour",
        )


def _seen(image: Image.Image) -> Image.Image:
    """The picture, black where it is wholly transparent: nobody has seen what lies beneath."""
    if image.mode not in ("RGBA", "LA"):
        return image
    hidden = image.getchannel("A").point(lambda alpha: 255 * (alpha == 0))
    if hidden.getbbox() is None:
        return image
    ground = image.convert("RGB")
    ground.paste((0, 0, 0), mask=hidden)
    ground.getexif().update(image.getexif())
    return ground


def _check_one_picture(path: Path, image: Image.Image) -> None:
    """A second picture would be passed over; a phone's MPO holds the same one smaller."""
    count = getattr(image, "n_frames", 1)
    if count > 1 and image.format != "MPO":
        raise DamageError(
            path,
            f"holds {count} pages or frames, where a photo is one",
            "save each as a file of its own, and join their paths by |",
        )


def _check_pixels(path: Path, image: Image.Image) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise DamageError(
            path,
            f"has {image.width} x {image.height} pixels, which would exhaust memory",
            "scale it down",
        )


@contextmanager
def _of_any_size() -> Iterator[None]:
    """Pillow's limit counts before a JPEG is reduced; ours counts after."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _register_heif(path: Path) -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise DamageError(
            path,
            "is a HEIC photo, which needs the extra heif",
            "pip install 'quadlib[heif]', or save it as JPEG",
        ) from None
    register_heif_opener()


def decode(job: Job) -> Decoded:
    """The kind's decoder."""
    return _decoded(job, Image.Resampling.BILINEAR)


def decode_bicubic(job: Job) -> Decoded:
    """The same, resized as most networks for photos were trained."""
    return _decoded(job, Image.Resampling.BICUBIC)


def _decoded(job: Job, resample: Image.Resampling) -> Decoded:
    notes: list[str] = []
    array = decode_images(job.paths, job.settings, notes, resample)
    return Decoded(array, facts={"notes": list(dict.fromkeys(notes))})


def look(job: Job) -> Photos:
    """Every photo, upright and in its own proportions."""
    photos = [_upright(path, job.settings, [], SHOWN_PX) for path in job.paths]
    for photo in photos:
        photo.thumbnail((SHOWN_PX, SHOWN_PX))
    return Photos(tuple(np.array(photo) for photo in photos))


def look_at(views: np.ndarray) -> Photos:
    """(V, 3, H, W): every view."""
    return Photos(tuple(views.transpose(0, 2, 3, 1)))


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
    extensions=(
        *(".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".heic"),
        *(".heif", ".jp2", ".avif", ".tga", ".ppm", ".pgm", ".pnm"),
    ),
    decode=decode,
    shape=shape,
    prefix="image_",
    dtype="uint8",
    kept_axes=(1,),
    move=move,
    vary=relight,
    several_files=True,
    look=look,
    look_at=look_at,
)
