"""The visual language: marks, numbers, what a cell shows."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
import pytest

from quadlib.figures.style import (
    Gallery,
    class_marks,
    finish,
    label,
    many,
    modality_marks,
    number,
    plain,
    score,
    show,
)


def test_a_figure_brings_its_template_and_never_offers_to_upload() -> None:
    layout = drawing().layout.template.layout
    assert "sendChartToCloud" in layout.modebar.remove
    assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"


def test_the_users_own_plotly_figures_stay_as_they_are() -> None:
    """Importing every module of figures, reports and jupyter changes nothing of plotly's."""
    code = (
        "import pkgutil, importlib, plotly.io as pio, plotly.graph_objects as go\n"
        "def state():\n"
        "    renderer = pio.renderers['plotly_mimetype']\n"
        "    return (pio.templates.default, list(pio.templates), pio.renderers.default,\n"
        "            dict(renderer.config or {}), go.Figure().to_json())\n"
        "before = state()\n"
        "for room in ('figures', 'jupyter', 'reports'):\n"
        "    folder = importlib.import_module(f'quadlib.{room}')\n"
        "    for item in pkgutil.iter_modules(folder.__path__, f'quadlib.{room}.'):\n"
        "        importlib.import_module(item.name)\n"
        "assert state() == before, (before, state())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_figure_is_shown_without_the_logo_and_as_wide_as_its_cell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    displayed: list[dict[str, Any]] = []
    monkeypatch.delenv("QUADLIB_BATCH", raising=False)
    monkeypatch.setattr(pio.renderers, "default", "plotly_mimetype")
    monkeypatch.setattr(
        pio._renderers.ipython_display, "display", lambda bundle, raw: displayed.append(bundle)
    )
    show(drawing())._ipython_display_()
    config = displayed[0]["application/vnd.plotly.v1+json"]["config"]
    assert config["displaylogo"] is False and config["responsive"] is True


def test_the_four_modalities_keep_their_marks_in_any_order_and_subset() -> None:
    everyone = modality_marks(["video", "image", "audio", "sensor"])
    assert [mark.colour for mark in everyone.values()][:4] == [
        "#0072B2",
        "#E69F00",
        "#009E73",
        "#CC79A7",
    ]
    assert [mark.symbol for mark in everyone.values()][:4] == [
        "circle",
        "square",
        "diamond",
        "triangle-up",
    ]
    assert modality_marks(["sensor", "audio"])["sensor"] == everyone["sensor"]


@pytest.mark.parametrize(
    "names",
    [
        ["fou", "kar", "mor", "zer"],
        ["video", "fou", "kar"],
        ["a", "b", "c", "d", "e", "f", "g", "h"],
    ],
)
def test_marks_of_any_modalities_are_distinct(names: list[str]) -> None:
    marks = modality_marks(names)
    assert list(marks) == [*names, "fused"]
    assert len(set(marks.values())) == len(marks)


def test_twenty_four_classes_are_told_apart() -> None:
    assert len(set(class_marks([str(code) for code in range(24)]).values())) == 24


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.04123, "0.0412"),
        (83.12, "83.1"),
        (1730.4, "1,730"),
        (0.0, "0"),
        (3.2e-6, "3.20e-06"),
        (math.nan, "undefined"),
        (-2.5, "-2.50"),
    ],
)
def test_numbers_have_three_significant_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_scores_in_the_manner_of_the_reports() -> None:
    assert score(0.862, (0.81, 0.90)) == ".862 [.81, .90]"
    assert score(0.862, (0.81, math.nan)) == ".862"
    assert score(1.0) == "1.00" and score(math.nan) == "undefined"


def test_small_words() -> None:
    assert many(1, "epoch") == "1 epoch" and many(1200, "epoch") == "1,200 epochs"
    assert label("<a href='x'>") == "&lt;a href='x'&gt;"
    assert plain(math.nan) == "" and plain(1 / 3) == 0.3333 and plain(math.inf) == "inf"


def drawing() -> go.Figure:
    return finish(go.Figure(go.Scatter(x=[1], y=[2])), "A title", "The finding.", ["x"], [[1]])


def test_in_batch_a_plain_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUADLIB_BATCH", "1")
    shown = show(go.FigureWidget(drawing()), live=True)
    assert type(shown) is go.Figure
    assert shown.layout.title.subtitle.text is None  # the report writes the caption


def test_interactively_the_caption_is_with_the_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUADLIB_BATCH", raising=False)
    shown = show(drawing())
    assert isinstance(shown, go.Figure) and not isinstance(shown, go.FigureWidget)
    assert shown.layout.title.subtitle.text == "The finding."
    assert isinstance(show(drawing(), live=True), go.FigureWidget)


def test_a_gallery_displays_each_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    displayed: list[go.Figure] = []
    monkeypatch.setattr("IPython.display.display", displayed.append)
    Gallery([drawing(), drawing()])._ipython_display_()
    assert len(displayed) == 2
