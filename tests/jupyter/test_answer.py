"""The answer stands at the top, once the rest has run, in JupyterLab and in batch alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import plotly.graph_objects as go
import pytest
from bs4 import BeautifulSoup
from nbclient import NotebookClient

from quadlib.config import TrainSettings
from quadlib.figures.verdict import Verdict
from quadlib.jupyter.answer import INK, Answer
from quadlib.reports.render import render_report
from quadlib.runs import Run

CELLS = """
from quadlib.jupyter.answer import Answer

answer = Answer()
answer
###
print("below")
###
import plotly.graph_objects as go
from quadlib.figures.style import finish
from quadlib.figures.verdicts import Verdict

figure = finish(go.Figure(go.Bar(x=[1], y=[2])), "Bars", "They are high.", ["x"], [[1]])
answer.give(Verdict("fine", "All is well.", (("a", "1"),)).going_on("Resume: quadlib"), figure)
"""


@pytest.fixture
def executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nbformat.NotebookNode:
    monkeypatch.setenv("QUADLIB_BATCH", "1")
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in CELLS.split("###")]
    cells[0].metadata["tags"] = ["answer"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Well?"), *cells])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": tmp_path}}).execute()
    return notebook


@pytest.mark.slow
def test_a_later_cell_fills_the_top_and_the_report_its_first_screen(
    executed: nbformat.NotebookNode, tmp_path: Path
) -> None:
    verdict, picture = executed.cells[1].outputs
    assert "All is well." in verdict.data["text/html"]
    assert picture.data["application/vnd.plotly.v1+json"]["layout"]["title"]["text"] == "Bars"
    run = Run.create(TrainSettings(run="r", outputs=str(tmp_path / "outputs")))
    run.path("notebooks").mkdir()
    nbformat.write(executed, run.path("notebooks", "02_train.ipynb"))
    nbformat.write(executed, run.path("notebooks", "03_diagnose.ipynb"))
    for name in ("02_train", "03_diagnose"):
        page = render_report(run.path("notebooks", f"{name}.ipynb"), run)
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    assert soup.select_one("header .verdict .sentence").text == "All is well."
    assert len(soup.select("header figure.plot")) == len(soup.select("figure.plot")) == 1
    assert soup.select_one("details.steps code").text == "Resume: quadlib"
    first = run.path("reports", "02_train.html").read_text(encoding="utf-8")
    for text, links in ((first, ["03_diagnose.html"]), (page.read_text(), ["02_train.html"])):
        nav = BeautifulSoup(text, "html.parser").select("nav.reports a")
        assert [link["href"] for link in nav] == [*links, "../../index.html"]


def test_until_then_it_says_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []

    class Handle:
        def update(self, item: Any, raw: bool = False) -> None:
            shown.append(item)

    def display(item: Any, display_id: bool = False) -> Handle:
        shown.append(item.data)
        return Handle()

    monkeypatch.delenv("QUADLIB_BATCH", raising=False)
    monkeypatch.setattr("IPython.display.display", display)
    answer = Answer()
    answer._ipython_display_()
    waiting = "<p>The answer appears here once the cells below have run.</p>"
    assert shown == [waiting, "", INK]
    verdict = Verdict("fine", "All is well.")
    assert answer.give(verdict, go.Figure()) is verdict
    assert shown[3] is verdict and "application/vnd.plotly.v1+json" in shown[4]
    assert Answer().give(verdict) is verdict  # whose cell was not run
