from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from quadlib.config import ModelSettings, TrainSettings
from quadlib.data.dataset import Batch
from quadlib.data.samples import Modality, SampleTable
from quadlib.model import QuadModel, freeze

SPECS = {
    "video": ("video", (2, 2, 16, 24)),
    "image": ("image", (2, 3, 16, 24)),
    "audio": ("audio", (2, 8, 16)),
    "sensor": ("series", (3, 16)),
}


def model_of(specs=SPECS, **settings) -> QuadModel:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return QuadModel(specs, ModelSettings(width=16, embedding_dim=8, **settings))


def batch_of(specs=SPECS, size: int = 5, present: torch.Tensor | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)
    inputs = {
        name: torch.randn(size, *shape, generator=generator) for name, (_, shape) in specs.items()
    }
    if present is None:
        present = torch.ones(size, len(specs), dtype=torch.bool)
    return Batch(inputs, present, torch.arange(size) % 2, torch.arange(size))


def holes(size: int = 5) -> torch.Tensor:
    present = torch.ones(size, 4, dtype=torch.bool)
    present[0, 0] = present[1, 1] = present[1, 3] = present[2, :3] = False
    return present


def vector_table(**shapes: int) -> SampleTable:
    names = list(shapes)
    frame = pd.DataFrame(
        {
            "sample_id": ["a", "b"],
            "label": ["x", "y"],
            "group": ["g", "h"],
            "split": ["train", "train"],
            **{name: [0, 1] for name in names},
        }
    )
    return SampleTable(
        frame,
        {name: Modality("vector", (size,)) for name, size in shapes.items()},
        arrays={name: np.zeros((2, size), dtype=np.float32) for name, size in shapes.items()},
    )


