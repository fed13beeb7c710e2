"""A notebook that its user exports has all its figures, drawn with the network off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import plotly.graph_objects as go
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from plotly.io.json import to_json_plotly

from quadlib.figures.style import finish
from quadlib.reports.export import PICTURE_MIME
from quadlib.reports.figure import PLOTLY_MIME

pytestmark = pytest.mark.browser
SETTINGS = Path(__file__).parents[2] / "quadlib" / "reports" / "jupyter" / "export.json"
WIDGET = "application/vnd.jupyter.widget-view+json"


def test_an_exported_notebook_draws_every_figure(tmp_path: Path, open_page) -> None:
    bars = go.Figure(go.Bar(x=[1, 2], y=[3, 4]))
    figure = finish(bars, "Bars", "They </script> grow.", ["x"], [[1]])
    content = json.loads(to_json_plotly(figure))
    cells = [
        new_code_cell("a", outputs=[new_output("display_data", data={kind: content, **more})])
        for kind, more in (
            (PLOTLY_MIME, {"text/plain": "Figure()"}),
            (PICTURE_MIME, {WIDGET: {"model_id": "x"}, "text/plain": "VBox()"}),
        )
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "mine.ipynb")
    installed = tmp_path / "etc" / "jupyter_nbconvert_config.json"
    installed.parent.mkdir(parents=True)
    installed.write_bytes(SETTINGS.read_bytes())
    subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "html", "mine.ipynb"],
        cwd=tmp_path,
        env=os.environ | {"JUPYTER_CONFIG_PATH": str(tmp_path / "etc")},
        check=True,
        capture_output=True,
    )
    opened = open_page(tmp_path / "mine.html")
    assert opened.drawn()
    areas = opened.page.locator(".plot-area")
    assert areas.count() == 2 and all(area.locator(".main-svg").count() for area in areas.all())
    assert "They </script> grow." in opened.page.locator("figcaption").first.inner_text()
    assert (tmp_path / "mine.html").stat().st_size < 3_000_000
