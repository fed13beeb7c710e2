"""The page of the training room: its recipe runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import quadlib.training

PAGE = Path(quadlib.training.__file__).with_name("README.md").read_text(encoding="utf-8")


def test_the_recipe_for_a_loss_of_your_own_runs_literally(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QUADLIB_OUTPUTS", raising=False)
    [recipe] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    try:
        exec(recipe, {})
    finally:
        quadlib.registry.LOSSES._entries.pop("proxies", None)
    assert re.search(r"^\.9\d\d \[", capsys.readouterr().out, re.MULTILINE)
