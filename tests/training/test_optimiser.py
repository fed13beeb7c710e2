from __future__ import annotations

import pytest
import torch
from torch import nn

from quadlib.config import ModelSettings, ObjectiveSettings, OptimiserSettings
from quadlib.model import QuadModel, freeze
from quadlib.training.objective import QuadObjective
from quadlib.training.optimiser import build_optimiser, learning_rate_factor, parameter_groups


def model_of() -> QuadModel:
    with torch.random.fork_rng(devices=[]):
        return QuadModel(
            {"amps": ("series", (2, 16)), "f": ("vector", (3,))}, ModelSettings(width=16)
        )


def test_every_trainable_parameter_is_in_one_group_with_its_rate_and_decay():
    model, settings = (
        model_of(),
        OptimiserSettings(learning_rate=1e-2, encoder_rate_factor=0.1, weight_decay=0.05),
    )
    groups = {
        id(parameter): group
        for group in parameter_groups(model, settings)
        for parameter in group["params"]
    }
    assert (
        len(groups)
        == len(list(model.parameters()))
        == sum(len(group["params"]) for group in parameter_groups(model, settings))
    )
    for name, parameter in model.named_parameters():
        group = groups[id(parameter)]
        assert group["lr"] == pytest.approx(1e-3 if name.startswith("encoders.") else 1e-2), name
        plain = (
            name.endswith(("bias", "query", "position", "modality_embedding"))
            or "norm" in name
            or parameter.dim() < 2
        )
        assert group["weight_decay"] == (0.0 if plain else 0.05), name


def test_frozen_parameters_are_left_out_and_a_wholly_frozen_model_is_refused():
    model, objective = model_of(), QuadObjective(ObjectiveSettings(), 2, 64)
    freeze(model, ["encoders"])
    names = [
        group["name"]
        for group in build_optimiser(model, objective, OptimiserSettings()).param_groups
    ]
    assert names == ["rest plain", "rest decayed"]
    freeze(model, ["fusion", "fused_head", "modality_heads"])
    with pytest.raises(ValueError, match="no trainable parameter"):
        build_optimiser(model, objective, OptimiserSettings())


def test_the_classifier_of_the_objective_is_optimised_too():
    objective = QuadObjective(ObjectiveSettings(cross_entropy_weight=1.0), 2, 64)
    optimiser = build_optimiser(model_of(), objective, OptimiserSettings())
    owned = {id(parameter) for group in optimiser.param_groups for parameter in group["params"]}
    assert all(id(parameter) in owned for parameter in objective.parameters())


def test_the_rate_rises_then_falls_along_a_cosine_to_its_last_fraction():
    settings = OptimiserSettings(warmup_steps=10, final_rate_fraction=0.02)
    factors = [learning_rate_factor(step, 100, settings) for step in range(100)]
    assert factors[0] == pytest.approx(0.1) and factors[9] == 1.0 and factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5, abs=0.02) and factors[99] == pytest.approx(0.02)
    assert all(later <= earlier for earlier, later in zip(factors[10:], factors[11:], strict=False))
    assert learning_rate_factor(500, 100, settings) == pytest.approx(0.02)


@pytest.mark.parametrize("total", [1, 2, 3, 7])
def test_a_short_run_still_warms_up_and_ends(total):
    factors = [
        learning_rate_factor(step, total, OptimiserSettings(warmup_steps=40))
        for step in range(total)
    ]
    assert max(factors) == 1.0 and all(0 < factor <= 1 for factor in factors)


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert learning_rate_factor(0, 10, OptimiserSettings(warmup_steps=0)) == 1.0


def test_modules_of_other_kinds_can_be_grouped():
    assert [group["name"] for group in parameter_groups(nn.Linear(2, 3), OptimiserSettings())] == [
        "rest decayed",
        "rest plain",
    ]
