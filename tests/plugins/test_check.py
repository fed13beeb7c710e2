"""A check from outside the package: one file registers it; then it runs, and is shown, explained
and listed like any other.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

from quadlib.diagnosis import Check, Contract, Limits, Subject, check, diagnose
from quadlib.diagnosis.catalogue import explain
from quadlib.diagnosis.registry import contracts
from quadlib.registry import CHECKS, RegistryError

PLUGIN = """
from quadlib.diagnosis import Contract, check

ODD = Contract("XY-L01", title="a class has an odd number of samples", what="Counts are even.",
               why="Pairs are left over.", fix="Label one more.",
               example='diagnose(Subject(labels=["a", "b"] * 3))')


@check(ODD, "every class has an even number of samples")
def even(x):
    for name in x.classes:
        count = int((x.labels == name).sum())
        if count % 2:
            yield ODD.broken("warning", f"class {name} has {count} samples", "labels",
                             (f"{count} is odd",))
"""
LABEL = "XY-L01 every class has an even number of samples"


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (tmp_path / "even_classes.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    import_module("even_classes")
    yield tmp_path
    CHECKS._entries.pop(LABEL)
    sys.modules.pop("even_classes")


def test_a_foreign_check_runs_and_is_shown_explained_and_listed(plugin):
    result = diagnose(Subject(labels=["a", "b"] * 15 + ["b"]), phases=["before"])
    assert [root.code for root in result.roots if root.severity != "note"] == ["XY-L01"]
    assert "warning[XY-L01]: class a has 15 samples" in result.to_text()
    assert "XY-L01 every class has an even number of samples" in result.ran
    assert result.roots[0].stage == "labels" and "XY-L01" in result.to_junit()
    assert explain("XY-L01").startswith("XY-L01: a class has an odd number of samples")
    assert "XY-L01" in contracts()
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


def contract(code):
    return Contract(code, title="a title", what="what", why="why", fix="fix", example="example")


@pytest.mark.parametrize(
    ("code", "expected"),
    [("L01", "two capitals, a hyphen, the letter of a stage"), ("XY-Z01", "D data")],
)
def test_a_contract_whose_code_names_no_stage_is_refused(code, expected):
    with pytest.raises(ValueError, match=expected):
        contract(code)


def test_a_check_of_no_phase_is_refused():
    with pytest.raises(ValueError, match="phase 'tomorrow' is none of before, batch, steps, epoch"):
        Check(contract("XY-L01"), "a name", "tomorrow", lambda x: ())


def test_two_checks_of_one_name_are_refused(plugin):
    with pytest.raises(RegistryError, match=f"{LABEL!r} is registered already"):
        check(contract("XY-L01"), LABEL.removeprefix("XY-L01 "))(lambda x: ())


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
