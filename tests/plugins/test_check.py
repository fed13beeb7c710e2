"""A check from outside the package: one file registers it; then it runs, and is shown, explained
and listed like any other.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

from quadlib.diagnosis import Check, Entry, Limits, Subject, diagnose
from quadlib.diagnosis.catalogue import catalogue, explain
from quadlib.registry import CHECKS, RegistryError, register_check

PLUGIN = '''
from quadlib import register_check
from quadlib.diagnosis import Check, Entry, Finding


def even(x):
    """Yields a finding where a class has an odd number of samples."""
    for name in x.classes:
        count = int((x.labels == name).sum())
        if count % 2:
            yield Finding("XY-L01", "warning", f"class {name} has {count} samples", where="labels",
                          evidence=(f"{count} is odd",), help="label one more")


register_check(
    "XY-L01", Check("XY-L01", "every class has an even number of samples", "before", even,
    Entry("a class has an odd number of samples", "Counts are even.", "Pairs are left over.",
          "Label one more.", 'diagnose(Subject(labels=["a", "b"] * 3))')))
'''


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (tmp_path / "even_classes.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    import_module("even_classes")
    yield tmp_path
    CHECKS._entries.pop("XY-L01")
    sys.modules.pop("even_classes")


def test_a_foreign_check_runs_and_is_shown_explained_and_listed(plugin):
    result = diagnose(Subject(labels=["a", "b"] * 15 + ["b"]), phases=["before"])
    assert [root.code for root in result.roots if root.severity != "note"] == ["XY-L01"]
    assert "warning[XY-L01]: class a has 15 samples" in result.to_text()
    assert "XY-L01 every class has an even number of samples" in result.ran
    assert result.roots[0].stage == "labels" and "XY-L01" in result.to_junit()
    assert explain("XY-L01").startswith("XY-L01: a class has an odd number of samples")
    assert "XY-L01" in catalogue()
    assert diagnose(Subject(labels=["a", "b"] * 16), phases=["before"]).ok


def test_the_command_line_explains_a_plugin_that_is_installed(plugin):
    """An entry point of the group quadlib.plugins, as an installed package has it."""
    info = plugin / "even_classes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: even-classes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[quadlib.plugins]\neven = even_classes\n")
    code = (
        f"import sys; sys.path.insert(0, {str(plugin)!r}); from quadlib.cli import app; "
        "app(['explain', 'XY-L01'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert "a class has an odd number of samples" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("code", "phase", "entry", "told"),
    [
        ("L01", "before", None, "two capitals, a hyphen, the letter of a stage"),
        ("XY-Z01", "before", None, "D data"),
        ("XY-L01", "before", None, "XY-L01 is not explained; pass entry=Entry"),
        ("QL-L01", "later", None, "phase 'later' is none of before, batch, steps, epoch"),
    ],
)
def test_a_check_that_cannot_be_shown_is_refused(code, phase, entry, told):
    with pytest.raises(ValueError, match=told):
        Check(code, "a name", phase, lambda x: (), entry)


def test_two_checks_of_one_name_are_refused(plugin):
    entry = Entry("a title", "what", "why", "fix", "example")
    with pytest.raises(RegistryError, match="'XY-L01' is registered already"):
        register_check("XY-L01", Check("XY-L01", "again", "before", lambda x: (), entry))


def test_a_threshold_is_overridden_for_one_look():
    labels, splits = np.arange(200) % 4, np.repeat(["train", "val"], 100)
    history = [{"epoch": 1, "val_accuracy": 0.28}]
    codes = [
        [
            item.code
            for item in diagnose(
                Subject(labels=labels, splits=splits, history=history), limits=limits
            ).findings
        ]
        for limits in (Limits(), Limits(chance_errors=0.1))
    ]
    assert ["QL-E10" in found for found in codes] == [True, False]
