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

from tests.browser.conftest import Lab

pytestmark = pytest.mark.browser


def test_the_inspector_answers_its_controls(open_lab: Callable[..., Lab], tmp_path: Path):
    lab = open_lab("01_batches", source="mfeat")
    page = lab.page
    lab.run_all()
    inspector = page.locator(".quad-inspector")
    inspector.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=120_000)
    inspector.scroll_into_view_if_needed()  # what lies outside the window is not rendered
    shown = "document.querySelector('.quad-inspector').innerText.includes('10 classes')"
    page.wait_for_function(shown, timeout=30_000)
    assert page.get_by_title("Share chart").count() == 0
    inspector.scroll_into_view_if_needed()
    picture = tmp_path / "inspector.png"
    page.screenshot(path=str(picture))
    if os.environ.get("QUADLIB_PICTURES"):
        shutil.copy(picture, Path(os.environ["QUADLIB_PICTURES"]) / "inspector.png")
    inspector.locator("select").first.select_option("sequential")
    lab.until(lambda: "one class" in inspector.inner_text(), 30)
    assert (lab.outside, lab.complaints) == ([], [])


def test_training_stops_at_an_interrupt_and_goes_on(open_lab: Callable[..., Lab]):
    lab = open_lab("02_train", source="mfeat", epochs=400, patience=0)
    page, stopped = lab.page, re.compile("Stopped after epoch [0-9]+.*; latest_model.pth holds it")
    lab.run_all()
    monitor = page.locator(".quad-monitor")
    monitor.get_by_text(re.compile("Epoch [2-9]")).wait_for(timeout=180_000)
    lab.interrupt()
    monitor.get_by_text(stopped).wait_for(timeout=60_000)
    before = lab.epoch_of(stopped)
    page.get_by_text("| Idle").wait_for(timeout=60_000)  # the cells below are of this run
    page.get_by_text("history = trainer.history").click()
    page.keyboard.press("Control+Enter")
    lab.until(lambda: lab.epoch_of(re.compile(r"Epoch \d+ of")) > before, 60)
    lab.interrupt()
    monitor.get_by_text(stopped).wait_for(timeout=60_000)
    assert lab.epoch_of(stopped) > before and "Traceback" not in lab.text()
    assert (lab.outside, lab.complaints) == ([], [])
