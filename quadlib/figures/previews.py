"""A few recordings looked at before training, as figures: the offsets of their clocks, the mask."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from quadlib.config import BatchesSettings
from quadlib.data.preview import clock_offsets, masked_photo
from quadlib.data.preview import first_look as first_look
from quadlib.data.samples import SampleTable
from quadlib.data.store.store import MediaStore, clock_lines
from quadlib.figures.inventory import inventory_table as inventory_table
from quadlib.figures.style import Gallery, finish


def previews(store: MediaStore, table: SampleTable, settings: BatchesSettings) -> Gallery:
    """The clocks and the mask, where these recordings have clocks and photos."""
    shown = [clock_preview(store)] if clock_offsets(store) else []
    if masked_photo(table, settings) is not None:
        shown.append(mask_preview(table, settings))
    return Gallery(shown)


def clock_preview(store: MediaStore) -> go.Figure:
    """Seconds after the log at which video and sound start, a mark a recording."""
    figure, offsets = go.Figure(), clock_offsets(store)
    for name, seconds in offsets.items():
        figure.add_box(
            x=seconds, name=name, boxpoints="all", pointpos=0, jitter=0.4, showlegend=False
        )
    figure.update_xaxes(title="starts after the log, s")
    caption = (
        "; ".join(clock_lines(store.facts)) or "no log marks an event, so nothing is cut to it"
    )
    rows = [(name, float(second)) for name, xs in offsets.items() for second in xs]
    columns = ("modality", "starts after the log, s")
    return finish(figure, "Clocks of one recording", caption + ".", columns, rows)


def mask_preview(table: SampleTable, settings: BatchesSettings) -> go.Figure:
    """The first photo, with what image_mask hides in red."""
    figure, seen = go.Figure(), masked_photo(table, settings)
    if seen is None:
        return finish(figure, "What photos hide", "There is no photo.", ("blanked, %",), [])
    photo, hidden = seen[0].copy(), seen[1]
    photo[hidden] = photo[hidden] // 2 + np.array([120, 0, 0], dtype=np.uint8)
    figure.add_image(z=photo)
    caption = (
        f"image_mask blanks {100 * hidden.mean():.0f} % of every photo."
        if hidden.any()
        else "Nothing is blanked: a sticker that names the class could be read; set image_mask."
    )
    rows = [(100 * float(hidden.mean()),)]
    return finish(figure, "What photos hide", caption, ("blanked, %",), rows)
