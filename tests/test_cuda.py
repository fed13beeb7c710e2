"""What must hold on a GPU too; every test is left out where there is none."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from quadlib import KnnValidator, Run, Trainer, evaluate, open_dataset
from quadlib.config import TrainSettings
from quadlib.loss import SupConLoss
from quadlib.training.watcher import DoctorWatcher

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]
DEVICE = "cuda"


@pytest.mark.parametrize("count", [96, 3000])  # one tile, and several
@pytest.mark.parametrize("form", ["auto", "direct"])
def test_the_loss_and_its_gradient_are_those_of_the_cpu(count, form):
    rows = torch.randn(count, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(count) % 12
    values, gradients = [], []
    for device in ("cpu", DEVICE):
        asked = rows.to(device).requires_grad_()
        value = SupConLoss(0.1, form=form)(asked, labels.to(device))
        value.backward()
        values.append(value.item())
        gradients.append(asked.grad.cpu())
    assert values[1] == pytest.approx(values[0], rel=1e-5)
    apart = (gradients[1] - gradients[0]).norm() / gradients[0].norm()
    assert apart < 1e-4


@pytest.fixture
def settings(tmp_path):
    return TrainSettings(
        source="mfeat", outputs=str(tmp_path), run="gpu", epochs=2, device=DEVICE, warmup_steps=5
    )


@pytest.mark.parametrize(
    "change", [{}, {"amp": "float16"}, {"micro_batch": 8}, {"memory_rows": 64}]
)
def test_a_run_trains_goes_on_and_is_evaluated(settings, change):
    settings = settings.model_copy(update=change)
    dataset, validator = open_dataset(settings), KnnValidator(settings)
    run = Run.create(settings)
    watched = Trainer(dataset, settings, run, validator=validator, watcher=DoctorWatcher())
    assert watched.fit().epochs == 2
    longer = settings.model_copy(update={"epochs": 2, "refit": True})
    assert Trainer(dataset, longer, run, validator=validator).fit().epochs >= 2  # resumed
    lines = [json.loads(line) for line in run.path("history.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["loss"]) for line in lines)
    assert evaluate(run).scores["macro_f1"].value > 0.5
