"""%%doctor watches the training loop of a cell and shows the verdict below it."""

from __future__ import annotations

import pytest
from IPython.core.error import UsageError
from IPython.testing.globalipapp import start_ipython

from quadlib.diagnosis import Diagnosis
from quadlib.jupyter import magic

LOOP = """
import torch
model = torch.nn.Linear(4, 2)
optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
taken = 0
for _ in range(20):
    optimiser.zero_grad()
    model(torch.randn(8, 4)).square().mean().backward()
    optimiser.step()
    taken += 1
"""


@pytest.fixture
def shell(monkeypatch):
    shell = start_ipython() or get_ipython()  # noqa: F821 - IPython's own, one a process
    shell.run_line_magic("load_ext", "quadlib")
    shell.user_ns.pop("taken", None)
    shown: list[Diagnosis] = []
    monkeypatch.setattr(magic, "display", shown.append)
    shell.shown = shown
    return shell


def test_a_cell_is_left_after_the_watched_steps(shell):
    shell.run_cell_magic("doctor", "--steps 3", LOOP)
    assert shell.user_ns["taken"] == 2, "the third step is taken, and the loop is left inside it"
    assert isinstance(shell.shown[0], Diagnosis)


def test_a_watched_cell_goes_on_to_its_end(shell):
    shell.run_cell_magic("doctor", "--steps 3 --watch", LOOP)
    assert shell.user_ns["taken"] == 20 and len(shell.shown) == 1


def test_an_error_of_the_cell_is_passed_on_below_the_verdict(shell):
    with pytest.raises(ZeroDivisionError):
        shell.run_cell_magic("doctor", "", "1 / 0")
    assert len(shell.shown) == 1


def test_wrong_arguments_are_named(shell):
    with pytest.raises(UsageError, match="--step"):
        shell.run_cell_magic("doctor", "--stepps 3", LOOP)
