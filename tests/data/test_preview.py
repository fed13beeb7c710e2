from __future__ import annotations

import numpy as np
import pytest

from quadlib.config import BatchesSettings
from quadlib.data.preview import clock_offsets, first_look, masked_photo
from quadlib.data.samples import Modality, SampleTable
from quadlib.figures.previews import clock_preview, mask_preview, previews


def welds(media) -> SampleTable:
    table = media.table(4)
    current = Modality("series", (6,), crop="Primary Weld Current")
    return SampleTable(table.frame, {**table.modalities, "sensor": current}, root=table.root)


def kept_in(media, **settings) -> BatchesSettings:
    return BatchesSettings(outputs=str(media.root / "outputs"), **settings)


def test_a_dozen_recordings_are_looked_at_as_training_reads_them(media):
    look = first_look(media.table(30), kept_in(media))
    assert len(look.table) == 12 and {"r0", "r29"} <= set(look.table.frame["sample_id"])


def test_offsets_of_a_few_recordings_and_their_spread(media):
    look = first_look(welds(media), kept_in(media))
    offsets = clock_offsets(look)
    assert set(offsets) == {"video", "audio"} and len(offsets["audio"]) == 4
    assert offsets["audio"] == pytest.approx(0, abs=0.11)
    fixed = first_look(welds(media), kept_in(media, clock_offset_s={"audio": 0.1}))
    assert clock_offsets(fixed)["audio"].tolist() == [0.1] * 4
    caption = clock_preview(fixed).layout.meta["caption"]
    assert "audio starts 0.10 +- 0.00 s after the log" in caption


def test_a_table_without_a_log_that_marks_has_no_offsets(media):
    look = first_look(media.table(2).with_modalities(["video", "image"]), kept_in(media))
    assert clock_offsets(look) == {}
    assert "no log" in clock_preview(look).layout.meta["caption"]


def test_the_mask_on_the_first_photo(media):
    settings = BatchesSettings(image_mask=[0.0, 0.0, 0.5, 1.0])
    photo, hidden = masked_photo(welds(media), settings)
    assert photo.shape == (*hidden.shape, 3) and hidden[:, :40].all() and not hidden[:, 60:].any()
    assert "50 %" in mask_preview(welds(media), settings).layout.meta["caption"]
    assert "set image_mask" in mask_preview(welds(media), BatchesSettings()).layout.meta["caption"]
    silent = media.table(2).with_modalities(["audio"])
    assert masked_photo(silent, settings) is None
    look = first_look(silent, kept_in(media))
    assert [figure.layout.title.text for figure in previews(look, silent, settings)] == (
        ["Clocks of one recording"] if clock_offsets(look) else []
    )
    assert np.array_equal(hidden, masked_photo(welds(media), settings)[1])
