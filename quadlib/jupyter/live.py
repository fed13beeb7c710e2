"""Figures that change while they are displayed, and callbacks whose errors are seen."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from functools import wraps
from typing import Any

import ipywidgets as widgets
import plotly.graph_objects as go
from plotly.io.json import to_json_plotly

from quadlib.figures.still import still
from quadlib.figures.style import CONFIG

PICTURE_MIME = "application/vnd.quadlib.picture+json"  # which no front end shows by itself


def refresh(shown: go.FigureWidget, fresh: go.Figure) -> None:
    """Makes a displayed figure look like a fresh one, in one message, without making a new
    widget.
    """
    with shown.batch_update():
        for old, new in zip(shown.data, fresh.data, strict=False):
            wanted = {name: value for name, value in new.to_plotly_json().items() if name != "type"}
            old.update(
                {
                    **dict.fromkeys(set(old.to_plotly_json()) - set(wanted) - {"type", "uid"}),
                    **wanted,
                }
            )
        # Only what differs is sent: an axis written anew as a whole would lose its type in the
        # browser.
        shown.layout.update({"shapes": (), "annotations": (), **fresh.layout.to_plotly_json()})
    if len(fresh.data) > len(shown.data):
        shown.add_traces(fresh.data[len(shown.data) :])


def live(figure: go.Figure) -> go.FigureWidget:
    """A figure that fills its cell and can be changed later; without plotly's logo."""
    shown = go.FigureWidget(figure)
    shown.layout.autosize = True
    shown._config = {**shown._config, **CONFIG}
    return shown


def with_picture(widget: widgets.Widget, figure: go.Figure) -> dict[str, Any]:
    """A widget as an output that also holds a figure, which a notebook keeps when its kernel has
    ended: JupyterLab shows the widget, an export the figure, and what runs no script a picture.
    """
    picture = base64.b64encode(still(figure)).decode()
    content = json.loads(to_json_plotly(figure)) | {"config": CONFIG}
    return {**widget._repr_mimebundle_(), PICTURE_MIME: content, "image/png": picture}


def reported(handler: Callable[..., None]) -> Callable[..., None]:
    """An error in a widget's callback would vanish in the browser's log: this puts it into the
    status line.
    """

    @wraps(handler)
    def handle(self: Any, *arguments: Any) -> None:
        try:
            handler(self, *arguments)
        except Exception as error:  # every error has the same reader, at the same screen
            text = html.escape(str(error)).replace("\n", "<br>")
            self.status.value = (
                '<p role="alert"><strong>✕ '
                f"{html.escape(type(error).__name__)}</strong>: {text}</p>"
            )

    return handle