def test_embeddings_are_unit_rows_and_absent_ones_zero():
    present = holes()
    embeddings = model_of()(batch_of(present=present))
    assert (
        embeddings.fused.shape == (5, 8)
        and embeddings.by_modality.shape == (5, 4, 8)
        and embeddings.weights.shape == (5, 4)
    )
    torch.testing.assert_close(embeddings.fused.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(embeddings.by_modality.norm(dim=2), present.float())
    assert (embeddings.by_modality[~present] == 0).all() and (
        embeddings.weights[~present] == 0
    ).all()
    torch.testing.assert_close(embeddings.weights.sum(dim=1), torch.ones(5))


@pytest.mark.parametrize("content", [3.0, torch.nan, torch.inf])
def test_the_content_of_an_absent_modality_changes_no_bit_of_output_or_gradient(content):
    present, seen = holes(), []
    for fill in (0.0, content):
        batch = batch_of(present=present)
        for m, name in enumerate(SPECS):
            batch.inputs[name][~present[:, m]] = fill
        model = model_of().eval()
        embeddings = model(batch)
        (embeddings.fused[:, 0].sum() + embeddings.by_modality[:, :, 0].sum()).backward()
        seen.append([*embeddings, *(parameter.grad for parameter in model.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*seen, strict=True))


def test_rows_without_any_modality_are_named():
    present = holes()
    present[[1, 3]] = False
    with pytest.raises(ValueError, match=r"row\(s\) 1, 3 of the batch have no modality"):
        model_of()(batch_of(present=present))


def test_presence_of_another_set_of_modalities_is_refused():
    with pytest.raises(ValueError, match="3 columns, but the modalities are 4: video, image"):
        model_of()(batch_of(present=torch.ones(5, 3, dtype=torch.bool)))


def test_the_gradient_reaches_every_parameter():
    model = model_of().train()
    embeddings = model(batch_of())
    generator = torch.Generator().manual_seed(2)
    sum(
        (part * torch.randn(part.shape, generator=generator)).sum() for part in embeddings[:2]
    ).backward()
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []


@pytest.mark.parametrize(
    "specs",
    [
        {"only": ("vector", (7,))},
        {"left": ("vector", (7,)), "right": ("vector", (7,))},
        {
            "front": ("video", (2, 2, 16, 24)),
            "back": ("video", (2, 2, 16, 24)),
            "amps": ("series", (1, 16)),
            "volts": ("series", (1, 16)),
            "f": ("vector", (3,)),
        },
    ],
    ids=["one", "two of a kind", "five"],
)
def test_any_set_of_named_modalities(specs):
    embeddings = model_of(specs)(batch_of(specs))
    assert embeddings.by_modality.shape == (5, len(specs), 8) and model_of(
        specs
    ).modalities == tuple(specs)


def test_names_that_no_module_can_have_are_all_refused():
    with pytest.raises(ValueError, match="'a.b', 'values' cannot name a modality"):
        model_of({"a.b": ("vector", (3,)), "values": ("vector", (3,)), "fine": ("vector", (3,))})


def test_no_modality_is_refused():
    with pytest.raises(ValueError, match="at least one modality"):
        model_of({})


def test_weights_follow_the_seed_and_leave_the_global_generator_alone():
    table, state = vector_table(fou=5, kar=4), torch.get_rng_state()
    one, same, other = (
        QuadModel.from_table(table, TrainSettings(source="mfeat", seed=seed)).state_dict()
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert QuadModel.from_table(table, ModelSettings()).modalities == ("fou", "kar")


def test_modality_dropout_acts_on_the_fusion_in_training_alone():
    model, batch = model_of(modality_dropout=0.5, dropout=0.0), batch_of(size=40)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        trained, again = model.train()(batch), model(batch)
    assert (trained.weights == 0).any() and (trained.weights.sum(dim=1) - 1).abs().max() < 1e-5
    assert not torch.equal(trained.weights, again.weights)
    assert torch.equal(trained.by_modality, again.by_modality)
    assert (model.eval()(batch).weights > 0).all()


def test_frozen_modules_get_no_gradient_and_stay_in_eval_mode():
    model = model_of().train()
    names = freeze(model, ["encoders.video", "fusion.query"])
    assert "fusion.query" in names and all(
        name.startswith(("encoders.video.", "fusion.query")) for name in names
    )
    model.train()
    assert not any(module.training for module in model.encoders["video"].modules())
    assert model.training and model.encoders["image"].training and model.fusion.training
    model(batch_of()).fused.square().sum().backward()
    parameters = dict(model.named_parameters())
    assert all(
        parameters[name].grad is None and not parameters[name].requires_grad for name in names
    )
    assert parameters["encoders.image.head.project.weight"].grad is not None


def test_freezing_is_part_of_the_settings_and_may_be_repeated():
    settings = ModelSettings(freeze=["encoders.kar"])
    model = QuadModel.from_table(vector_table(fou=5, kar=4), settings)
    assert not any(parameter.requires_grad for parameter in model.encoders["kar"].parameters())
    assert freeze(model, settings.freeze) == [
        f"encoders.kar.{name}" for name, _ in model.encoders["kar"].named_parameters()
    ]
    assert model.frozen == ("encoders.kar",) and freeze(model, []) == []


def test_a_prefix_ends_at_a_dot():
    model = model_of({"fou": ("vector", (3,)), "fou2": ("vector", (3,))})
    assert all(name.startswith("encoders.fou.") for name in freeze(model, ["encoders.fou"]))


def test_unknown_names_to_freeze_are_all_reported_with_near_matches():
    with pytest.raises(ValueError) as caught:
        freeze(model_of(), ["encoders.vdeo", "fusion", "zzz"])
    assert "'encoders.vdeo': did you mean encoders.video" in str(caught.value)
    assert "'zzz': known are encoders, fusion, fused_head, modality_heads" in str(
        caught.value
    ) and "'fusion'" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_embeddings_are_float32_unit_rows_under_autocast(dtype):
    with torch.autocast("cpu", dtype=dtype):
        embeddings = model_of().eval()(batch_of(present=holes()))
    assert all(part.dtype == torch.float32 for part in embeddings)
    torch.testing.assert_close(embeddings.fused.norm(dim=1), torch.ones(5))
    torch.testing.assert_close(embeddings.weights.sum(dim=1), torch.ones(5), atol=1e-5, rtol=0)
