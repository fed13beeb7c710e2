"""Runs side by side, as the study trains them, are the model and the objective that users train."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from quadlib import QuadModel
from quadlib.config import TrainSettings
from quadlib.data.dataset import Batch
from quadlib.training.objective import QuadObjective

BENCH = Path(__file__).parents[1] / "bench" / "learning"
SPECS = {"a": ("vector", (3,)), "b": ("vector", (7,))}


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import trained as study

    return study


def test_stacked_runs_are_the_runs_one_by_one(study):
    import stacked
    import variants

    settings = TrainSettings(source="mfeat", width=16, embedding_dim=8)
    models = [QuadModel(SPECS, settings).eval() for _ in range(2)]
    for model in models:
        for parameter in model.parameters():
            parameter.data.normal_(0, 0.3)
    random = torch.Generator().manual_seed(0)
    present = torch.tensor([[True, True], [True, False], [False, True], [True, True]] * 3)
    codes = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1, 2, 0, 1, 2])
    wide = torch.zeros(2, 2, 12, 7)
    for m, (_, shape) in enumerate(SPECS.values()):
        wide[:, m, :, : shape[0]] = torch.randn(2, 12, shape[0], generator=random)
    wide *= present.T[None, :, :, None]
    trust = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    weights = stacked.stack(models)
    assert all(value.is_floating_point() for value in weights.values())  # each can be trained
    out = stacked.forward(weights, wide, present.expand(2, -1, -1), trust)
    loss, own, _ = study.objective(
        variants.Variant(cross_gate=0.0),
        {},
        out,
        codes.expand(2, -1),
        present.expand(2, -1, -1),
        torch.ones(2, 12, dtype=torch.bool),
        torch.zeros(2, 12),
        torch.zeros(2, 2),
        3,
    )
    gateless = settings.model_copy(update={"cross_gate": 0.0})
    for run, model in enumerate(models):
        model.fusion.trust.copy_(trust[run])
        model.alone.copy_(torch.tensor([run == 1, False]))
        inputs = {
            name: wide[run, m, :, : shape[0]] for m, (name, (_, shape)) in enumerate(SPECS.items())
        }
        alone = model(Batch(inputs, present, codes, torch.arange(12)))
        value = QuadObjective(gateless, 3, 8, n_modalities=2)(alone, codes, present)
        torch.testing.assert_close(out.fused[run], alone.fused, atol=1e-5, rtol=0)
        torch.testing.assert_close(out.weights[run], alone.weights, atol=1e-5, rtol=0)
        torch.testing.assert_close(loss[run], value.total, atol=1e-4, rtol=0)
        torch.testing.assert_close(own[run], value.progress, atol=1e-4, rtol=0)
