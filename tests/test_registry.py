"""One registry: names are taken once, near matches are named, plugins are imported once and their
failures are told.
"""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

import quadlib
from quadlib import registry
from quadlib.registry import GROUP, Registry, RegistryError

EMPTY_HOME = "quadlib.registry"


@pytest.fixture
def shapes(monkeypatch) -> Registry[object]:
    monkeypatch.setattr(registry, "_failures", [])
    shapes: Registry[object] = Registry("shape", EMPTY_HOME)
    shapes.register("circle", round)
    shapes.register("square", "math:sqrt")
    return shapes


def install(monkeypatch, *entries: EntryPoint) -> None:
    monkeypatch.setattr(registry, "_failures", None)
    monkeypatch.setattr(registry, "entry_points", lambda group: entries if group == GROUP else ())


def test_finds_by_name_in_the_order_of_registering(shapes):
    import math

    assert list(shapes) == ["circle", "square"]
    assert shapes["circle"] is round
    assert dict(shapes.items()) == {"circle": round, "square": math.sqrt}
    assert "square" in shapes and "cube" not in shapes


def test_refuses_a_taken_name_unless_it_is_to_be_replaced(shapes):
    with pytest.raises(RegistryError, match="shape 'circle' is registered already; .*replace=True"):
        shapes.register("circle", abs)
    shapes.register("circle", abs, replace=True)
    assert shapes["circle"] is abs


def test_an_unknown_name_is_answered_with_the_near_and_all_others(shapes):
    with pytest.raises(RegistryError, match="no shape 'circel'; did you mean 'circle'.*square"):
        shapes["circel"]


def test_plugins_are_imported_once_at_the_first_look(monkeypatch, tmp_path, shapes):
    (tmp_path / "outside_shapes.py").write_text(
        "import quadlib.registry as r\nr.loads = getattr(r, 'loads', 0) + 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "loads", 0, raising=False)
    install(monkeypatch, EntryPoint("outside", "outside_shapes", GROUP))
    monkeypatch.delitem(sys.modules, "outside_shapes", raising=False)
    shapes.register("cube", abs)
    assert registry.loads == 0
    assert "cube" in shapes and list(shapes) and shapes["cube"] is abs
    assert registry.loads == 1


def test_a_plugin_that_cannot_be_imported_is_named_and_stops_nobody(monkeypatch, shapes):
    install(monkeypatch, EntryPoint("broken", "no_such_module_anywhere", GROUP))
    with pytest.warns(
        RuntimeWarning, match="plugin 'broken' .* cannot be imported: ModuleNotFound"
    ):
        assert shapes["circle"] is round
    with pytest.raises(RegistryError, match="no shape 'cube'; .*plugin 'broken'"):
        shapes["cube"]


def test_the_doors_are_public_names_that_import_nothing_heavy():
    import subprocess

    code = (
        "import quadlib, sys; [getattr(quadlib, 'register_' + what) for what in "
        "('kind', 'source', 'encoder', 'loss', 'check')]; "
        "print([name for name in ('torch', 'numpy', 'pandas') if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
    assert {"register_kind", "register_check"} <= set(dir(quadlib))
