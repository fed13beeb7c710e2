"""One plotly figure as an accessible piece of a page: title, drawing, caption that states the
finding, data table.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

PLOTLY_MIME = "application/vnd.plotly.v1+json"
FIGURE_MIME = "application/vnd.quadlib.figure+html"
MOST_ROWS = 300


def figure_html(figure: Mapping[str, Any], number: int) -> str:
    """A `<figure>` with the figure as inert JSON, which the page's script draws; the caption and
    table need no script.

    The caption is `layout.meta["caption"]`; the table is `layout.meta["table"]` ({"columns": [...],
    "rows": [[...]]}), else the traces.
    """
    data, layout = copy.deepcopy(figure.get("data", [])), copy.deepcopy(figure.get("layout", {}))
    meta = layout.pop("meta", None)
    meta = meta if isinstance(meta, dict) else {}
    title = _take_title(layout)
    caption = str(meta.get("caption") or "")
    for trace in data:
        # SVG scatters need no WebGL and no code made at run time, which the page's content policy
        # forbids.
        trace["type"] = str(trace.get("type", "scatter")).removesuffix("gl")
    layout.pop("width", None)
    height = int(layout.get("height") or _template_height(layout) or 400)
    name = f"figure-{number}"
    spec = json.dumps(
        {"data": data, "layout": layout, "frames": figure.get("frames", [])},
        separators=(",", ":"),
        allow_nan=False,
    )
    heading = f'<p class="figure-title">{escape(title)}</p>' if title else ""
    words = f'<figcaption id="{name}-caption">{escape(caption)}</figcaption>' if caption else ""
    return (
        f'<figure class="plot" id="{name}" '
        f'aria-label="{escape(caption or title or f"Figure {number}", quote=True)}">{heading}'
        f'<div class="plot-area" style="height:{height}px"></div><script '
        f'type="application/json">{_inert(spec)}</script>'
        f"{words}{_table_html(meta.get('table') or trace_table(data))}</figure>"
    )


def trace_table(data: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The values behind the traces, one row a point: trace, x, y, and z for heat maps."""
    rows: list[list[Any]] = []
    for position, trace in enumerate(data):
        name = trace.get("name") or f"series {position + 1}"
        x, y, z = (_values(trace.get(key)) for key in "xyz")
        if z:
            rows += [
                [name, _at(x, j), _at(y, i), value]
                for i, line in enumerate(z)
                for j, value in enumerate(_values(line))
            ]
        else:
            rows += [[name, _at(x, i), _at(y, i)] for i in range(max(len(x), len(y)))]
    width = max((len(row) for row in rows), default=0)
    return {
        "columns": ["series", "x", "y", "value"][:width],
        "rows": [[*row, *[""] * (width - len(row))] for row in rows],
    }


def _take_title(layout: dict[str, Any]) -> str:
    """Takes the title out of the drawing: above it as text it wraps, and is read out."""
    title = layout.pop("title", None)
    text = str((title or {}).get("text") or "") if isinstance(title, dict) else str(title or "")
    if text:
        margin = layout.setdefault("margin", {})
        margin["t"] = max(int(margin.get("t", 56)) - 30, 16)
    return text.replace("<br>", " ").replace("<b>", "").replace("</b>", "")


def _template_height(layout: Mapping[str, Any]) -> Any:
    return ((layout.get("template") or {}).get("layout") or {}).get("height")


def _values(value: Any) -> list[Any]:
    """A trace's array as a list; plotly writes numpy arrays as base64 with a dtype and a shape."""
    if isinstance(value, dict) and "bdata" in value:
        array = np.frombuffer(
            base64.b64decode(value["bdata"]), dtype=np.dtype(value["dtype"]).newbyteorder("<")
        )
        if "shape" in value:
            array = array.reshape([int(size) for size in str(value["shape"]).split(",")])
        return array.tolist()
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []


def _at(values: Sequence[Any], index: int) -> Any:
    return values[index] if index < len(values) else index


def _table_html(table: Mapping[str, Any]) -> str:
    rows = table.get("rows") or []
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{escape(str(column))}</th>' for column in table["columns"])
    body = "".join(f"<tr>{_cells(row)}</tr>" for row in rows[:MOST_ROWS])
    cut = (
        f'<p class="note">First {MOST_ROWS} of {len(rows)} rows.</p>'
        if len(rows) > MOST_ROWS
        else ""
    )
    summary = (
        f'<summary>Data table <span class="count">{len(rows)} '
        f"row{'s' if len(rows) > 1 else ''}</span></summary>"
    )
    return (
        f'<details class="data">{summary}<div class="scroll" tabindex="0">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{cut}</details>"
    )


def _cells(row: Iterable[Any]) -> str:
    return "".join(f"<td>{escape(_cell(value))}</td>" for value in row)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _inert(json_text: str) -> str:
    """JSON that no HTML parser can mistake for the end of its script element."""
    return json_text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
