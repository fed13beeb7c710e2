"""The doctor's page is in step with its code, its recipe runs as it stands, and every limit and
name in it is one that a check reads.
"""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

import quadlib.diagnosis
from quadlib.diagnosis import Limits, Subject, conventions, diagnose
from quadlib.diagnosis.catalogue.tables import README, rendered
from quadlib.registry import CHECKS

FOLDER = Path(quadlib.diagnosis.__file__).parent
SOURCE = "".join(
    path.read_text()
    for path in FOLDER.rglob("*.py")
    if path.name not in ("limits.py", "conventions.py")
)


def test_the_tables_of_the_page_are_those_of_the_code():
    text = README.read_text()
    assert rendered(text) == text, "run python -m quadlib.diagnosis.catalogue.tables"
    assert text.count("| QL-") > 80 and text.count("| chosen") > 20


def test_the_recipe_for_a_check_runs_as_it_stands():
    block = re.search(
        r"```python\n(from quadlib.diagnosis import Contract.*?)```", README.read_text(), re.S
    )
    assert block is not None and len(list(filter(None, block[1].splitlines()))) <= 10
    try:
        exec(compile(block[1], "recipe", "exec"), {})
        codes = [item.code for item in diagnose(Subject(labels=["a", "b"] * 9 + ["b"])).findings]
    finally:
        CHECKS._entries.pop("XY-L01 every class is even", None)
    assert "XY-L01" in codes


@pytest.mark.parametrize("name", [item.name for item in fields(Limits)])
def test_every_limit_is_read_by_a_check(name):
    assert f"limits.{name}" in SOURCE


@pytest.mark.parametrize("name", [name for name in vars(conventions) if name.isupper()])
def test_every_name_is_searched_for(name):
    assert f"conventions.{name}" in SOURCE


def test_limits_cannot_be_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        Limits().cone = 1.0
