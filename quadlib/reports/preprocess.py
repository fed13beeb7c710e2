"""nbconvert preprocessors: what a notebook's cells become before the report's template writes them
down.
"""

from __future__ import annotations

import re
from typing import Any

from bs4 import BeautifulSoup, Tag
from nbconvert.filters.ansi import ansi2html
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode

from quadlib.reports.figure import FIGURE_MIME, PLOTLY_MIME, figure_html
from quadlib.reports.headline import VERDICT_MIME
from quadlib.reports.sanitise import sanitise
from quadlib.reports.streams import merge_streams

ANSWER_TAG = "answer"
HIDDEN_TAGS = {"papermill-error-cell-tag", "remove_cell"}
PICTURES = ("image/png", "image/jpeg")
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
LONGEST_OPEN_STREAM = 24
MOST_CHARACTERS = 100_000


class Clean(Preprocessor):
    """Drops hidden cells, turns markdown into sanitised HTML, and keeps of every output only what
    is harmless to show.
    """

    def preprocess(
        self, nb: NotebookNode, resources: dict[str, Any]
    ) -> tuple[NotebookNode, dict[str, Any]]:
        nb.cells = [
            cell for cell in nb.cells if not HIDDEN_TAGS & set(cell.metadata.get("tags", []))
        ]
        for cell in nb.cells:
            if cell.cell_type == "markdown":
                cell.source = markdown_html(cell.source)
            elif cell.cell_type == "code":
                cell.outputs = [
                    output
                    for output in map(_clean_output, map(NotebookNode, merge_streams(cell.outputs)))
                    if output is not None
                ]
            else:
                cell.source = ""
        return nb, resources


class Figures(Preprocessor):
    """Turns plotly outputs into `<figure>` elements with caption, data table and the figure itself
    as JSON.
    """

    def preprocess(
        self, nb: NotebookNode, resources: dict[str, Any]
    ) -> tuple[NotebookNode, dict[str, Any]]:
        count = 0
        for cell in nb.cells:
            for output in cell.get("outputs", []):
                if PLOTLY_MIME in output.get("data", {}):
                    count += 1
                    output.data = {FIGURE_MIME: figure_html(output.data[PLOTLY_MIME], count)}
        resources["figures"] = count
        return nb, resources


class Verdict(Preprocessor):
    """Takes the notebook's verdict (its last one, wherever it stands) out of the flow into
    resources `verdict`; None without one.

    A heading that is left with nothing under it at the end goes too.
    """

    def preprocess(
        self, nb: NotebookNode, resources: dict[str, Any]
    ) -> tuple[NotebookNode, dict[str, Any]]:
        found = [
            output.data[VERDICT_MIME]
            for cell in nb.cells
            for output in cell.get("outputs", [])
            if VERDICT_MIME in output.data
        ]
        resources["verdict"] = found[-1] if found else None
        for cell in nb.cells if found else []:
            if cell.cell_type == "code":
                cell.outputs = [
                    output for output in cell.outputs if output.data.get(VERDICT_MIME) != found[-1]
                ]
        while nb.cells and _nothing_to_read(nb.cells[-1]):
            nb.cells.pop()
        return nb, resources


class Picture(Preprocessor):
    """Takes the cell at the top, which holds the verdict and one picture, out of the flow; the
    picture goes into resources `picture`.
    """

    def preprocess(
        self, nb: NotebookNode, resources: dict[str, Any]
    ) -> tuple[NotebookNode, dict[str, Any]]:
        top = [cell for cell in nb.cells if ANSWER_TAG in cell.metadata.get("tags", [])]
        resources["picture"] = "".join(
            output.data.get(FIGURE_MIME, "") for cell in top for output in cell.get("outputs", [])
        )
        nb.cells = [cell for cell in nb.cells if cell not in top]
        return nb, resources


