"""Chromium with the network off, and pages that complain about everything they should not do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

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
