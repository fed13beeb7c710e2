"""A report is one harmless file with a verdict on top, captions, tables and provenance; also when
the notebook failed.
"""

from __future__ import annotations

import base64
import json
import re

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup

from quadlib.files import FileError
from quadlib.reports.execute import Outcome
from quadlib.reports.figure import PLOTLY_MIME, figure_html, trace_table
from quadlib.reports.headline import VERDICT_MIME
from quadlib.reports.preprocess import markdown_html
from quadlib.reports.render import render_all, render_outcome, render_report
from quadlib.reports.sanitise import sanitise
from quadlib.runs import RunError

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)><a href='javascript:alert(3)'>x</a>"
FIGURE = {
    "data": [{"type": "scattergl", "x": [1, 2], "y": [3.0, 4.5], "name": HOSTILE}],
    "layout": {
        "title": {"text": "Loss"},
        "width": 300,
        "meta": {
            "caption": f"It fell. {HOSTILE}",
            "table": {"columns": ["epoch", HOSTILE], "rows": [[1, HOSTILE]]},
        },
    },
}


def write_executed(run, *cells, error=None, status="done"):
    notebook = nbformat.v4.new_notebook(cells=list(cells))
    path = run.path("notebooks", "01_batches.ipynb")
    path.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, path)
    run.update(
        status=status,
        notebooks={
            "01_batches": {
                "status": status,
                "error": error,
                "seconds": 1.5,
                "parameters": {"batch_size": 48},
            }
        },
    )
    return path


def shown(*outputs, source="x", tags=()):
    return nbformat.v4.new_code_cell(
        source,
        outputs=list(outputs),
        metadata={"tags": list(tags), "papermill": {"duration": 2.25}},
    )


def display(**data):
    return nbformat.v4.new_output(
        "display_data", data={key.replace("_", "/", 1): value for key, value in data.items()}
    )


@pytest.fixture
def page(run):
    """The soup of a report with every kind of output, all of it hostile."""
    verdict = {
        "level": "needs attention",
        "sentence": f"Two of nine. {HOSTILE}",
        "numbers": [["macro-F1", ".862 [.81, .90]"]],
        "notes": [HOSTILE],
    }
    path = write_executed(
        run,
        nbformat.v4.new_markdown_cell(f"# What is in a batch? {HOSTILE}\n\nThe lead."),
        shown(),
        nbformat.v4.new_markdown_cell(f"# Second top\n\n#### Deep\n\n{HOSTILE}\n\n## Second top"),
        shown(
            display(
                text_html=f"<style>b{{}}</style><table><tr><td "
                f"onclick=a()>{HOSTILE}</td></tr></table>"
            ),
            nbformat.v4.new_output("stream", name="stdout", text=HOSTILE),
            nbformat.v4.new_output("stream", name="stdout", text=" more\n"),
            display(text_plain=HOSTILE),
            display(text_markdown=f"*emphasis* {HOSTILE}"),
            display(**{"image_svg+xml": "<svg onload=a()/>"}),
        ),
        shown(
            nbformat.v4.new_output("display_data", data={PLOTLY_MIME: FIGURE, "text/html": HOSTILE})
        ),
        shown(
            nbformat.v4.new_output(
                "display_data",
                data={
                    "application/vnd.jupyter.widget-view+json": {"model_id": "a"},
                    "text/plain": "W()",
                },
            )
        ),
        nbformat.v4.new_markdown_cell("## What this shows"),
        shown(
            nbformat.v4.new_output("display_data", data={VERDICT_MIME: verdict, "text/html": "x"})
        ),
    )
    return BeautifulSoup(render_report(path, run).read_text(encoding="utf-8"), "html.parser")


def test_nothing_hostile_survives(page):
    scripts = page.find_all("script")
    assert [script.get("type") for script in scripts] == ["application/json", "text/plain", None]
    assert "alert" not in scripts[2].text and "</script" not in scripts[0].text.lower()
    assert not [
        tag
        for tag in page.find_all(True)
        if any(name.lower().startswith("on") for name in tag.attrs)
    ]
    assert not page.select("svg, iframe, img:not([src])") and not page.select(
        '[href^="javascript"]'
    )
    assert {tag["src"] for tag in page.find_all(src=True)} == set()
    assert (
        json.loads(scripts[0].text)["data"][0]["name"] == HOSTILE
    )  # the label itself comes out as it went in


