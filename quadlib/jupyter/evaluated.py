"""The recordings behind an evaluation: the worst beside their nearest neighbours, and the map whose
points open them.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go

from quadlib.config import TrainSettings
from quadlib.data.open import open_table
from quadlib.data.recording import decoded_recording
from quadlib.data.store.store import MediaStore, decode_table
from quadlib.diagnosis import Diagnosis
from quadlib.evaluation.record import Evaluation
from quadlib.figures.evaluation import neighbours_of
from quadlib.figures.maps import embedding_map
from quadlib.figures.style import in_batch, many, show
from quadlib.figures.viewer import thumbnail
from quadlib.jupyter.live import live, reported, with_picture
from quadlib.jupyter.viewer import Choice, RecordingViewer, choices_of
from quadlib.runs import Run
from quadlib.training.restore import Restored


def worst_viewer(evaluation: Evaluation, run: Run, media: bool = False) -> RecordingViewer:
    """Each of the worst recordings beside the training recording that it lies nearest to."""
    trained = run.settings(TrainSettings)
    choices = []
    for item in evaluation.worst:
        near = neighbours_of(evaluation, item.row, 1)
        rows = (item.row, *(other.row for other in near))
        beside = "".join(f" beside {other.sample_id} ({other.label})" for other in near)
        choices.append(Choice(f"{item.sample_id} ({item.label}){beside}", rows))
    return RecordingViewer(open_table(trained), trained, choices, media=media)


def copies_viewer(diagnosis: Diagnosis, restored: Restored, media: bool) -> RecordingViewer:
    """The recordings that the doctor found to be copies of each other, side by side."""
    table = restored.dataset.table
    rows = {name: row for row, name in enumerate(table.frame["sample_id"])}
    choices = [
        Choice(f"{finding.code}: {' = '.join(names)}", tuple(rows[name] for name in names))
        for finding in diagnosis.findings
        for names in finding.alike
    ]
    return RecordingViewer(table, restored.settings, choices, media=media, names="copies")


class EmbeddingMap:
    """The map of embeddings: point at a recording to see it, click it to open it, draw a box to
    choose many.

    `selection` are the rows of the table in the box, or the one that was clicked; your code acts on
    them. In batch it is the figure alone. `widget` is made on first use.
    """

    def __init__(self, evaluation: Evaluation, run: Run) -> None:
        self.evaluation, self.trained = evaluation, run.settings(TrainSettings)
        self.selection = np.zeros(0, dtype=np.int64)
        self.thumbnail = lru_cache(maxsize=256)(self._thumbnail)

    @cached_property
    def store(self) -> MediaStore:
        """The recordings as they were decoded for training; nothing is decoded again."""
        return decode_table(open_table(self.trained), self.trained)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if in_batch():
            display(show(embedding_map(self.evaluation)))
        else:
            display(with_picture(self.widget, embedding_map(self.evaluation)), raw=True)

    @cached_property
    def widget(self) -> widgets.VBox:
        for trace in self.figure.data:
            trace.on_hover(self._on_hover)
            trace.on_click(self._on_click)
            trace.on_selection(self._on_selection)
        box = widgets.VBox([self.name, self.figure, self.preview, self.status, self.viewer.widget])
        box.add_class("quad-map")
        return box

    @cached_property
    def figure(self) -> go.FigureWidget:
        figure = live(show(embedding_map(self.evaluation)))
        figure.layout.modebar.remove = ["sendChartToCloud", "lasso2d"]
        figure.layout.dragmode = "select"
        return figure

    @cached_property
    def name(self) -> widgets.Combobox:
        """The way to a recording without a mouse: its name."""
        name = widgets.Combobox(
            description="recording",
            placeholder="its name",
            options=self.evaluation.arrays["sample_id"].tolist(),
            continuous_update=False,
            tooltip="recording to open, by its name",
            layout={"width": "36em"},
            style={"description_width": "auto"},
        )
        name.observe(self._on_name, names="value")
        return name

    @cached_property
    def preview(self) -> widgets.HTML:
        return widgets.HTML(
            "<p>Point at a recording to see it here.</p>", layout={"height": "11em"}
        )

    @cached_property
    def status(self) -> widgets.HTML:
        return widgets.HTML("<p>Click a recording to open it, or draw a box around several.</p>")

    @cached_property
    def viewer(self) -> RecordingViewer:
        return RecordingViewer(self.store.table, self.trained)

    def _thumbnail(self, row: int) -> str:
        return thumbnail(decoded_recording(self.store, row))

    def _rows(self, points: Any) -> np.ndarray:
        places = np.asarray(points.trace_customdata, dtype=np.int64)
        return self.evaluation.arrays["rows"][places].astype(np.int64)

    @reported
    def _on_hover(self, trace: Any, points: Any, _state: Any) -> None:
        if points.point_inds:
            place = int(trace.customdata[points.point_inds[0]])
            self.preview.value = self.thumbnail(int(self.evaluation.arrays["rows"][place]))

    @reported
    def _on_click(self, trace: Any, points: Any, _state: Any) -> None:
        if points.point_inds:
            self._choose(trace.customdata[points.point_inds], open_first=True)

    @reported
    def _on_selection(self, _trace: Any, _points: Any, _selector: Any) -> None:
        chosen = [
            np.asarray(trace.customdata)[list(trace.selectedpoints)]
            for trace in self.figure.data
            if trace.visible is not False and trace.selectedpoints
        ]
        self._choose(np.concatenate(chosen) if chosen else np.zeros(0), open_first=False)

    @reported
    def _on_name(self, change: Any) -> None:
        places = np.flatnonzero(self.evaluation.arrays["sample_id"] == change["new"])
        if change["new"] and not len(places):
            raise ValueError(f"no recording {change['new']!r} on the map; choose one of the list")
        self._choose(places, open_first=True)

    def _choose(self, places: np.ndarray, open_first: bool) -> None:
        rows = self.evaluation.arrays["rows"][np.unique(places).astype(np.int64)]
        self.selection = np.unique(rows).astype(np.int64)
        self.status.value = f"<p>{many(len(self.selection), 'recording')} chosen: .selection</p>"
        self.viewer.offer(choices_of(self.viewer.table, self.selection), open_first)
