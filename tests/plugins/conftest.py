"""Installed packages with an entry point, simulated: their modules lie in a folder outside."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from quadlib import registry

OUTSIDE = Path(__file__).parent / "outside"


@pytest.fixture
def install(monkeypatch) -> Callable[..., None]:
    """Makes modules known as plugins, for one test: `install("point_cloud")`."""
    for each in (registry.KINDS, registry.SOURCES, registry.ENCODERS):
        list(each)  # quadlib's own are registered for good
        monkeypatch.setattr(each, "_entries", dict(each._entries))

    def install(*modules: str, folder: Path = OUTSIDE) -> None:
        monkeypatch.syspath_prepend(folder)
        for module in modules:
            monkeypatch.delitem(sys.modules, module, raising=False)
        entries = [EntryPoint(module, module, registry.GROUP) for module in modules]
        monkeypatch.setattr(registry, "entry_points", lambda group: entries)
        monkeypatch.setattr(registry, "_failures", None)

    return install
