"""Where too little was seen, the verdict is that nothing can be said; never that all is well."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from steps import step_of
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quadlib.diagnosis import Subject, diagnose
from quadlib.diagnosis.doors import observe
from quadlib.diagnosis.engine import is_ours

LABELS = np.arange(64) % 4


class Broken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, *_: object) -> torch.Tensor:
        raise ValueError("sizes do not match")


def test_nothing_given_is_not_judged():
    result = diagnose(Subject())
    assert result.ok is None and result.exit_code == 2 and not result.seen
    assert result.headline().startswith("COULD NOT JUDGE: nothing was given")
    assert json.loads(result.to_json())["ok"] is None


def test_a_model_that_raises_is_not_judged_and_the_reason_stands_first():
    loader = DataLoader(TensorDataset(torch.randn(64, 8), torch.as_tensor(LABELS)), 16)
    model, loss = Broken(), nn.MSELoss()
    step = step_of(model, loss)
    result = diagnose(
        Subject(labels=LABELS, loader=loader, model=model, loss=loss, train_step=step)
    )
    assert result.ok is None and result.exit_code == 2
    assert "ValueError: sizes do not match" in result.headline()
    assert "labels" in result.seen and "model" in result.not_seen
    assert not result.crashed, "the error is the subject's, no bug of the doctor's"


def test_a_model_without_a_step_is_not_judged_and_no_loop_is_invented():
    loader = DataLoader(TensorDataset(torch.randn(64, 8), torch.as_tensor(LABELS)), 16)
    calls = []
    model = nn.Linear(8, 4)
    model.register_forward_hook(lambda *_: calls.append(1))
    result = diagnose(Subject(labels=LABELS, loader=loader, model=model, loss=nn.MSELoss()))
    assert result.exit_code == 2 and not calls
    assert "give train_step=" in result.headline() and "quadlib.observe()" in result.headline()
    assert any("give train_step=" in why for name, why in result.not_run if "N04" in name)


def test_a_loop_that_raises_before_its_first_step_is_not_judged():
    with pytest.raises(ValueError, match="sizes"), observe() as seen:
        Broken()(torch.zeros(1))
    assert seen.diagnosis.exit_code == 2
    assert "raised ValueError: sizes do not match" in seen.diagnosis.headline()


def test_a_loop_without_a_step_says_what_is_missing():
    model = nn.Linear(4, 2)
    with observe() as seen:
        model(torch.randn(8, 4)).sum().backward()
    assert "no optimiser stepped; call optimizer.step()" in seen.diagnosis.headline()
    with observe() as seen:
        model(torch.randn(8, 4))
    assert "without a backward pass" in seen.diagnosis.headline()
    with observe() as seen:
        torch.autograd.grad(model(torch.randn(8, 4)).sum(), list(model.parameters()))
    assert "torch.autograd.grad" in seen.diagnosis.headline()


def test_what_was_seen_and_what_was_not_stands_in_the_headline():
    result = diagnose(Subject(labels=LABELS))
    assert result.ok is True and result.seen == ("labels",)
    assert result.headline().startswith("No problems found: labels observed; ")
    assert result.headline().endswith("history, evaluation, checkpoint")


def test_an_error_of_the_subjects_own_code_is_no_crash_of_the_doctor():
    def raised(call) -> BaseException:
        try:
            call()
        except Exception as error:
            return error
        raise AssertionError

    assert not is_ours(raised(lambda: Broken()(1)))
    error = raised(lambda: Subject(labels=LABELS).require_bounds(1))
    assert not is_ours(error), "this test's own frame takes part"