def test_the_page_loads_nothing_and_only_its_own_scripts_run(page):
    policy = page.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    assert (
        policy.startswith("default-src 'none'")
        and "unsafe-eval" not in policy
        and policy.count("'sha256-") == 2
    )
    assert (
        not page.find_all("link")
        and "url(" not in page.style.text
        and "@import" not in page.style.text
    )


def test_head_contents_and_headings(page):
    assert page.html["lang"] == "en" and page.title.text.startswith("What is in a batch?")
    assert len(page.find_all("h1")) == 1
    assert [(tag.name, tag.get("id")) for tag in page.find_all(re.compile("^h[1-6]$"))[1:4]] == [
        ("h2", "second-top"),
        ("h3", "deep"),
        ("h2", "second-top-2"),
    ]
    assert [link["href"] for link in page.select("nav.contents a")] == [
        "#second-top",
        "#deep",
        "#second-top-2",
        "#provenance",
    ]
    assert "The lead." in page.select_one(".lead").text
    assert "What this shows" not in page.text  # its verdict stands on top


def test_verdict_is_on_top_with_its_numbers(page):
    verdict = page.select_one(".verdict")
    assert (
        "tone-look" in verdict["class"]
        and "Needs attention" in verdict.text
        and "Two of nine." in verdict.text
    )
    assert (
        page.select_one(".tiles dt").text == "macro-F1"
        and page.select_one(".tiles dd").text == ".862 [.81, .90]"
    )


def test_figure_has_label_title_caption_and_table(page):
    figure = page.select_one("figure.plot")
    assert (
        figure["aria-label"].startswith("It fell.")
        and figure.select_one(".figure-title").text == "Loss"
    )
    assert figure.figcaption.text.startswith("It fell.") and [
        cell.text for cell in figure.select("td")
    ] == ["1", HOSTILE]
    spec = json.loads(figure.script.text)
    assert spec["data"][0]["type"] == "scatter" and not {"meta", "width", "title"} & set(
        spec["layout"]
    )


def test_provenance_tells_changed_settings_first(page):
    facts = page.select_one(".provenance").text
    assert (
        "batch_size" in facts
        and "(default 32)" in facts
        and facts.index("batch_size") < facts.index("commit")
    )
    assert "2.2 s" in page.select_one("#code").text


def test_printed_text_is_one_block_and_long_text_is_folded(run):
    text = "\n".join(map(str, range(100)))
    soup = BeautifulSoup(
        render_report(
            write_executed(
                run,
                shown(
                    nbformat.v4.new_output("stream", name="stdout", text="a\n"),
                    nbformat.v4.new_output("stream", name="stdout", text="b\n"),
                ),
                shown(nbformat.v4.new_output("stream", name="stdout", text=text)),
            ),
            run,
        ).read_text(encoding="utf-8"),
        "html.parser",
    )
    assert [block.text for block in soup.select("pre.stdout")] == ["a\nb", text]
    assert soup.select("details > pre.stdout")[0].text == text


def test_a_page_without_figures_carries_no_engine(run):
    assert render_report(write_executed(run, shown()), run).stat().st_size < 60_000


def test_a_failed_notebook_says_what_where_and_how_to_go_on(run):
    error = {
        "type": "KeyError",
        "message": HOSTILE,
        "cell": 1,
        "traceback": ["KeyError: 'x'"],
        "log": ["epoch 1 loss 3.1"],
    }
    first, second = (
        nbformat.v4.new_markdown_cell(
            "An Exception was encountered", metadata={"tags": ["papermill-error-cell-tag"]}
        )
        for _ in range(2)
    )
    path = write_executed(
        run,
        first,
        nbformat.v4.new_markdown_cell("# Q\n\n## Reading the table"),
        second,
        shown(
            nbformat.v4.new_output(
                "error", ename="KeyError", evalue="x", traceback=["\x1b[31mKeyError"]
            )
        ),
        error=error,
        status="failed",
    )
    soup = BeautifulSoup(render_report(path, run).read_text(encoding="utf-8"), "html.parser")
    verdict = soup.select_one(".verdict").text
    for words in (
        "Failed",
        "KeyError: <script>",
        "In code cell 1, under “Reading the table”.",
        f"quadlib run 01_batches --run {run.folder}",
        "epoch 1 loss 3.1",
    ):
        assert words in verdict
    assert "An Exception was encountered" not in soup.text


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<b>x</b>", "<b>x</b>"),
        ("<img src='https://example.org/a.png'>y", "y"),
        ("<img src='data:image/svg+xml;base64,AA'>y", "y"),
        (
            '<img alt="a" src="data:image/png;base64,AA">',
            '<img alt="a" src="data:image/png;base64,AA">',
        ),
        ("<a href='data:text/html,x'>y</a>", '<a rel="noopener noreferrer">y</a>'),
        (
            "<p style='color:red;position:fixed;background:url(https://e.org)'>x</p>",
            '<p style="color:red">x</p>',
        ),
        ("<svg><script>1</script></svg><math><mtext>x</mtext></math>z", "z"),
        (
            "<audio controls src='data:audio/flac;base64,AA'></audio>",
            '<audio controls="" src="data:audio/flac;base64,AA"></audio>',
        ),
    ],
)
def test_sanitise(html, expected):
    assert sanitise(html) == expected


