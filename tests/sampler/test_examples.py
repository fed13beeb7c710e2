"""The examples in the docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import quadlib.sampler

MODULES = sorted(module.name for module in pkgutil.iter_modules(quadlib.sampler.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"quadlib.sampler.{name}"))
    assert not results.failed
