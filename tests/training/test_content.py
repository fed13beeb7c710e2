"""Checkpoints of the right form that hold something else: refused by name, or of no consequence."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from quadlib.runs import Run
from quadlib.training.checkpoint import LATEST, CheckpointError, load_checkpoint, save_checkpoint
from quadlib.training.content import taken_from
from quadlib.training.restore import open_dataset, restore
from quadlib.training.state import load_state
from quadlib.training.trainer import Trainer
from tests.training.conftest import settings_of
from tests.training.test_trainer import DieAt, train

# in going on on a CPU, with no frozen encoder
UNUSED = (
    "class_names",
    "modalities",
    "monitor",
    "foreign_model",
    "normaliser",
    "scaler",
    "encoder_weights",
)
WRONG = (None, [], {"a": 1}, -3.0)


@pytest.fixture(scope="module")
def stopped(features, tmp_path_factory):
    """A run that was killed within an epoch, its dataset and what its checkpoint holds."""
    settings = settings_of(features, tmp_path_factory.mktemp("stopped"))
    settings = settings.model_copy(update={"checkpoint_every_steps": 2})
    with pytest.raises(KeyboardInterrupt):
        train(settings, watcher=DieAt(5))
    run = Run.open("r", settings.outputs)
    content = load_checkpoint(run.checkpoints / LATEST)
    assert content["part"]
    return run, settings, open_dataset(settings), content


def refused(stopped, content):
    """What is said of the content; "" where a trainer goes on from it as from the right one."""
    run, settings, dataset, right = stopped
    path, trainer = run.checkpoints / LATEST, Trainer(dataset, settings, run)
    try:
        with taken_from(path):
            load_state(trainer, content, path)
    except CheckpointError as error:
        assert str(Path("checkpoints", LATEST)) in str(error)
        return str(error)
    assert (trainer.epoch, trainer.step) == (right["epoch"], right["step"])
    return ""


def test_every_entry_is_needed_or_of_no_consequence(stopped):
    content = stopped[3]
    assert refused(stopped, content) == ""
    for name in set(content) - {*UNUSED, "format"}:
        for value in WRONG:
            if type(value) is not type(content[name]):
                assert refused(stopped, content | {name: value}), f"{name} = {value!r}"


@pytest.mark.parametrize("part", ["batch", "random", "seconds"])
def test_a_part_of_an_epoch_is_whole(stopped, part):
    content = copy.deepcopy(stopped[3])
    del content["part"][part]
    assert refused(stopped, content)


def test_moments_of_other_shapes_are_named(stopped):
    content = copy.deepcopy(stopped[3])
    content["optimiser"]["state"][0]["exp_avg"] = torch.zeros(3)
    assert "exp_avg of a parameter of" in refused(stopped, content)


@pytest.mark.parametrize("name", ["fingerprint", "normaliser", "model"])
def test_restoring_names_the_file(stopped, name):
    run, *_, content = stopped
    for changed in ({k: v for k, v in content.items() if k != name}, content | {name: [1]}):
        save_checkpoint(changed, run.checkpoints / LATEST)
        with pytest.raises(CheckpointError, match=LATEST):
            restore(run, "latest")