def test_markdown_becomes_sanitised_html():
    assert markdown_html("a *b* <script>x</script> `c`") == "<p>a <em>b</em>  <code>c</code></p>\n"


def test_table_from_traces_reads_typed_arrays_and_heat_maps():
    packed = {"dtype": "f8", "bdata": base64.b64encode(np.array([1.0, 2.5]).tobytes()).decode()}
    grid = {
        "dtype": "i4",
        "bdata": base64.b64encode(np.arange(4, dtype="i4").tobytes()).decode(),
        "shape": "2, 2",
    }
    assert trace_table([{"x": packed, "y": [3, 4], "name": "a"}]) == {
        "columns": ["series", "x", "y"],
        "rows": [["a", 1.0, 3], ["a", 2.5, 4]],
    }
    assert trace_table([{"type": "heatmap", "x": ["p", "q"], "y": ["r", "s"], "z": grid}])["rows"][
        3
    ] == ["series 1", "q", "s", 3]
    html = figure_html(
        {"data": [{"x": list(range(1000)), "y": list(range(1000))}], "layout": {}}, 1
    )
    assert "1000 rows" in html and html.count("<tr>") == 301 and 'aria-label="Figure 1"' in html


def test_rendering_again_without_notebooks_is_refused(run):
    with pytest.raises(RunError, match="no executed notebook"):
        list(render_all(run))


def test_a_damaged_notebook_is_named_once_the_others_are_rendered(run):
    write_executed(run, shown(source="first"))
    run.path("notebooks", "00_torn.ipynb").write_text('{"cells": [')
    run.path("notebooks", "03_torn.ipynb").write_text("")
    reports = render_all(run)
    assert next(reports).name == "01_batches.html"
    with pytest.raises(FileError, match=r"(?s)00_torn.*03_torn") as caught:
        next(reports)
    assert "01_batches" not in str(caught.value)


def test_a_good_report_is_never_lost(run):
    good = write_executed(run, shown(source="first"))
    outcome = Outcome("done", good, 1.0)
    path = render_outcome(outcome, good, run)
    first = path.read_text()
    error = {"type": "ValueError", "message": "no such column", "cell": 0, "traceback": []}
    record = run.record["notebooks"]["01_batches"]
    run.update(status="failed", notebooks={"01_batches": record | {"status": "failed"} | {
        "error": error}})  # fmt: skip
    failed = render_outcome(Outcome("failed", good, 1.0, error), good, run)
    assert failed.name == "01_batches-failed.html" and "no such column" in failed.read_text()
    assert path.read_text() == first
    assert [path.name for path in render_all(run)] == ["01_batches-failed.html"]
    run.update(status="done", notebooks={"01_batches": record})
    assert render_outcome(outcome, good, run) == path
    [kept] = run.path("reports", "earlier").iterdir()
    assert kept.read_text() == first and not failed.exists()
    list(render_all(run))  # the same execution once more
    assert len(list(run.path("reports", "earlier").iterdir())) == 1


def test_a_first_failure_has_the_place_of_the_report(run):
    error = {"type": "ValueError", "message": "no such column", "cell": 0, "traceback": []}
    bad = write_executed(run, shown(source="first"), error=error, status="failed")
    assert render_outcome(Outcome("failed", bad, 1.0, error), bad, run).name == "01_batches.html"
    again = render_outcome(Outcome("failed", bad, 1.0, error), bad, run)
    assert again.name == "01_batches.html" and not run.path("reports", "earlier").exists()
