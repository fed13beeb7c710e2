"""The README's pictures of pages, taken anew: `make shots`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM

PICTURES = Path(__file__).parents[2] / "notebooks" / "pictures"
WIDTH, HEIGHT = 1100, 1500


def main() -> None:
    """A short training on the digits, its report photographed from its head on."""
    with tempfile.TemporaryDirectory() as place:
        given = ["-p", "source=mfeat", "-p", "epochs=8", "-p", f"outputs={place}"]
        command = [sys.executable, "-m", "quadlib", "run", "02_train", "--run", "digits", *given]
        subprocess.run(command, check=True)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.goto((Path(place) / "digits" / "reports" / "02_train.html").as_uri())
            page.locator("html[data-drawn]").wait_for(state="attached")
            page.screenshot(path=str(Path(place) / "report.png"))
            browser.close()
        shutil.copy(Path(place) / "report.png", PICTURES / "report.png")


if __name__ == "__main__":
    main()
