"""A look at a few recordings before all are decoded: where clocks start, what a mask hides."""

from __future__ import annotations

import numpy as np

from quadlib.config import BatchesSettings, TrainSettings
from quadlib.data.decoding.damage import DamageError
from quadlib.data.kinds.image import decode_images, masked_pixels
from quadlib.data.samples import SampleTable
from quadlib.data.store.store import MediaStore, decode_table

MOST = 12


def first_look(table: SampleTable, settings: BatchesSettings) -> MediaStore:
    """A dozen evenly picked recordings, decoded into the store as training will; what is damaged is
    masked, and named by `quadlib data check`.
    """
    rows = np.unique(np.linspace(0, len(table) - 1, MOST).round().astype(int))
    return decode_table(table.take(rows), TrainSettings(**settings.model_dump()))


def clock_offsets(store: MediaStore) -> dict[str, np.ndarray]:
    """Modality -> seconds after the log at which its files start; empty where no log says when its
    event is on.
    """
    offsets = {
        name: np.array([fact["offset_s"] for fact in facts if "offset_s" in fact])
        for name, facts in store.facts.items()
    }
    return {name: seconds for name, seconds in offsets.items() if len(seconds)}


def masked_photo(
    table: SampleTable, settings: BatchesSettings
) -> tuple[np.ndarray, np.ndarray] | None:
    """The first photo as it will be decoded, uint8 (height, width, 3), and which of its pixels
    image_mask blanks, bool (height, width); None without a readable photo.
    """
    media = TrainSettings(**settings.model_dump())
    for name, modality in table.modalities.items():
        if modality.kind != "image" or name in table.arrays:
            continue
        for row in range(len(table)):
            try:
                if paths := table.paths(row, name):
                    bare = media.model_copy(update={"image_mask": [], "image_views": 1})
                    photo = decode_images(paths[:1], bare)[0].transpose(1, 2, 0)
                    return photo, masked_pixels(media)
            except DamageError:
                continue
    return None
