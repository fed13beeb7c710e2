"""Chromium with the network off, pages that complain about everything they should not do, and a
JupyterLab of its own for a notebook.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Opened:
    """A page, and what it asked for or complained about since it was opened."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def drawn(self) -> bool:
        """Waits until the page's script is through with its figures, and tells whether there are
        any.
        """
        page = self.page.locator("html[data-drawn]")
        page.wait_for(state="attached")
        return page.get_attribute("data-drawn") == "true"

    def until(self, expression: str, value: object, seconds: float = 20) -> None:
        """Waits until an expression has a value; playwright's own waiting makes code at run time,
        which the page forbids.
        """
        deadline = time.monotonic() + seconds
        while (found := self.page.evaluate(expression)) != value:
            assert time.monotonic() < deadline, f"{expression} is {found!r}, not {value!r}"
            time.sleep(0.05)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        assert not os.environ.get("QUADLIB_REQUIRE_BROWSER"), f"no Chromium at {CHROMIUM}"
        pytest.skip(f"no Chromium at {CHROMIUM}; install Debian's chromium package")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., Opened]]:
    """Opens a file; every request for anything else is noted and refused."""
    contexts = []

    def open_file(path: Path, **options: object) -> Opened:
        context = chromium.new_context(offline=True, **options)
        contexts.append(context)
        opened = Opened(context.new_page())
        page = opened.page
        page.on(
            "request",
            lambda request: (
                opened.requests.append(request.url)
                if not request.url.startswith(("data:", "blob:"))
                else None
            ),
        )
        page.on(
            "console",
            lambda message: (
                opened.complaints.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        page.on("dialog", lambda dialog: opened.complaints.append(dialog.message))
        page.goto(path.as_uri())
        opened.requests.remove(path.as_uri())
        return opened

    yield open_file
    for context in contexts:
        context.close()


ROOT = Path(__file__).parents[2]
NO_NEWS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}
}
LOCAL = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")


@dataclass
class Lab:
    """A notebook open in JupyterLab, what it asked for elsewhere, and its errors."""

    page: Page
    outside: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def run_all(self) -> None:
        self.page.get_by_text("| Idle").wait_for(timeout=60_000)
        self.page.get_by_text("Run", exact=True).first.click()
        self.page.get_by_text("Run All Cells", exact=True).click()

    def interrupt(self) -> None:
        self.page.get_by_text("Kernel", exact=True).first.click()
        self.page.get_by_text("Interrupt Kernel", exact=True).click()

    def text(self) -> str:
        return self.page.locator(".jp-Notebook").inner_text()

    def until(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.text()[-3000:]
            time.sleep(0.2)

    def epoch_of(self, said: re.Pattern[str]) -> int:
        """The epoch that the monitor of training names in such words; 0 where it has none."""
        found = said.search(self.page.locator(".quad-monitor").inner_text())
        return int(re.findall(r"\d+", found[0])[0]) if found else 0


@pytest.fixture
def open_lab(tmp_path: Path, chromium: Browser) -> Iterator[Callable[..., Lab]]:
    """Opens a notebook in a JupyterLab of its own, some parameters changed in its cell."""
    for folder in ("notebooks", "outputs", "settings"):
        (tmp_path / folder).mkdir()
    (tmp_path / "settings" / "overrides.json").write_text(json.dumps(NO_NEWS))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1"),
        *(f"--port={port}", "--allow-root", "--IdentityProvider.token=quad"),
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
    page = chromium.new_page(viewport={"width": 1400, "height": 1100})

    def open_notebook(name: str, **parameters: object) -> Lab:
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        changed = 0
        for cell in notebook.cells:
            for parameter, value in parameters.items():
                line = re.compile(rf"^({parameter}: \w+) = .*$", re.MULTILINE)
                cell.source, count = line.subn(rf"\1 = {value!r}", cell.source)
                changed += count
        assert changed == len(parameters)
        nbformat.write(notebook, tmp_path / "notebooks" / f"{name}.ipynb")
        deadline = time.monotonic() + 60
        while not listens(port):
            log = (tmp_path / "lab.log").read_text()
            assert server.poll() is None and time.monotonic() < deadline, log[-2000:]
            time.sleep(0.2)
        lab = Lab(page)
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(LOCAL) else lab.outside.append(request.url)
            ),
        )
        page.on("pageerror", lambda error: lab.complaints.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}/lab/tree/notebooks/{name}.ipynb?token=quad&reset")
        return lab

    yield open_notebook
    page.close()
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
