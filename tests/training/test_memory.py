"""The memory of earlier batches is of the fused term, filled by what is trained on alone, and part
of the run's state.
"""

from __future__ import annotations

import pytest
import torch

from quadlib.config import SettingsError, TrainSettings, read_settings
from quadlib.loss import CrossBatchMemory, SupConLoss
from quadlib.runs import Run
from quadlib.training import step
from quadlib.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from quadlib.training.restore import open_dataset
from quadlib.training.trainer import Trainer
from quadlib.training.watcher import DoctorWatcher
from tests.training.test_trainer import DieAt, final_state, train

REMEMBERING = {"memory_rows": 40, "memory_warmup_batches": 3}


@pytest.fixture
def remembering(settings):
    return settings.model_copy(update=REMEMBERING)


def test_the_total_has_the_memorys_term_and_the_history_both(remembering):
    run, trainer, _ = train(remembering.model_copy(update={"epochs": 1}))
    steps = [line for line in run.history() if line["kind"] == "step"]
    assert ["memory" in line for line in steps] == [False] * 3 + [True] * (len(steps) - 3)
    for line in steps:
        first = line.get("memory", line["fused"])
        total = first + 0.5 * line["within"] + 1.5 * line.get("cross", 0.0)
        assert line["loss"] == pytest.approx(total, rel=1e-6)
        # what lies between the bounds is the batch's own value
        assert line["floor"] <= line["fused"] <= line["collapse"] + 2 / remembering.temperature
    assert len(trainer.objective.memory.entries) == 40


def test_it_is_the_loss_with_a_memory_of_the_batches_before(remembering):
    settings = remembering.model_copy(update={"memory_warmup_batches": 0})
    trainer = Trainer(open_dataset(settings), settings, Run.create(settings))
    expected = SupConLoss(settings.temperature, memory=CrossBatchMemory(40, 8))
    for rows in list(trainer.batches)[:4]:
        batch = trainer.dataset.__getitems__(rows)
        value = step.forward(trainer, batch)
        fused = value.entries.rows.detach().requires_grad_()
        assert value.memory == expected(fused, batch.labels, index=batch.index)
        trainer.objective.follow(value)


def test_trial_and_doctor_leave_it_empty(remembering):
    class Look(DoctorWatcher):
        def on_batch(self, trainer, batch):
            super().on_batch(trainer, batch)
            raise KeyboardInterrupt

    settings = remembering.model_copy(update={"memory_warmup_batches": 0})
    trainer = Trainer(open_dataset(settings), settings, Run.create(settings), watcher=Look())
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert len(trainer.objective.memory.entries) == 0 == int(trainer.objective.memory.batches)


@pytest.mark.parametrize("point", [2, 8])
def test_killed_at_any_step_it_goes_on_bit_for_bit(remembering, point):
    remembering = remembering.model_copy(update={"checkpoint_every_steps": 1})
    whole = final_state(train(remembering.model_copy(update={"run": "whole"}))[0])
    with pytest.raises(KeyboardInterrupt):
        train(remembering, watcher=DieAt(point))
    assert final_state(train(remembering)[0]) == whole


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("rows", 2.0, "no embedding of length 1"),
        ("codes", 4, "names a class beyond the 4"),
        ("index", 120, "names a recording beyond the 120"),
        ("stored", -1, "counts below 0"),
    ],
)
def test_a_memory_that_no_training_left_is_refused(remembering, name, value, what):
    run, *_ = train(remembering.model_copy(update={"epochs": 1}))
    path = run.checkpoints / "latest_model.pth"
    content = load_checkpoint(path)
    content["objective"][f"memory.entries.{name}"].fill_(value)
    save_checkpoint(content, path)
    with pytest.raises(CheckpointError, match=what):
        train(remembering.model_copy(update={"epochs": 1}))


def test_another_size_is_another_run(remembering):
    train(remembering.model_copy(update={"epochs": 1}))
    other = remembering.model_copy(update={"epochs": 1, "memory_rows": 50})
    with pytest.raises(CheckpointError, match="memory_rows: 40 then, 50 now"):
        train(other)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"same_session": "ignore"}, "same_session is 'ignore', and a memory keeps no sessions"),
        ({"fused_weight": 0}, "fused_weight is 0.0, and the memory is of the fused term"),
    ],
)
def test_what_a_memory_does_not_go_with_is_refused(changes, what):
    with pytest.raises(SettingsError, match=what):
        read_settings(TrainSettings, {"memory_rows": 64, **changes})


def test_entries_carry_no_gradient(remembering):
    trainer = Trainer(open_dataset(remembering), remembering, Run.create(remembering))
    batch = trainer.dataset.__getitems__(next(iter(trainer.batches)))
    trainer.objective.follow(step.forward(trainer, batch))
    assert not trainer.objective.memory.entries.rows.requires_grad
    assert torch.equal(trainer.objective.memory.entries.index[: len(batch)], batch.index)
