"""Reports and gallery in Chromium with the network off: nothing asked for, everything drawn,
nothing run that should not.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from plotly.io.json import to_json_plotly

from quadlib.config import TrainSettings
from quadlib.figures.style import INK, SEQUENTIAL, finish
from quadlib.figures.verdicts import Verdict
from quadlib.files import write_record
from quadlib.reports.gallery import write_gallery
from quadlib.reports.render import render_report
from quadlib.runs import Run, lines_text
from quadlib.runs.commands import compare_command

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>"
MEGABYTE = 1e6
LONG = "porosity_with_excessive_penetration_of_the_root"
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text()
MILD = ("minor", "moderate")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a report of many kinds of figure, hostile labels among them, and a gallery."""
    run = Run.create(
        TrainSettings(run=f"a run {HOSTILE[:4]}", outputs=str(tmp_path_factory.mktemp("outputs")))
    )
    random = np.random.default_rng(0)
    names = ["good", HOSTILE, "porosity"]
    long_names = [*names[:2], LONG]
    line = go.Figure(go.Scatter(x=[1, 2, 3], y=[3, 2, 1], line={"color": INK}, name=HOSTILE))
    heat = go.Figure(go.Heatmap(z=random.integers(0, 5, (3, 4)), y=names, colorscale=SEQUENTIAL))
    cloud = go.Figure(
        go.Scattergl(
            x=random.normal(size=50), y=random.normal(size=50), mode="markers", text=[HOSTILE] * 50
        )
    )
    cloud.update_layout(
        updatemenus=[
            {
                "type": "buttons",
                "buttons": [{"label": "a", "method": "skip"}, {"label": "b", "method": "skip"}],
            }
        ]
    )
    bars = go.Figure(go.Bar(x=[1, 2, 3], y=long_names, orientation="h"))
    cells = [
        nbformat.v4.new_markdown_cell(f"# Is it good?\n\nLead {HOSTILE}"),
        nbformat.v4.new_markdown_cell("## Pictures"),
    ]
    for title, figure in (("Line", line), ("Heat", heat), ("Cloud", cloud), ("Bars", bars)):
        finish(
            figure,
            title,
            f"{title} is fine. {HOSTILE}",
            ["class", "value"],
            [[name, 1] for name in names],
        )
        data = {"application/vnd.plotly.v1+json": figure.to_plotly_json() | {"config": {}}}
        data = nbformat.from_dict(json.loads(to_json_plotly(data)))
        cells.append(
            nbformat.v4.new_code_cell(
                "figure", outputs=[nbformat.v4.new_output("display_data", data=data)]
            )
        )
    table = pd.DataFrame({f"column {n}": [f"{LONG}/{n:08d}", "word " * 20] for n in range(6)})
    shown = {"text/html": table.to_html(), "text/plain": "table"}
    printed = nbformat.v4.new_output("stream", name="stdout", text="a line " * 60 + "\nand another")
    outputs = [nbformat.v4.new_output("display_data", data=shown), printed]
    cells.append(nbformat.v4.new_code_cell("t", outputs=outputs))
    verdict = Verdict(
        "fine", f"All is well {HOSTILE}", (("macro-F1", ".86 [.81, .90]"),)
    )._repr_mimebundle_()
    cells.append(
        nbformat.v4.new_code_cell(
            "v", outputs=[nbformat.v4.new_output("display_data", data=verdict)]
        )
    )
    run.path("notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), run.path("notebooks", "02_train.ipynb"))
    epochs = [
        {"kind": "epoch", "epoch": n, "fused": 3 / n, "floor": 0.5, "collapse": 3.4}
        for n in range(1, 9)
    ]
    run.path("history.jsonl").write_text(lines_text(epochs))
    run.update(status="done")
    render_report(run.path("notebooks", "02_train.ipynb"), run)
    write_gallery(run.folder.parent)
    return run


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_draws_all_figures_and_asks_for_nothing(run, open_page, scheme):
    path = run.path("reports", "02_train.html")
    assert path.stat().st_size <= 3 * MEGABYTE
    opened = open_page(path, color_scheme=scheme)
    assert opened.drawn()
    assert (opened.requests, opened.complaints) == ([], [])
    areas = opened.page.locator(".plot-area")
    assert areas.count() == 4 and all(area.locator(".main-svg").count() for area in areas.all())
    ink = opened.page.locator("#figure-1 .js-line").evaluate("line => line.style.stroke")
    assert ink == ("rgb(29, 31, 33)" if scheme == "light" else "rgb(230, 230, 227)")
    grid = opened.page.locator("#figure-1 .ygrid").first.evaluate("line => line.style.stroke")
    assert grid == ("rgb(228, 228, 224)" if scheme == "light" else "rgb(51, 55, 59)")


def test_the_page_follows_a_change_of_theme_and_prints_light(run, open_page):
    opened = open_page(run.path("reports", "02_train.html"), color_scheme="light")
    opened.drawn()
    ink = "document.querySelector('#figure-1 .js-line').style.stroke"
    opened.page.emulate_media(color_scheme="dark")
    opened.until(ink, "rgb(230, 230, 227)")
    opened.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    opened.until(ink, "rgb(29, 31, 33)")
    assert opened.complaints == []


def test_captions_tables_and_keyboard(run, open_page):
    page = open_page(run.path("reports", "02_train.html")).page
    for figure in page.locator("figure.plot").all():
        assert figure.get_attribute("aria-label") == figure.locator("figcaption").inner_text()
        figure.locator("summary").press("Enter")
        assert figure.locator("td").first.is_visible()
    assert (
        page.title()
        and page.locator("html").get_attribute("lang") == "en"
        and page.locator("h1").count() == 1
    )
    assert page.locator("[data-title*='Cloud'], [data-title*='Share']").count() == 0


def test_without_script_the_numbers_are_still_there(run, open_page):
    page = open_page(run.path("reports", "02_train.html"), java_script_enabled=False).page
    assert page.locator("noscript").inner_text().startswith("The figures are drawn by a script")
    assert page.locator("figure.plot figcaption").count() == 4


CUT = Path(__file__).with_name("cut.js").read_text()
PRINTED_PX = 672  # between the margins of A4


def test_a_phone_and_paper_show_every_text_whole(run, open_page, tmp_path):
    opened = open_page(run.path("reports", "02_train.html"), viewport={"width": 390, "height": 800})
    page = opened.page
    opened.drawn()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate(CUT, 390) == []
    ticks = page.locator("#figure-4 .ytick text").all_text_contents()
    assert f"{LONG[:17]}…" in ticks  # it is whole in the data table
    page.set_viewport_size({"width": PRINTED_PX, "height": 900})
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.wait_for_timeout(500)
    assert page.evaluate(CUT, PRINTED_PX) == []
    assert len(page.pdf(format="A4")) > 10_000
    assert opened.complaints == []


@pytest.mark.parametrize("name", ["report", "gallery"])
def test_axe_finds_nothing_serious(run, open_page, name):
    path = (
        run.path("reports", "02_train.html")
        if name == "report"
        else run.folder.parent / "index.html"
    )
    page = open_page(path, color_scheme="dark", viewport={"width": 390, "height": 800}).page
    page.wait_for_timeout(500)
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    page.evaluate(f"{AXE};0")
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    assert [(item["id"], item["impact"]) for item in found if item["impact"] not in MILD] == []


def test_a_table_is_taken_along_as_csv(run, open_page):
    page = open_page(run.path("reports", "02_train.html")).page
    page.locator("figure.plot summary").first.click()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").first.click()
    lines = download.value.path().read_text().splitlines()
    assert lines == ["class,value", "good,1", f"{HOSTILE},1", "porosity,1"]


def test_the_gallery_filters_and_links(run, open_page):
    opened = open_page(run.folder.parent / "index.html")
    page = opened.page
    assert page.locator(".run").count() == 1 and page.locator(".run svg polyline").count() == 3
    page.get_by_label("Filter").fill("nothing like it")
    assert (
        not page.locator(".run").is_visible()
        and page.locator("#count").inner_text() == "0 of 1 runs"
    )
    assert not page.locator(".pinned").is_visible()
    page.get_by_label("Filter").fill("well done")
    assert page.locator(".run").is_visible()
    page.locator(".run nav a").click()
    page.wait_for_url("**/02_train.html")
    assert opened.complaints == []


def test_pinned_runs_stay_and_are_compared(tmp_path, open_page):
    for number, name in reversed(list(enumerate(("one", "a second", "third")))):  # newest last
        run = Run.create(TrainSettings(run=name, outputs=str(tmp_path)))
        settings = TrainSettings(epochs=10 + number).model_dump()
        run.update(status="done", settings=settings, created=f"2026-01-0{3 - number}T10:00")
        epochs = [{"kind": "epoch", "epoch": n, "progress": n / 5} for n in (1, 2, 3)]
        if name != "third":
            scores = {"macro_f1": {"value": 0.9 - 0.1 * number}}
            content = {"headline": "macro-F1 .9 [.8, 1]", "scores": scores}
            write_record(run.path("evaluation.json"), "evaluation", content)
            run.path("history.jsonl").write_text(lines_text(epochs))
    opened = open_page(write_gallery(tmp_path))
    page = opened.page
    page.get_by_label("Sort").select_option("score")
    assert page.locator(".run h2").all_inner_texts() == ["one", "a second", "third"]
    page.get_by_label("Sort").select_option("name")
    assert page.locator(".run h2").all_inner_texts()[0] == "a second"
    pins = page.get_by_label("Pin to compare")
    assert pins.count() == 2  # one has neither a score nor a curve
    pins.first.check()
    compare = page.get_by_role("button", name="Compare")
    assert compare.is_disabled()
    pins.nth(1).check()
    page.get_by_label("Filter").fill("third")
    assert page.locator(".run:visible").count() == 3
    compare.focus()
    page.keyboard.press("Enter")  # by the keyboard alone
    compared = page.get_by_role("dialog")
    assert compared.locator("polyline").count() == 2
    assert compared.locator("tbody tr, tr").all_inner_texts()[1:] == [
        "score\tmacro-F1 .9 [.8, 1]\tmacro-F1 .9 [.8, 1]",
        "epochs\t10\t11",
    ]
    command = compared.locator("code").inner_text()
    assert command == f"{compare_command(tmp_path)} one 'a second'"
    page.keyboard.press("Escape")
    assert not compared.is_visible() and opened.complaints == []
