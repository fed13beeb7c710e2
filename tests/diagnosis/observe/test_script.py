"""A script runs under observation as it would run by itself."""

from __future__ import annotations

import sys

import pytest

from quadlib.diagnosis.doors import judge
from quadlib.diagnosis.observe.script import observe_script

LOOP = """
import argparse, sys
import torch
from helper import make

def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rate", type=float, default=0.1)
    model, x = make()
    optimiser = torch.optim.SGD(model.parameters(), arguments.parse_args().rate)
    for _ in range(20):
        loss = model(x).square().mean()
        optimiser.zero_grad(); loss.backward(); optimiser.step()
    open("finished", "w").close()

if __name__ == "__main__":
    main()
"""
HELPER = """
import torch

def make():
    torch.manual_seed(0)
    return torch.nn.Linear(4, 2), torch.randn(8, 4)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text(LOOP)
    (tmp_path / "helper.py").write_text(HELPER)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("helper", None)


def test_a_script_is_left_after_the_watched_steps(folder):
    argv, search = list(sys.argv), list(sys.path)
    record = observe_script(str(folder / "train.py"), ["--rate", "0.5"], steps=3)
    assert record.ended == "enough" and record.n_steps == 3
    assert record.optimisers[0].param_groups[0]["lr"] == 0.5
    assert not (folder / "finished").exists()
    assert sys.argv == argv and sys.path == search


def test_a_short_script_ends_by_itself(folder):
    record = observe_script(str(folder / "train.py"), steps=50)
    assert record.ended == "finished" and record.n_steps == 20 and (folder / "finished").exists()


def test_an_error_of_the_script_stands_in_the_record(folder):
    (folder / "train.py").write_text("raise ValueError('no data')")
    record = observe_script(str(folder / "train.py"))
    assert record.ended == "ValueError" and str(record.error) == "no data"


def test_leaving_with_a_code_is_no_error_of_ours(folder):
    record = observe_script(str(folder / "train.py"), ["--unknown"])
    assert record.ended == "exit 2" and record.n_steps == 0


def test_a_script_that_is_not_there_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"trian\.py is no file"):
        observe_script("trian.py")


ONE_POINT = """
import torch
from torch import nn
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x, y = torch.randn(64, 5), torch.arange(64) % 4
model = nn.Linear(5, 8)
optimiser = torch.optim.SGD(model.parameters(), 1e-2)
for rows, labels in DataLoader(TensorDataset(x, y), 8, shuffle=True):
    loss = nn.functional.cross_entropy(model(rows), labels)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
model.eval()
with torch.no_grad():
    embeddings = normalize(model(x) * SPREAD + 1, dim=1).numpy()
"""


@pytest.mark.parametrize(("spread", "found"), [(1e-3, True), (1.0, False)])
def test_the_variables_that_a_script_ends_with_are_looked_at(tmp_path, spread, found):
    (tmp_path / "train.py").write_text(ONE_POINT.replace("SPREAD", str(spread)))
    record = observe_script(str(tmp_path / "train.py"), steps=4, seconds=30)
    assert "embeddings" in [name for name, _ in record.named_arrays]
    codes = [root.code for root in judge(record).roots if root.severity != "note"]
    assert ("QL-E25" in codes) == found
