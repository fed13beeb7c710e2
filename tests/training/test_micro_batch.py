"""A batch that goes through the model in parts has the gradient of the whole, on every path."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from quadlib.config import SettingsError
from quadlib.data.dataset import Batch
from quadlib.runs import Run
from quadlib.training import step
from quadlib.training.device import global_generators_kept
from quadlib.training.restore import open_dataset
from quadlib.training.trainer import Trainer
from tests.training.test_trainer import DieAt, final_state, train

WHOLE = {"dropout": 0.0, "modality_dropout": 0.0}
EVERY_TERM = {
    **{"cross_gate": 0.0, "cross_entropy_weight": 0.3},
    **{"memory_rows": 24, "memory_warmup_batches": 1},
}


def trainer_of(settings, **changes):
    settings = settings.model_copy(update=changes)
    return Trainer(open_dataset(settings), settings, Run.create(settings))


def batches_with_gaps(trainer, count=2):
    """Two batches in float64, in which a third of the modalities is absent."""
    rows = list(trainer.batches)[:count]
    for number, batch in enumerate(map(trainer.dataset.__getitems__, rows)):
        draw = torch.rand(batch.present.shape, generator=torch.Generator().manual_seed(number))
        present = (draw > 0.3) | (draw == draw.max(dim=1, keepdim=True).values)
        inputs = {name: values.double() for name, values in batch.inputs.items()}
        yield Batch(inputs, present, batch.labels, batch.index, batch.sessions)


def gradients(trainer):
    """Of two batches, the second one with what the first left in the memory."""
    trainer.model.double(), trainer.objective.double()
    step.training_mode(trainer)
    found = []
    for batch in batches_with_gaps(trainer):
        value = step.forward(trainer, batch)
        step.backward(trainer, value)
        trainer.objective.follow(value._replace(progress=None))  # which stays float32
        parameters = [*trainer.model.parameters(), *trainer.objective.parameters()]
        found += [value.total.detach().flatten(), *(p.grad.flatten() for p in parameters)]
    assert value.memory is not None and value.memory != value.fused
    return torch.cat(found)


@pytest.fixture
def in_float64(monkeypatch):
    """Embeddings and losses are of float32 by design; here they are not rounded to it."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


@pytest.mark.parametrize("size", [1, 3, 16])
def test_parts_of_any_size_give_the_gradient_of_the_whole_batch(settings, in_float64, size):
    settings = settings.model_copy(update=WHOLE | EVERY_TERM)
    expected = gradients(trainer_of(settings))
    found = gradients(trainer_of(settings, micro_batch=size))
    assert (found - expected).norm() <= 1e-12 * expected.norm()


def test_after_ten_steps_the_weights_are_those_of_whole_batches(settings):
    settings = settings.model_copy(
        update=WHOLE | EVERY_TERM | {"epochs": 2, "accumulation_steps": 2, "resume": "never"}
    )
    whole = [p.detach().flatten() for p in train(settings)[1].model.parameters()]
    parts = [
        p.detach().flatten()
        for p in train(settings.model_copy(update={"micro_batch": 3}))[1].model.parameters()
    ]
    assert (torch.cat(parts) - torch.cat(whole)).norm() <= 1e-5 * torch.cat(whole).norm()


@pytest.mark.parametrize("amp", ["off", "bfloat16"])
def test_dropout_is_the_same_where_a_part_is_embedded_again(settings, amp):
    """The loss and the gradient are those of the parts embedded once, with their dropout."""
    trainer = trainer_of(settings, micro_batch=5, amp=amp)
    batch = trainer.dataset.__getitems__(next(iter(trainer.batches)))
    step.training_mode(trainer)
    with global_generators_kept():
        torch.manual_seed(1)
        value = step.forward(trainer, batch)
        step.backward(trainer, value)
        found = [p.grad.clone() for p in trainer.model.parameters()]
        trainer.model.zero_grad()
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=amp != "off"):
            once = [trainer.model(part) for part in batch.split(5)]
        embeddings = once[0]._make(map(torch.cat, zip(*once, strict=True)))
        expected = trainer.objective(embeddings, batch.labels, batch.present)
        expected.total.backward()
    assert value.total.item() == expected.total.item()
    for gradient, parameter in zip(found, trainer.model.parameters(), strict=True):
        assert torch.equal(gradient, parameter.grad)


def test_killed_within_an_epoch_it_goes_on_bit_for_bit(settings):
    settings = settings.model_copy(
        update=EVERY_TERM | {"micro_batch": 6, "amp": "float16", "checkpoint_every_steps": 2}
    )
    whole = final_state(train(settings.model_copy(update={"run": "whole"}))[0])
    with pytest.raises(KeyboardInterrupt):
        train(settings, watcher=DieAt(9))
    assert final_state(train(settings)[0]) == whole


def test_layers_that_mix_rows_are_refused_unless_frozen(settings):
    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(4)
            self.head = nn.Linear(4, 4)

    settings = settings.model_copy(update={"micro_batch": 4, "nproc": 2})
    dataset, run = open_dataset(settings), Run.create(settings)
    with (
        pytest.warns(UserWarning),
        pytest.raises(SettingsError, match=r"micro_batch, nproc: .*\(norm\)"),
    ):
        Trainer(dataset, settings, run, model=Mixing())
    frozen = settings.model_copy(update={"freeze": ["norm"]})
    with pytest.warns(UserWarning, match="do not build this model"):
        assert Trainer(dataset, frozen, run, model=Mixing()).model.frozen == ("norm",)
