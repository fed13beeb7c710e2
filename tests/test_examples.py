"""Every example in a docstring runs and prints what it claims, in an empty folder."""

from __future__ import annotations

import doctest
import logging
from importlib import import_module
from pathlib import Path

import pytest

import quadlib

ROOT = Path(quadlib.__file__).parent
MODULES = sorted(
    ".".join(["quadlib", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QUADLIB_OUTPUTS", raising=False)
    logger = logging.getLogger("quadlib")
    before = logger.handlers[:], logger.level
    logger.handlers.clear()  # another test's
    try:
        outcome = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    finally:  # an example may show the log; the next one begins without it
        logger.handlers[:], logger.level = before
    assert outcome.attempted and not outcome.failed
