"""The batch inspector in a real JupyterLab: it draws, answers its controls through the kernel, and
asks nobody else.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
NO_NEWS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}
}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """The address of 01_batches in a JupyterLab of its own, its source set to the measured
    digits.
    """
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "outputs").mkdir()
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "overrides.json").write_text(json.dumps(NO_NEWS))
    text = (ROOT / "notebooks" / "01_batches.ipynb").read_text()
    changed = text.replace('source: str = \\"weldsim\\"', 'source: str = \\"mfeat\\"')
    assert changed != text
    (tmp_path / "notebooks" / "01_batches.ipynb").write_text(changed)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--allow-root",
        "--IdentityProvider.token=quad",
        f"--ServerApp.root_dir={tmp_path}",
        f"--LabApp.app_settings_dir={tmp_path / 'settings'}",
    ]
    environment = {name: value for name, value in os.environ.items() if name != "QUADLIB_BATCH"}
    with open(tmp_path / "lab.log", "wb") as log:
        server = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env=environment | {"HOME": str(tmp_path)},
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while not listens(port):
            assert server.poll() is None and time.monotonic() < deadline, (
                tmp_path / "lab.log"
            ).read_text()[-2000:]
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/lab/tree/notebooks/01_batches.ipynb?token=quad&reset"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(page: Page, seconds: float, condition) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, page.locator(".jp-Notebook").inner_text()[-3000:]
        time.sleep(0.2)


def test_the_inspector_answers_its_controls(lab: str, chromium: Browser, tmp_path: Path):
    page = chromium.new_page(viewport={"width": 1400, "height": 1100})
    outside, complaints = [], []
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:"))
            else outside.append(request.url)
        ),
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(lab)
    page.get_by_text("| Idle").wait_for(timeout=60_000)
    page.get_by_text("Run", exact=True).first.click()
    page.get_by_text("Run All Cells", exact=True).click()
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
    wait_for(page, 30, lambda: "one class" in inspector.inner_text())
    assert (outside, complaints) == ([], [])
    page.close()
