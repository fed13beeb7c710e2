"""Every code that a check can give is explained, and every example triggers its code."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

import quadlib.diagnosis.checks  # noqa: F401 - registers the checks
from quadlib.diagnosis.catalogue import catalogue, explain
from quadlib.diagnosis.finding import STAGES
from quadlib.diagnosis.registry import checks
from quadlib.diagnosis.report import Diagnosis

WRITTEN = [
    stage
    for stage in STAGES.values()
    if import_module(f"quadlib.diagnosis.catalogue.{stage}").ENTRIES
]
ENTRIES = catalogue()


def codes_in_source() -> set[str]:
    """The first argument of every Finding that the stages make."""
    found = set()
    for path in Path(quadlib.diagnosis.checks.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") == "Finding"
                and node.args
            ):
                found |= {node.args[0].value} if isinstance(node.args[0], ast.Constant) else set()
    return found


def test_every_code_is_explained():
    given = codes_in_source() | {
        item.code for item in checks() if item.code != "QL-D13"
    }  # D13 only tells what was not compared
    missing = sorted(code for code in given if STAGES[code[3]] in WRITTEN and code not in ENTRIES)
    assert not missing, f"no entry in the catalogue: {missing}"


@pytest.mark.parametrize("code", sorted(ENTRIES))
def test_example_triggers_its_code(code, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict = {"__name__": "example"}
    exec(compile(ENTRIES[code].example, f"<example of {code}>", "exec"), scope)
    results = [value for value in scope.values() if isinstance(value, Diagnosis)]
    assert results, f"the example of {code} makes no Diagnosis"
    found = [item.code for item in results[-1].findings]
    assert not results[-1].crashed
    assert code in found, f"the example of {code} gives {found}; not run: {results[-1].not_run}"


@pytest.mark.parametrize("code", sorted(ENTRIES))
def test_entry_says_what_why_and_what_to_do(code):
    entry = ENTRIES[code]
    assert all(len(text) > 15 for text in (entry.title, entry.what, entry.why, entry.fix))
    assert explain(code).startswith(f"{code}: {entry.title}")


def test_unknown_code_lists_the_known_ones():
    with pytest.raises(KeyError, match="QL-S01"):
        explain("QL-X99")
