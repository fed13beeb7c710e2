"""The recipes of the rooms' pages work as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import quadlib
from quadlib import open_source
from quadlib.config import TrainSettings
from quadlib.data.store import MediaStore
from quadlib.model.encoders import build_encoder
from quadlib.registry import ENCODERS


def recipe(room: str, heading: str) -> str:
    """The code under a heading of a room's page."""
    page = (Path(quadlib.__file__).parent / room / "README.md").read_text(encoding="utf-8")
    section = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.S)[0]


@pytest.fixture
def follow(install, tmp_path):
    """Writes a recipe's code into a module outside and installs it."""

    def follow(room: str, heading: str, module: str) -> None:
        (tmp_path / f"{module}.py").write_text(recipe(room, heading))
        install(module, folder=tmp_path)

    return follow


def test_add_a_kind(follow, tmp_path):
    follow("data", "Add a kind", "recipe_kind")
    for number in range(4):
        np.savetxt(tmp_path / f"{number}.hist", np.random.default_rng(number).random(50))
    rows = "".join(f"r{number},{'ab'[number % 2]},{number}.hist\n" for number in range(4))
    (tmp_path / "table.csv").write_text("sample_id,label,levels\n" + rows)
    table = open_source("table", tmp_path / "table.csv")
    store = MediaStore.open(table, TrainSettings(), tmp_path / "store")
    assert store.arrays["levels"].shape == (4, 32)
    assert store.arrays["levels"].sum(axis=1).tolist() == [50] * 4


def test_add_a_source(follow, tmp_path):
    follow("data", "Add a source", "recipe_source")
    (tmp_path / "lines.csv").write_text("class,day,x1,x2\na,1,0.5,1\nb,2,3,4\n")
    table = open_source("lines", tmp_path / "lines.csv", seed=1)
    assert table.arrays["x"].tolist() == [[0.5, 1], [3, 4]] and table.class_names == ("a", "b")
    assert TrainSettings(source="lines").source == "lines"


def test_add_an_encoder(follow):
    follow("model", "Add an encoder", "recipe_encoder")
    encoder = ENCODERS["mean"]((3, 4), 8, 0.0)
    assert encoder(torch.zeros(2, 3, 4)).shape == (2, 8)
    assert build_encoder("vector", (5,), 8, 0.0)(torch.zeros(2, 5)).shape == (2, 8)
