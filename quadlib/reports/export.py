"""Figures in a notebook that its user exports by `jupyter nbconvert --to html`: without this, every
plotly figure is left out.

`jupyter/export.json` beside this file, installed into etc/jupyter, makes nbconvert use it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode

from quadlib.reports.engine import engine
from quadlib.reports.figure import PLOTLY_MIME, figure_html

# what `jupyter.live.with_picture` puts beside a widget
PICTURE_MIME = "application/vnd.quadlib.picture+json"

SCRIPT = Path(__file__).parent / "templates" / "report.js"


class PlotlyFigures(Preprocessor):
    """Turns every plotly output into a figure with caption and data table, and puts the engine that
    draws them into the page, once.
    """

    def preprocess(
        self, nb: NotebookNode, resources: dict[str, Any]
    ) -> tuple[NotebookNode, dict[str, Any]]:
        shown = [
            output
            for cell in nb.cells
            for output in cell.get("outputs", [])
            if {PLOTLY_MIME, PICTURE_MIME} & set(output.get("data", {}))
        ]
        for number, output in enumerate(shown, start=1):
            figure = output.data.get(PLOTLY_MIME) or output.data[PICTURE_MIME]
            output.data = {"text/html": figure_html(figure, number)}
        if shown:
            packed, _ = engine()
            script = SCRIPT.read_text(encoding="utf-8")
            shown[-1].data["text/html"] += (
                f'<script type="text/plain" id="plotly-engine">{packed}</script>'
                f"<script>{script}</script>"
            )
        return nb, resources
