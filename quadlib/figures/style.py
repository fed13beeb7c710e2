"""The one visual language: the plotly template, colours and symbols, number formats, and how
a figure is shown.
"""

from __future__ import annotations

import html
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from quadlib.runs.run import started_by_quadlib

# Okabe and Ito's palette: told apart by readers with any colour vision, and in grey print together
# with the symbols.
_KNOWN = {
    "video": ("#0072B2", "circle"),
    "image": ("#E69F00", "square"),
    "audio": ("#009E73", "diamond"),
    "sensor": ("#CC79A7", "triangle-up"),
}
_FURTHER = (("#56B4E9", "cross"), ("#8C6D31", "x"), ("#7570B3", "pentagon"), ("#B2182B", "star"))
FUSED = "fused"

# The grey with the same contrast (4.3 to 1) on white and on JupyterLab's dark background; a
# report's renderer may set a stronger ink.
INK = "#797979"
QUIET = "rgba(128,128,128,0.55)"
GRID = "rgba(128,128,128,0.22)"
BAND = "rgba(128,128,128,0.22)"
FINE, ATTENTION, BROKEN = "#009E73", "#E69F00", "#D55E00"
SEQUENTIAL = "Cividis"


class Mark(NamedTuple):
    """Colour and marker symbol of one modality or class."""

    colour: str
    symbol: str


def modality_marks(names: Iterable[str]) -> dict[str, Mark]:
    """Colour and symbol of each modality: the four of the weld cell keep theirs, others take the
    free ones in order; `fused` is ink.
    """
    names = list(names)
    free = [Mark(*pair) for key, pair in _KNOWN.items() if key not in names] + [
        Mark(*pair) for pair in _FURTHER
    ]
    others = [name for name in names if name not in _KNOWN and name != FUSED]
    marks = {name: free[position % len(free)] for position, name in enumerate(others)}
    marks |= {name: Mark(*_KNOWN[name]) for name in names if name in _KNOWN}
    return {
        name: marks.get(name, Mark(INK, "hexagon"))
        for name in [*names, *([] if FUSED in names else [FUSED])]
    }


