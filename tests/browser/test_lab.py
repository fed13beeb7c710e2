"""The notebooks in a real JupyterLab: the inspector answers its controls through the kernel,
training stops and goes on, and nobody else is asked for anything.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page

from tests.browser.conftest import Lab

pytestmark = pytest.mark.browser


def test_the_inspector_answers_its_controls_and_opens_recordings(
    open_lab: Callable[..., Lab], tmp_path: Path
):
    lab = open_lab("01_batches", size="tiny", batch_size=12)
    page = lab.page
    lab.run_all()
    inspector = page.locator(".quad-inspector")
    inspector.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=120_000)
    inspector.scroll_into_view_if_needed()  # what lies outside the window is not rendered
    inspector.get_by_text("all modalities present").wait_for(timeout=60_000)
    assert page.get_by_title("Share chart").count() == 0
    lab.until(lambda: lab.idle(), 120)
    inspector.scroll_into_view_if_needed()
    ink = "text => getComputedStyle(text).fill"
    for text in (".xtick text", ".ytick text"):  # the page's own ink, in either theme
        assert inspector.locator(text).first.evaluate(ink) != "rgb(121, 121, 121)"
    opened = inspector.locator(".quad-recording")
    cell = inspector.locator(".heatmap-label text").first
    lab.until(lambda: opened.count() > 0 or click_slowly(page, cell), 60)
    label = inspector.get_by_label("class").locator("option:checked").inner_text()
    assert f"{label} · session" in opened.inner_text()
    opened.scroll_into_view_if_needed()
    play, slider = opened.get_by_role("button"), opened.get_by_role("slider")
    play.focus()
    page.keyboard.press("Enter")  # by the keyboard alone
    lab.until(lambda: opened.locator("audio").evaluate("sound => sound.currentTime > 0.2"), 20)
    assert play.inner_text() == "Pause"
    page.keyboard.press("Enter")
    picture = tmp_path / "inspector.png"
    page.screenshot(path=str(picture))
    if os.environ.get("QUADLIB_PICTURES"):
        shutil.copy(picture, Path(os.environ["QUADLIB_PICTURES"]) / "inspector.png")
    slider.focus()
    page.keyboard.press("Home")
    assert slider.get_attribute("aria-valuetext") == opened.locator(".quad-clock").inner_text()
    chooser = inspector.get_by_label("recording", exact=True)
    chooser.select_option(index=2)
    second = chooser.locator("option:checked").inner_text().split()[0]
    lab.until(lambda: second in opened.inner_text(), 30)
    inspector.locator("select").first.select_option("sequential")
    lab.until(lambda: "4 to 5 classes" in inspector.inner_text(), 30)
    assert (lab.outside, lab.complaints) == ([], [])


def click_slowly(page: Page, mark: Locator) -> bool:
    """Clicks a mark of a figure at the pace of a hand; what came of it is to be looked at later,
    since the page may still have been moving.
    """
    box = mark.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 5, y)
    page.wait_for_timeout(100)
    page.mouse.move(x, y)
    page.wait_for_timeout(200)
    page.mouse.click(x, y, delay=60)
    page.wait_for_timeout(3_000)
    return False


MAP = """
from types import SimpleNamespace
import numpy as np
from quadlib import open_source
from quadlib.config import TrainSettings
from quadlib.jupyter.evaluated import EmbeddingMap

table, rows = open_source("mfeat"), np.arange(0, 2000, 50)
place = np.random.default_rng(0).normal(size=(40, 2))
place[:3] = [[-9, -9], [9, 9], [0, 0]]
arrays = {"map": place, "labels": rows // 200, "predictions": rows // 200, "rows": rows}
arrays |= {"split": np.repeat("test", 40), "group": np.repeat("g", 40)}
arrays["sample_id"] = table.frame["sample_id"].to_numpy()[rows].astype(str)
names = dict(class_names=table.class_names, split="test", n_gallery=0, map_method="none")
settings = TrainSettings(source="mfeat")
run = SimpleNamespace(settings=lambda model: settings)
embeddings = EmbeddingMap(SimpleNamespace(arrays=arrays, **names), run)
embeddings
"""


def test_the_map_opens_what_is_pointed_at_clicked_and_chosen(open_lab: Callable[..., Lab]):
    lab = open_lab("map", MAP)
    page = lab.page
    lab.run_all()
    shown = page.locator(".quad-map")
    area = shown.locator(".nsewdrag").first
    area.wait_for(timeout=120_000)
    lab.until(lambda: lab.idle(), 60)
    page.wait_for_timeout(500)
    box = area.bounding_box()
    assert box is not None
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(middle[0] - 4, middle[1])
    page.wait_for_timeout(150)
    page.mouse.move(*middle)
    lab.until(lambda: shown.get_by_text("mfeat-0100").count() > 0, 30)  # the third, at 0, 0
    opened = shown.locator(".quad-recording")
    point = shown.locator(".nsewdrag").first  # its middle
    lab.until(lambda: opened.count() > 0 or click_slowly(page, point), 60)
    assert "mfeat-0100" in opened.inner_text()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    for share in (0.3, 0.6, 0.9, 0.99):  # at the pace of a hand
        page.mouse.move(box["x"] + share * box["width"], box["y"] + share * box["height"])
        page.wait_for_timeout(80)
    page.mouse.up()
    lab.until(lambda: re.search(r"\d\d recordings chosen", shown.inner_text()) is not None, 30)
    name = shown.get_by_role("combobox", name="recording").first
    name.fill("mfeat-0050")
    page.keyboard.press("Enter")  # by the keyboard alone
    lab.until(lambda: opened.count() > 0 and "mfeat-0050" in opened.inner_text(), 30)
    assert (lab.outside, lab.complaints) == ([], [])


def test_training_is_seen_after_a_reload_stops_at_an_interrupt_and_goes_on(
    open_lab: Callable[..., Lab],
):
    lab = open_lab("02_train", source="mfeat", epochs=4000, patience=0)
    page, said = lab.page, re.compile(r"Epoch \d+ of")
    stopped = re.compile("Stopped after epoch [0-9]+.*; latest_model.pth holds it")
    monitor = page.locator(".quad-monitor")
    lab.run_all()
    lab.until(lambda: lab.epoch_of(said) >= 2, 180)
    page.keyboard.press("Control+s")
    page.wait_for_timeout(2_000)

    page.goto(page.url.replace("&reset", ""))  # the kernel is busy, and answers nothing
    monitor.locator("svg").wait_for(timeout=60_000)
    before = lab.epoch_of(said)
    lab.until(lambda: lab.epoch_of(said) > before, 60)
    assert before >= 2 and "Loading widget" not in lab.text()

    lab.interrupt()
    monitor.get_by_text(stopped).wait_for(timeout=60_000)
    before = lab.epoch_of(stopped)
    page.get_by_text("| Idle").wait_for(timeout=60_000)
    page.get_by_text("history = trainer.history").click()
    page.keyboard.press("Control+Enter")
    lab.until(lambda: lab.epoch_of(said) > before, 60)
    lab.interrupt()
    monitor.get_by_text(stopped).wait_for(timeout=60_000)
    assert lab.epoch_of(stopped) > before and "Traceback" not in lab.text()
    assert (lab.outside, lab.complaints) == ([], [])
