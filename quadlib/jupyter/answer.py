"""The answer first: a place at the top of a notebook that fills itself once the rest has run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from quadlib.runs.run import started_by_quadlib

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from quadlib.figures.verdict import Verdict

# No one grey reads on JupyterLab's light and dark pages alike: figures there take the page's ink.
INK = """<style>
.js-plotly-plot :is([class$="tick"], .legend, .colorbar, [class*="title"]) text,
.js-plotly-plot text:is([class*="title"]) {
  fill: var(--jp-content-font-color1, #797979) !important;
}
</style>"""
WAITING = "<p>The answer appears here once the cells below have run.</p>"


class Answer:
    """A place for the verdict and one picture; light to import, since it stands above all else.

    Shows itself where its cell is run; `give` fills it, from any later cell.
    """

    def __init__(self) -> None:
        self._verdict: Any = None
        self._picture: Any = None

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display

        text = "" if started_by_quadlib() else WAITING
        self._verdict = display(HTML(text), display_id=True)
        self._picture = display(HTML(""), display_id=True)
        if not started_by_quadlib():
            display(HTML(INK))

    def give(self, verdict: Verdict, picture: go.Figure | None = None) -> Verdict:
        """Fills the place at the top, and returns the verdict, to be shown here as well."""
        if self._verdict is not None:
            self._verdict.update(verdict)
        if self._picture is not None and picture is not None:
            self._picture.update(_bundle(picture), raw=True)
        return verdict


def _bundle(figure: go.Figure) -> dict[str, Any]:
    """A figure as an output: one that displays itself cannot take the place of another output."""
    from plotly.io.json import to_json_plotly

    from quadlib.figures.style import CONFIG, show

    content = json.loads(to_json_plotly(show(figure)))
    return {"application/vnd.plotly.v1+json": content | {"config": CONFIG}}
