"""The step that the doctor takes as a whole is the one that the trainer takes batch by batch."""

from __future__ import annotations

import itertools

import pytest
import torch

from quadlib.runs import Run
from quadlib.training import step
from quadlib.training.device import global_generators_kept
from quadlib.training.restore import open_dataset
from quadlib.training.trainer import Trainer, Watcher


class Stop(Exception):
    pass


class FirstStep(Watcher):
    def on_start(self, trainer):
        set_scale(trainer, 1024.0)  # at the usual first one, half precision skips the step

    def on_step(self, trainer, step):
        raise Stop


def weights(trainer):
    return [p.detach().clone() for p in trainer.model.parameters()]


def set_scale(trainer, scale):
    if trainer.scaler.is_enabled():
        trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": scale})


def trainer_of(settings, **options):
    return Trainer(open_dataset(settings), settings, Run.create(settings), **options)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"accumulation_steps": 3, "amp": "bfloat16", "clip_norm": 0.01},
        {"accumulation_steps": 2, "amp": "float16"},
    ],
)
def test_a_whole_step_is_the_trainers_step_bit_for_bit(settings, changes):
    settings = settings.model_copy(update=changes)
    trained, stepped = trainer_of(settings, watcher=FirstStep()), trainer_of(settings)
    start = weights(stepped)
    with pytest.raises(Stop):
        trained.fit()
    with global_generators_kept():
        stepped.epoch = 1
        set_scale(stepped, 1024.0)
        loader = stepped._begin_epoch()
        stepped._set_learning_rate()
        step.take_step(stepped, list(itertools.islice(loader, settings.accumulation_steps)))
    moved = weights(stepped)
    assert all(torch.equal(a, b) for a, b in zip(weights(trained), moved, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(start, moved, strict=True))


def test_a_step_whose_gradients_overflow_is_skipped_and_halves_the_scale(settings):
    trainer = trainer_of(settings.model_copy(update={"amp": "float16"}))
    set_scale(trainer, 2.0**120)
    before = weights(trainer)
    batch = next(trainer.dataset.batches(trainer.dataset.table.rows("train"), 16))
    step.take_step(trainer, [batch])
    assert all(torch.equal(a, b) for a, b in zip(before, weights(trainer), strict=True))
    assert trainer.scaler.get_scale() == 2.0**119


def test_a_skipped_step_has_no_gradient_norm_in_the_history(settings):
    class Overflow(Watcher):
        def on_start(self, trainer):
            set_scale(trainer, 2.0**120)

    settings = settings.model_copy(update={"amp": "float16", "epochs": 1})
    trainer = trainer_of(settings, watcher=Overflow())
    trainer.fit()
    steps = [line for line in trainer.history if line["kind"] == "step"]
    assert "gradient_norm" not in steps[0] and "loss" in steps[0]


@pytest.mark.parametrize(
    ("count", "accumulation", "expected"),
    [(5, 2, [2, 2, 2, 2, 1]), (3, 1, [1, 1, 1]), (2, 4, [2, 2])],
)
def test_the_last_step_of_an_epoch_shares_fewer_batches(settings, count, accumulation, expected):
    settings = settings.model_copy(update={"accumulation_steps": accumulation})
    sharing = [step.batches_sharing(number, count, settings) for number in range(1, count + 1)]
    assert sharing == expected