def class_marks(names: Sequence[str]) -> dict[str, Mark]:
    """Colour and symbol of each class: six colours times four symbols, always beside a label with
    the class's name.
    """
    colours = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
    symbols = ("circle", "square", "diamond", "triangle-up")
    return {name: Mark(colours[i % 6], symbols[i // 6 % 4]) for i, name in enumerate(names)}


def _template() -> go.layout.Template:
    """The look that each of our figures is given: transparent, system font, thin grid, no logo, and
    no button that sends a figure to a cloud.
    """
    axis = {
        "gridcolor": GRID,
        "linecolor": QUIET,
        "zerolinecolor": QUIET,
        "gridwidth": 1,
        "zerolinewidth": 1,
        "ticks": "",
        "automargin": True,
        "title": {"standoff": 8},
    }
    return go.layout.Template(
        layout={
            "font": {
                "family": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, "
                "sans-serif",
                "size": 13,
                "color": INK,
            },
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "title": {
                "x": 0,
                "xref": "paper",
                "xanchor": "left",
                "y": 1,
                "yref": "container",
                "yanchor": "top",
                "pad": {"t": 12},
                "font": {"size": 16},
                "subtitle": {"font": {"size": 13}},
            },
            "margin": {"l": 60, "r": 24, "t": 56, "b": 48},
            "height": 360,
            "xaxis": axis,
            "yaxis": axis,
            # a class named "3" is a name; the browser forgets an axis type when data are replaced
            "autotypenumbers": "strict",
            "colorscale": {"sequential": SEQUENTIAL},
            "coloraxis": {"colorbar": {"thickness": 10, "outlinewidth": 0}},
            "legend": {
                "orientation": "h",
                "x": 0,
                "y": 1.0,
                "yanchor": "bottom",
                "bgcolor": "rgba(0,0,0,0)",
            },
            "hoverlabel": {"align": "left"},
            "modebar": {
                "remove": ["sendChartToCloud", "lasso2d", "select2d", "autoScale2d"],
                "bgcolor": "rgba(0,0,0,0)",
                "color": QUIET,
                "activecolor": INK,
            },
        }
    )


TEMPLATE = _template()
CONFIG = {"displaylogo": False, "responsive": True}


def finish(
    figure: go.Figure,
    title: str,
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    **layout: Any,
) -> go.Figure:
    """Gives a figure its title, its finding in a sentence and its data table (in `layout.meta`, for
    the report), and returns it.
    """
    table = {"columns": list(columns), "rows": [[plain(value) for value in row] for row in rows]}
    figure.update_layout(
        template=TEMPLATE, title_text=title, meta={"caption": caption, "table": table}, **layout
    )
    return figure


def plain(value: Any) -> Any:
    """A value for a data table: numpy scalars as Python's, floats with four significant digits,
    not-a-number as an empty cell.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return (
            float(f"{value:.4g}") if np.isfinite(value) else ("" if np.isnan(value) else str(value))
        )
    return value


def number(value: float, digits: int = 3) -> str:
    """A number with three significant digits, thousands separated, never in powers of ten between
    1e-4 and 1e7: 0.0412, 83.1, 1,730.
    """
    if value != value:
        return "undefined"
    if value == 0 or not np.isfinite(value):
        return f"{value:g}"
    if abs(value) < 1e-4 or abs(value) >= 1e7:
        return f"{value:.{digits - 1}e}"
    decimals = max(digits - 1 - int(np.floor(np.log10(abs(value)))), 0)
    return f"{value:,.{decimals}f}"


def many(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun: `1 epoch`, `12 epochs`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def score(value: float, interval: Sequence[float] | None = None) -> str:
    """A score between 0 and 1 as `.862`, with its interval `.862 [.81, .90]`."""
    if value != value:
        return "undefined"
    text = f"{value:.3f}".removeprefix("0") if value < 1 else "1.00"
    if interval is None or any(bound != bound for bound in interval):
        return text
    low, high = (f"{bound:.2f}".removeprefix("0") for bound in interval)
    return f"{text} [{low}, {high}]"


def label(text: str) -> str:
    """A name from the data as plotly shall print it: plotly reads tags in labels, so a name with
    `<` in it is escaped.
    """
    return html.escape(text, quote=False)


def in_batch() -> bool:
    """Whether a notebook runs without a reader at the screen: by `quadlib run`, or by papermill or
    nbconvert. QUADLIB_BATCH=0 or 1 says so where a program of another kind runs it.
    """
    return started_by_quadlib() if "QUADLIB_BATCH" in os.environ else _run_by_program()


def _run_by_program() -> bool:
    """Whether a Python client asked for this cell: its messages are numbered by its process, while
    those of JupyterLab, the classic notebook and VS Code have random ids.
    """
    ipython = sys.modules.get("IPython")
    kernel = getattr(ipython.get_ipython(), "kernel", None) if ipython else None
    if kernel is None:
        return False
    message = str(kernel.get_parent("shell").get("header", {}).get("msg_id", ""))
    return re.search(r"_\d+_\d+$", message) is not None


class Shown(go.Figure):
    """A figure that a cell displays without plotly's logo, as wide as the cell."""

    def _ipython_display_(self) -> None:
        self.show(config=CONFIG)


def show(item: Any, live: bool = False) -> Any:
    """What a cell displays: a figure, interactively above its caption; anything else as it is
    (widgets know their static twin).

    `live` turns a figure into a FigureWidget when interactive, so that code can change it later.
    Other figures stay plain: they zoom and hover all the same, are still there when a saved
    notebook is opened, and do not carry the 5 MB of script that each FigureWidget puts into the
    browser.
    """
    if not isinstance(item, go.Figure | go.FigureWidget):
        return item
    if in_batch():
        return go.Figure(item)
    figure = Shown(item)
    lines = textwrap.wrap(str((figure.layout.meta or {}).get("caption", "")), width=110)
    if lines:
        figure.update_layout(
            title_subtitle_text="<br>".join(lines),
            margin_t=(figure.layout.margin.t or 56) + 18 * len(lines),
            height=(figure.layout.height or 360) + 18 * len(lines),
        )
    return go.FigureWidget(figure) if live else figure


class Gallery(list[go.Figure]):
    """Several figures that one cell displays one below the other."""

    def _ipython_display_(self) -> None:
        from IPython.display import display

        for figure in self:
            display(show(figure))
