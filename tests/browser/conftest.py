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
from urllib.request import Request, urlopen

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
# anywidget's word on a model that took more than two seconds, as on a machine that does much else;
# the tests look at what is to be seen
SLOW = "[anywidget] Failed to initialize model."
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

    def complain(self, error: str) -> None:
        if error != SLOW:
            self.complaints.append(error)

    def idle(self) -> bool:
        return self.page.get_by_text("| Idle").count() > 0

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


@dataclass
class Server:
    """A JupyterLab for all tests of this session, and the folder that it serves."""

    folder: Path
    port: int

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/lab/tree/notebooks/{name}.ipynb?token=quad&reset"


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("lab")
    for folder in ("notebooks", "outputs", "settings"):
        (place / folder).mkdir()
    (place / "settings" / "overrides.json").write_text(json.dumps(NO_NEWS))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1"),
        *(f"--port={port}", "--allow-root", "--IdentityProvider.token=quad"),
        f"--ServerApp.root_dir={place}",
        f"--LabApp.app_settings_dir={place / 'settings'}",
    ]
    environment = {name: value for name, value in os.environ.items() if name != "QUADLIB_BATCH"}
    with open(place / "lab.log", "wb") as log:
        server = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env=environment | {"HOME": str(place), "QUADLIB_OUTPUTS": str(place / "outputs")},
            start_new_session=True,
        )
    deadline = time.monotonic() + 60
    while not listens(port):
        text = (place / "lab.log").read_text()
        assert server.poll() is None and time.monotonic() < deadline, text[-2000:]
        time.sleep(0.2)
    yield Server(place, port)
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


@pytest.fixture
def open_lab(lab_server: Server, chromium: Browser) -> Iterator[Callable[..., Lab]]:
    """Opens a notebook in JupyterLab: one of ours, some parameters changed in its cell, or one of
    these code cells.
    """
    page = chromium.new_page(viewport={"width": 1400, "height": 1100})

    def open_notebook(name: str, *sources: str, **parameters: object) -> Lab:
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        kernel = {"name": "python3", "display_name": "Python 3"}  # else Lab asks for one
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        if not sources:
            notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        changed = 0
        for cell in notebook.cells:
            for parameter, value in parameters.items():
                line = re.compile(rf"^({parameter}: \w+) = .*$", re.MULTILINE)
                cell.source, count = line.subn(rf"\1 = {value!r}", cell.source)
                changed += count
        assert changed == len(parameters)
        nbformat.write(notebook, lab_server.folder / "notebooks" / f"{name}.ipynb")
        lab = Lab(page)
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(LOCAL) else lab.outside.append(request.url)
            ),
        )
        page.on("pageerror", lambda error: lab.complain(str(error)))
        page.goto(lab_server.address(name))
        return lab

    yield open_notebook
    page.close()
    _end_kernels(lab_server)


def _end_kernels(server: Server) -> None:
    """Kernels outlive their page; one left over would slow the next test down."""
    address, token = f"http://127.0.0.1:{server.port}/api/sessions", {"Authorization": "token quad"}
    with urlopen(Request(address, headers=token)) as answer:
        sessions = json.load(answer)
    for session in sessions:
        urlopen(Request(f"{address}/{session['id']}", headers=token, method="DELETE")).close()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
