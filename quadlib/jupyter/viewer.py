"""Recordings to be looked at and listened to: one at a time, or a few side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import anywidget
import ipywidgets as widgets
import numpy as np
import traitlets

from quadlib.config import MediaSettings
from quadlib.data.recording import open_recording
from quadlib.data.samples import SampleTable
from quadlib.figures import viewer as pages
from quadlib.figures.style import in_batch, many
from quadlib.jupyter.live import reported

RENDER = """
function render({ model, el }) {
  let stops = [];
  const draw = () => {
    stops.forEach((stop) => stop());
    el.innerHTML = model.get("html");
    stops = [...el.querySelectorAll(".quad-recording")].map(playRecording);
  };
  model.on("change:html", draw);
  draw();
  return () => stops.forEach((stop) => stop());
}
export default { render };
"""


class Panel(anywidget.AnyWidget):
    """A page of recordings in JupyterLab; `html` is ours, with every text of the data escaped."""

    _esm = pages.script() + RENDER
    _css = pages.style()
    html = traitlets.Unicode().tag(sync=True)


class Choice(NamedTuple):
    """What can be opened: its words, and the rows of the table, beside each other."""

    words: str
    rows: tuple[int, ...]


class RecordingViewer:
    """Opens the recordings of a table: choose one, see its frames, photos, waveform and sensors on
    one axis of time, and play it.

    In batch it shows the first `MOST` choices as posters, which hold no media, or with `media`
    everything. `widget` is made on first use. `names` is what one choice is called.
    """

    MOST = 5  # a report stays below 3 MB, with the engine of its figures in it

    def __init__(
        self,
        table: SampleTable,
        settings: MediaSettings,
        choices: Sequence[Choice] = (),
        *,
        media: bool = False,
        names: str = "recording",
    ) -> None:
        self.table, self.settings, self.media, self.names = table, settings, media, names
        self.choices = list(choices)

    def offer(self, choices: Sequence[Choice], open_first: bool = False) -> None:
        """Puts other choices up; none is open, or the first."""
        self.choices = list(choices)
        self.chooser.options = self._options()
        self.chooser.value = 0 if open_first and choices else None

    def open(self, *rows: int) -> None:
        """Opens these rows, whatever is offered."""
        # A new one each time: anywidget gives a model two seconds to load, and one that a busy
        # page has failed to load would stay empty for ever.
        before, self.panel = self.panel, Panel(html=self.page(rows))
        self.widget.children = [self.chooser, self.status, self.panel]
        before.close()

    def close(self) -> None:
        """Shows no recording."""
        self.widget.children = [self.chooser, self.status]
        self.panel.html = ""

    def page(self, rows: Sequence[int], make: Callable[..., str] = pages.recording_html) -> str:
        """The recordings of these rows as HTML."""
        opened = [open_recording(self.table, row, self.settings) for row in rows]
        return pages.side_by_side(make(recording) for recording in opened)

    def static(self) -> str:
        """What a page without a kernel shows: the first choices, as posters or with `media`."""
        make = pages.recording_html if self.media else pages.poster_html
        shown = [self.page(choice.rows, make) for choice in self.choices[: self.MOST]]
        if left := len(self.choices) - len(shown):
            shown.append(f"<p>{many(left, 'further choice')} can be opened in JupyterLab.</p>")
        return "".join(shown)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if not self.choices:
            return
        if in_batch():
            display({"text/html": self.static()}, raw=True)
        else:
            self.chooser.value = 0
            first = self.choices[:1]
            page = "".join(self.page(choice.rows, pages.poster_html) for choice in first)
            display({**self.widget._repr_mimebundle_(), "text/html": page}, raw=True)

    @cached_property
    def widget(self) -> widgets.VBox:
        box = widgets.VBox([self.chooser, self.status])
        box.add_class("quad-viewer")
        return box

    @cached_property
    def chooser(self) -> widgets.Dropdown:
        chooser = widgets.Dropdown(
            description=self.names,
            options=self._options(),
            value=None,
            tooltip=f"{self.names} to open",
            layout={"width": "auto", "max_width": "56em"},
            style={"description_width": "auto"},
        )
        chooser.observe(self._on_choice, names="value")
        return chooser

    @cached_property
    def status(self) -> widgets.HTML:
        return widgets.HTML()

    @cached_property
    def panel(self) -> Panel:
        """What is open."""
        return Panel()

    def _options(self) -> list[tuple[str, int | None]]:
        shown = [(choice.words, place) for place, choice in enumerate(self.choices)]
        return [(f"choose one of {len(shown)}" if shown else "none", None), *shown]

    @reported
    def _on_choice(self, change: Any) -> None:
        self.status.value = ""
        place = change["new"]
        if place is None:
            self.close()
        else:
            self.open(*self.choices[place].rows)


def choices_of(table: SampleTable, rows: np.ndarray) -> list[Choice]:
    """A choice for each row, by the name and the class of its recording."""
    named = zip(table.frame["sample_id"].iloc[rows], table.frame["label"].iloc[rows], strict=True)
    return [
        Choice(f"{sample} · {label}", (int(row),))
        for row, (sample, label) in zip(rows, named, strict=True)
    ]