class Outline(Preprocessor):
    """One h1, taken as the page's title; headings in order, each with an id; and the contents list.

    Sets resources `title`, `lead` (the rest of the first markdown cell) and `contents` (level,
    text, id).
    """

    def preprocess(
        self, nb: NotebookNode, resources: dict[str, Any]
    ) -> tuple[NotebookNode, dict[str, Any]]:
        title, contents, taken, level = "", [], {"top", "contents", "provenance", "code"}, 1
        for cell in nb.cells:
            if cell.cell_type != "markdown":
                continue
            soup = BeautifulSoup(cell.source, "html.parser")
            for heading in soup.find_all(re.compile("^h[1-6]$")):
                assert isinstance(heading, Tag)
                text = heading.get_text(" ", strip=True)
                if heading.name == "h1" and not title:
                    title = text
                    heading.decompose()
                    continue
                level = min(max(int(heading.name[1]), 2), level + 1)
                heading.name = f"h{level}"
                heading["id"] = _unique(text, taken)
                if level <= 3:
                    contents.append({"level": level, "text": text, "id": heading["id"]})
            cell.source = str(soup)
        resources |= {"title": title, "contents": contents, "lead": ""}
        if nb.cells and nb.cells[0].cell_type == "markdown":
            resources["lead"] = nb.cells.pop(0).source
        return nb, resources


def markdown_html(source: str) -> str:
    """Sanitised HTML of markdown text."""
    return sanitise(
        MarkdownWithMath(renderer=IPythonRenderer(escape=False, exclude_anchor_links=True)).render(
            source
        )
    )


def _clean_output(output: NotebookNode) -> NotebookNode | None:
    """The output with harmless data only, or None when nothing is left to show; printed text
    becomes HTML.
    """
    if output.output_type == "stream":
        return _html_output(_stream_html(output.name, output.text)) if output.text.strip() else None
    if output.output_type == "error":
        return None  # the page's head tells it, with the cell
    data = output.data
    if PLOTLY_MIME in data:
        return NotebookNode(
            output_type="display_data", data={PLOTLY_MIME: data[PLOTLY_MIME]}, metadata={}
        )
    if WIDGET_MIME in data:
        return _html_output(
            '<p class="note">This part is interactive when the notebook is open in JupyterLab.</p>'
        )
    if VERDICT_MIME in data:
        return NotebookNode(
            output_type="display_data",
            metadata={},
            data={
                VERDICT_MIME: data[VERDICT_MIME],
                "text/html": sanitise(data.get("text/html", "")),
            },
        )
    if "text/html" in data:
        return _html_output(sanitise(data["text/html"]))
    if "text/markdown" in data:
        return _html_output(markdown_html(data["text/markdown"]))
    pictures = {kind: data[kind] for kind in PICTURES if kind in data}
    if pictures:
        return NotebookNode(
            output_type="display_data", data=pictures, metadata=output.get("metadata", {})
        )
    return (
        _html_output(f"<pre>{ansi2html(data['text/plain'])}</pre>")
        if data.get("text/plain", "").strip()
        else None
    )


def _stream_html(name: str, text: str) -> str:
    text = text.rstrip()
    cut = (
        f"… {len(text) - MOST_CHARACTERS:,} characters left out; the executed notebook has them …\n"
        if len(text) > MOST_CHARACTERS
        else ""
    )
    text = cut + text[-MOST_CHARACTERS:]
    lines = text.count("\n") + 1
    block = f'<pre class="{"stderr" if name == "stderr" else "stdout"}">{ansi2html(text)}</pre>'
    return (
        block
        if lines <= LONGEST_OPEN_STREAM
        else f"<details><summary>{lines} lines of output</summary>{block}</details>"
    )


def _html_output(html: str) -> NotebookNode:
    return NotebookNode(output_type="display_data", data={"text/html": html}, metadata={})


def _nothing_to_read(cell: NotebookNode) -> bool:
    """Code without output, or a heading alone."""
    if cell.cell_type == "code":
        return not cell.outputs
    return re.fullmatch(r"\s*<h([1-6])\b[^>]*>.*?</h\1>\s*|\s*", cell.source, re.DOTALL) is not None


def _unique(text: str, taken: set[str]) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"
    name, number = slug, 2
    while name in taken:
        name, number = f"{slug}-{number}", number + 1
    taken.add(name)
    return name
