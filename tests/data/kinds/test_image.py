from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import DamageError
from quadlib.data.kinds.image import decode_images

SETTINGS = MediaSettings(image_views=3, image_height_px=20, image_width_px=40)


def test_views_are_evenly_picked_and_fewer_are_repeated(media):
    photos = [media.jpg(f"{level}.jpg", colour=(level, 0, 0)) for level in (10, 60, 110, 160, 210)]
    views = decode_images(photos, SETTINGS)
    assert views.shape == (3, 3, 20, 40) and views.dtype == np.uint8
    assert views[:, 0].mean(axis=(1, 2)) == pytest.approx([10, 110, 210], abs=3)
    assert decode_images(photos[:1], SETTINGS)[:, 0].mean(axis=(1, 2)) == pytest.approx(
        [10, 10, 10], abs=3
    )
    assert decode_images(photos[:2], SETTINGS)[:, 0].mean(axis=(1, 2)) == pytest.approx(
        [10, 10, 60], abs=3
    )


def test_the_sticker_is_masked(media):
    masked = SETTINGS.model_copy(update={"image_mask": [0.0, 0.0, 1.0, 0.25]})
    views = decode_images([media.jpg("p.jpg", colour=(200, 200, 200))], masked)
    assert views[:, :, :5].max() == 0 and views[:, :, 5:].min() > 190


def test_a_mask_may_be_a_polygon(media):
    masked = SETTINGS.model_copy(update={"image_mask": [0.5, 0.0, 1.0, 0.5, 0.5, 1.0, 0.0, 0.5]})
    views = decode_images([media.jpg("p.jpg", colour=(200, 200, 200))], masked)
    assert views[:, :, 10, 20].max() == 0 and views[:, :, 5, 20].max() == 0
    assert views[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].min() > 190


def test_exif_orientation(media):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    pixels = np.zeros((60, 120, 3), dtype=np.uint8)
    pixels[:, 60:] = 255
    Image.fromarray(pixels).save(media.path("turned.jpg"), exif=exif)
    view = decode_images([media.root / "turned.jpg"], SETTINGS)[0, 0]
    assert view[:8].max() < 30 and view[-8:].min() > 220


def test_a_large_photo_is_reduced_without_aliasing(media):
    stripes = np.zeros((900, 2000, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(media.path("large.jpg"), quality=95)
    assert decode_images([media.root / "large.jpg"], SETTINGS).std() < 8


def test_every_truncation_is_detected_in_any_photo(media):
    good, path = media.jpg("good.jpg"), media.jpg("cut.jpg", size=(400, 300))
    content = path.read_bytes()
    for share in (0.99, 0.7, 0.4, 0.1, 0.01):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(DamageError, match=r"cut\.jpg"):
            decode_images([good, path, good, good], SETTINGS)


def test_bombs_and_other_formats_are_refused(media):
    header = b"IHDR" + struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + header
        + struct.pack(">I", zlib.crc32(header))
    )
    media.path("bomb.png").write_bytes(png + struct.pack(">I", 90) + b"IDAT" + bytes(100))
    with pytest.raises(DamageError, match="exhaust memory"):
        decode_images([media.root / "bomb.png"], SETTINGS)
    media.path("p.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    with pytest.raises(DamageError, match="no known image format"):
        decode_images([media.root / "p.jpg"], SETTINGS)


def test_a_heic_photo_needs_its_extra(media):
    path = media.path("phone.heic")
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
        with pytest.raises(
            DamageError, match=r"needs the extra heif; pip install 'quadlib\[heif\]"
        ):
            decode_images([path], SETTINGS)
        return
    register_heif_opener()
    Image.new("RGB", (120, 60), (200, 100, 50)).save(path)
    view = decode_images([path], SETTINGS)[0]
    assert view.mean(axis=(1, 2)) == pytest.approx([200, 100, 50], abs=6)


def test_what_is_white_in_a_photo_of_16_bits_is_set_where_its_camera_has_fewer(tmp_path):
    ramp = np.tile(np.linspace(0, 1, 40), (20, 1))
    path, notes = tmp_path / "a.png", []

    def grey(bits: int, white: int) -> np.ndarray:
        Image.fromarray(np.round(ramp * (2**bits - 1)).astype(np.uint16)).save(path)
        settings = SETTINGS.model_copy(update={"image_white": white})
        return decode_images([path], settings, notes)[0, 0]

    full = grey(16, 0)
    with pytest.raises(DamageError, match="no value reaches 4096.*set image_white=4095, or"):
        grey(12, 0)
    assert np.abs(grey(12, 4095).astype(int) - full).max() <= 1 and not notes
    assert grey(12, 65535).max() == 16
    assert grey(14, 0).max() == 64 and "set image_white=16383" in notes[0]
    assert np.abs(grey(14, 16383).astype(int) - full).max() <= 1
    with pytest.raises(DamageError, match="values above image_white=4095"):
        grey(14, 4095)
