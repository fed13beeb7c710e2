"""From a run back to its model: one that the settings build, one that is registered, one that was
given.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from quadlib.config import EvaluateSettings, SettingsError
from quadlib.evaluation import KnnValidator
from quadlib.evaluation.evaluate import evaluate
from quadlib.files import read_record, write_record
from quadlib.model.quad import Embeddings, unit
from quadlib.registry import MODELS, register_model
from quadlib.runs import Run
from quadlib.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from quadlib.training.device import DeviceError
from quadlib.training.restore import open_dataset, restore
from quadlib.training.trainer import Trainer
from quadlib.training.watcher import diagnose_run


class Linears(nn.Module):
    """A model of the user's own: a linear layer for each modality, and their mean."""

    def __init__(self, sizes: dict[str, int], embedding_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(
            {name: nn.Linear(size, embedding_dim) for name, size in sizes.items()}
        )

    def forward(self, batch):
        each = torch.stack(
            [unit(layer(batch.inputs[name])) for name, layer in self.layers.items()], dim=1
        )
        present = batch.present.float()
        weights = present / present.sum(dim=1, keepdim=True)
        each = each * present[..., None]
        return Embeddings(unit((each * weights[..., None]).sum(dim=1)), each, weights)


def linears(table, settings):
    sizes = {name: spec.shape[0] for name, spec in table.modalities.items()}
    return Linears(sizes, settings.embedding_dim)


@pytest.fixture
def registered():
    register_model("linears", linears)
    yield
    del MODELS._entries["linears"]


def trained(settings, **options):
    run = Run.create(settings)
    validator = KnnValidator(settings)
    Trainer(open_dataset(settings), settings, run, validator=validator, **options).fit()
    return run


def test_a_registered_model_is_restored_evaluated_and_diagnosed(settings, registered):
    run = trained(settings.model_copy(update={"model": "linears", "freeze": ["layers.a"]}))
    restored = restore(run)
    assert isinstance(restored.model, Linears)
    evaluation = evaluate(run)
    assert evaluation.scores["accuracy"].value > 0.5
    assert any("not of Linears" in note for note in evaluation.notes) and not evaluation.subsets
    assert diagnose_run(restore(run, "latest")).ran
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        first = linears(restored.dataset.table, settings).layers
    layers = restored.model.layers
    assert torch.equal(first["a"].weight, layers["a"].weight)  # frozen: as the seed made it
    assert not torch.equal(first["b"].weight, layers["b"].weight)


def test_a_given_model_is_announced_and_comes_back_when_it_is_given_again(settings):
    table = open_dataset(settings).table
    with pytest.warns(UserWarning, match=r"Linears.*restore\(run, model=\.\.\.\).*register_model"):
        run = trained(settings, model=linears(table, settings))
    with pytest.raises(CheckpointError, match=r"Linears.*pass one like it: restore\(run, model="):
        restore(run)
    with pytest.raises(CheckpointError, match="evaluate"):
        evaluate(run)
    restored = restore(run, "latest", model=linears(table, settings))
    saved = restored.checkpoint["model"]
    assert all(
        torch.equal(value, saved[name]) for name, value in restored.model.state_dict().items()
    )
    again = [evaluate(run, model=linears(table, settings)).scores["accuracy"] for _ in range(2)]
    chance = 1 / len(table.class_names)  # of three epochs the last digits depend on the threads
    assert again[0] == again[1] and again[0].value > 1.5 * chance
    assert diagnose_run(restored).ran
    with pytest.raises(CheckpointError, match="does not fit the model"):
        restore(run, model=nn.Linear(2, 2))


def test_a_given_model_that_the_settings_build_too_needs_nothing(settings):
    table = open_dataset(settings).table
    from quadlib.model.quad import QuadModel

    run = trained(settings, model=QuadModel.from_table(table, settings))
    assert restore(run).checkpoint["foreign_model"] == ""


@pytest.mark.parametrize("name", ["os:system", "planted:build", "linears"])
def test_no_name_in_a_file_is_imported(settings, name, tmp_path, monkeypatch):
    """What is not registered in this process is refused, whoever wrote the run's files."""
    run = trained(settings.model_copy(update={"epochs": 1}))
    (tmp_path / "planted.py").write_text("raise SystemExit('it was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    record = read_record(run.path("run.json"), "run")
    record["settings"]["model"] = name
    write_record(run.path("run.json"), "run", record)
    for path in run.checkpoints.iterdir():
        content = load_checkpoint(path)
        content["settings"]["model"] = name
        save_checkpoint(content, path)
    with pytest.raises(SettingsError, match=f"model: '{name}' does not fit: no model"):
        restore(run)
    assert "planted" not in sys.modules


def test_evaluate_computes_where_the_run_did_unless_told_otherwise(settings, monkeypatch):
    from quadlib.evaluation import evaluate as _  # noqa: F401

    module = sys.modules["quadlib.evaluation.evaluate"]
    asked = []
    choose = module.choose_device
    monkeypatch.setattr(module, "choose_device", lambda name: asked.append(name) or choose(name))
    run = trained(settings.model_copy(update={"epochs": 1}))
    evaluate(run)
    assert asked == ["cpu"]
    record = read_record(run.path("run.json"), "run")
    record["settings"]["device"] = "meta9"
    write_record(run.path("run.json"), "run", record)
    with pytest.raises(DeviceError, match="device: 'meta9'"):
        evaluate(run)
    evaluate(run, EvaluateSettings(device="cpu", resamples=0))
    assert asked == ["cpu", "meta9", "cpu"]


def test_replaced_media_are_refused_by_name(settings, tmp_path):
    lines = ["sample_id,label,group,split,photo"]
    for row in range(12):
        noise = np.random.default_rng(row).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{row}.png")
        lines.append(f"r{row},{'ab'[row % 2]},s{row},{'train' if row < 8 else 'val'},{row}.png")
    (tmp_path / "recordings.csv").write_text("\n".join(lines) + "\n")
    photos = settings.model_copy(
        update={"path": str(tmp_path / "recordings.csv"), "epochs": 1, "batch_size": 4}
    )
    run = trained(photos)
    assert restore(run, "latest").checkpoint["epoch"] == 1
    Image.new("RGB", (16, 16), (9, 9, 9)).save(tmp_path / "3.png")
    with pytest.raises(CheckpointError, match=r"the contents of 1 file\(s\): 3.png; bring them"):
        restore(run, "latest")
    with pytest.raises(CheckpointError, match=r"the contents of 1 file\(s\): 3.png"):
        evaluate(run)
    with pytest.raises(CheckpointError, match=r"the contents of 1 file\(s\): 3.png"):
        Trainer(open_dataset(photos), photos, run).fit()


def test_a_run_of_a_version_without_soft_vectors_goes_on_as_it_was(settings):
    plain = settings.model_copy(update={"vector_scale": "standard", "epochs": 1})
    run = Run.create(plain)
    Trainer(open_dataset(plain), plain, run, validator=KnnValidator(plain)).fit()
    record = read_record(run.path("run.json"), "run")
    del record["settings"]["vector_scale"]
    write_record(run.path("run.json"), "run", record)
    for path in run.checkpoints.glob("*.pth"):
        content = load_checkpoint(path)
        del content["settings"]["vector_scale"]
        save_checkpoint(content, path)
    assert run.settings(type(settings)).vector_scale == "standard"
    assert not restore(run).dataset.normaliser.middles
    soft = plain.model_copy(update={"vector_scale": "soft"})
    with pytest.raises(CheckpointError, match="vector_scale: 'standard' then, 'soft' now"):
        Trainer(open_dataset(soft), soft, run, validator=KnnValidator(soft)).fit()
    result = Trainer(open_dataset(plain), plain, run, validator=KnnValidator(plain)).fit()
    assert result.epochs == 1
