"""The documentation is built from the rooms, holds every public name, and loads nothing from
anywhere.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import quadlib

ROOT = Path(__file__).parents[1]
LOADS = re.compile(
    r"""<(?:script|img|iframe|link|source|video|audio)\b[^>]*?(?:src|href)=["']?(?:https?:)?//"""
    r"""|url\(["']?(?:https?:)?//|@import|\bfetch\(["'](?:https?:)?//""",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    command = ["make", "--old-file=.venv/installed", "docs", f"DOCS={folder}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_every_public_name_and_every_room_has_its_place(docs: Path) -> None:
    pages = [docs / "quadlib.html", docs / "quadlib/training/restore.html"]
    # `restore` is also an earlier import path, which is why its own page counts
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    assert not [name for name in quadlib.__all__ if f'id="{name}"' not in text]
    rooms = {path.parent.name for path in (ROOT / "quadlib").glob("*/__init__.py")}
    assert rooms <= {path.stem for path in (docs / "quadlib").glob("*.html")}


@pytest.mark.slow
def test_a_rooms_readme_is_on_its_page(docs: Path) -> None:
    assert "for a laptop" in (docs / "quadlib/config.html").read_text(encoding="utf-8")
    included = [
        path.parent.name
        for path in (ROOT / "quadlib").glob("*/README.md")
        if ".. include:: README.md" not in (path.parent / "__init__.py").read_text("utf-8")
    ]
    assert not included, "these READMEs are on no page"


@pytest.mark.slow
def test_no_page_loads_anything_from_the_network(docs: Path) -> None:
    pages = list(docs.rglob("*.html"))
    assert len(pages) > 100
    assert not [path for path in pages if LOADS.search(path.read_text(encoding="utf-8"))]


def test_what_would_load_something_is_recognised() -> None:
    for page in (
        '<script src="https://cdn.example/x.js">',
        "<link rel=stylesheet href=//cdn.example/x.css>",
        "<style>@import 'x'</style>",
        "background: url(https://example/x.png)",
    ):
        assert LOADS.search(page)
    assert not LOADS.search('<a href="https://example.org">paper</a><script src="search.js">')
