"""A look at a few recordings before all are decoded: where clocks start, what a mask hides."""

from __future__ import annotations

import numpy as np

from quadlib.config import BatchesSettings, MediaSettings
from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.job import Decoded, Job
from quadlib.data.kinds.image import decode_images, masked_pixels
from quadlib.data.samples import SampleTable
from quadlib.registry import KINDS

MOST = 12


def clock_offsets(table: SampleTable, settings: BatchesSettings) -> dict[str, np.ndarray]:
    """Modality -> seconds after the log at which its files start, of evenly picked recordings;
    empty where no log says when its event is on. Damaged files are passed over: `data check` names
    them.
    """
    media = _media(settings)
    names = list(table.modalities)
    logs = [name for name in names if _crop(table, name, settings) and name not in table.arrays]
    cut = [
        name
        for name in names
        if KINDS[table.modalities[name].kind].takes_arc and name not in table.arrays
    ]
    offsets: dict[str, list[float]] = {name: [] for name in cut}
    rows = np.unique(np.linspace(0, len(table) - 1, MOST).round().astype(int))
    for row in rows if logs else []:
        try:
            arc = _log(table, int(row), logs[0], media, settings).arc
        except DamageError:
            continue
        for name in cut if arc else []:
            paths = tuple(table.paths(int(row), name))
            kind = table.modalities[name].kind
            asked = Job(kind, None, paths, media, arc, settings.clock_offset_s.get(name))
            decode = KINDS[kind].decode
            try:
                if paths and decode is not None:
                    offsets[name].append(decode(asked).facts["offset_s"])
            except DamageError:
                continue
    return {name: np.array(values) for name, values in offsets.items() if values}


def masked_photo(
    table: SampleTable, settings: BatchesSettings
) -> tuple[np.ndarray, np.ndarray] | None:
    """The first photo as it will be decoded, uint8 (height, width, 3), and which of its pixels
    image_mask blanks, bool (height, width); None without a readable photo.
    """
    media = _media(settings)
    for name, modality in table.modalities.items():
        if modality.kind != "image" or name in table.arrays:
            continue
        for row in range(len(table)):
            try:
                if paths := table.paths(row, name):
                    seen = media.model_copy(update={"image_mask": [], "image_views": 1})
                    photo = decode_images(paths[:1], seen)[0].transpose(1, 2, 0)
                    return photo, masked_pixels(media)
            except DamageError:
                continue
    return None


def _media(settings: BatchesSettings) -> MediaSettings:
    fields = MediaSettings.model_fields
    return MediaSettings(
        **{key: value for key, value in settings.model_dump().items() if key in fields}
    )


def _crop(table: SampleTable, name: str, settings: BatchesSettings) -> str:
    modality = table.modalities[name]
    gives = KINDS[modality.kind].gives_arc
    return (settings.series_crop or modality.crop) if gives else ""


def _log(
    table: SampleTable, row: int, name: str, media: MediaSettings, settings: BatchesSettings
) -> Decoded:
    modality, paths = table.modalities[name], tuple(table.paths(row, name))
    decode = KINDS[modality.kind].decode
    if not paths or decode is None:
        return Decoded(np.zeros(0))
    crop = _crop(table, name, settings)
    return decode(Job(modality.kind, None, paths, media, None, None, modality.channels, crop))
