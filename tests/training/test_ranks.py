"""Several processes train the model that one would have trained, and all end where one ends."""

from __future__ import annotations

import multiprocessing
import time
from types import SimpleNamespace

import psutil
import pytest
import torch

from quadlib import train
from quadlib.config import SettingsError
from quadlib.runs import Run
from quadlib.training import ranks
from quadlib.training.checkpoint import load_checkpoint
from quadlib.training.device import DeviceError
from quadlib.training.restore import open_dataset
from quadlib.training.trainer import Trainer, TrainingError, Watcher
from quadlib.training.watcher import DoctorWatcher
from tests.training import ranked
from tests.training.conftest import settings_of
from tests.training.ranked import (
    EVERY_TERM,
    WHOLE,
    fit,
    gradients,
    in_float64,
    trainer_of,
    weights,
)

SECONDS = 100


@pytest.fixture(scope="module")
def own(features, tmp_path_factory):
    """The settings of what is trained here, in an outputs folder of this module."""
    return settings_of(features, tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def found(own, tmp_path_factory):
    """What two processes found, and then four: (count, number) -> results."""
    folder = tmp_path_factory.mktemp("found")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([ranked.__name__])
    processes = [
        context.Process(target=ranked.work, args=(number, str(folder), own), daemon=True)
        for number in range(4)
    ]
    try:
        for process in processes:
            process.start()
        deadline = time.monotonic() + SECONDS
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
        errors = [path.read_text() for path in sorted(folder.glob("error-*"))]
        assert not errors, "\n".join(errors)
        assert [process.exitcode for process in processes] == [0] * 4, "they wait for each other"
        return {
            (count, number): torch.load(folder / f"{count}-{number}.pt", weights_only=False)
            for count in (2, 4)
            for number in range(count)
        }
    finally:
        for process in processes:
            process.kill()
            process.join()
        multiprocessing.forkserver._forkserver._stop()


@pytest.fixture(scope="module")
def alone(own):
    """What one process finds."""
    with in_float64():
        expected = gradients(trainer_of(own, **WHOLE, **EVERY_TERM))
        trainer = fit(own, **WHOLE, **EVERY_TERM, run="steps-1", epochs=10)
    assert trainer.step == 50
    return SimpleNamespace(gradients=expected, trainer=trainer, weights=weights(trainer))


def distance(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(("count", "micro_batch"), [(2, 0), (2, 3), (4, 0)])
def test_loss_and_gradient_are_those_of_one_process(found, alone, count, micro_batch):
    """With lone anchors on some, absent modalities, every term and a memory."""
    for number in range(count):
        assert distance(found[count, number][f"gradients {micro_batch}"], alone.gradients) <= 1e-12


def test_stopped_by_two_and_gone_on_with_by_four_and_one_it_is_the_same_run(found, own, alone):
    """Whichever process hears of the end, all save and end after the same step."""
    run = Run.open("stopped", own.outputs)
    content = load_checkpoint(run.checkpoints / "latest_model.pth")
    assert (content["step"], len(content["part"]["others"])) == (42, 3)
    assert run.record["processes"] == 4 and run.record["status"] == "stopped"
    with in_float64():
        trainer = fit(own, **WHOLE, **EVERY_TERM, run="stopped", epochs=10)
    assert trainer.step == 50 and run.record["processes"] == 1
    assert distance(weights(trainer), alone.weights) <= 1e-10
    logged, expected = (
        [line["loss"] for line in each.history] for each in (trainer, alone.trainer)
    )
    assert logged == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("count", [2, 4])
def test_all_hold_the_same_weights_and_history(found, count):
    """Bit for bit, or they would drift apart."""
    first, *others = (found[count, number] for number in range(count))
    for other in others:
        assert torch.equal(other["weights"], first["weights"])
        assert other["history"] == first["history"]


def test_as_many_processes_go_on_bit_for_bit_each_with_its_own_dropout(found):
    assert torch.equal(found[2, 0]["whole"], found[2, 0]["broken"])
    assert torch.equal(found[2, 1]["whole"], found[2, 0]["whole"])


class Kill(Watcher):
    """Kills the other process after a step of the second epoch."""

    def on_step(self, trainer, step):
        if step == 7:
            for child in psutil.Process().children():
                if "quadlib.training.other_process" in " ".join(child.cmdline()):
                    child.kill()


def test_a_process_that_dies_ends_all_with_its_name_and_the_run_goes_on(own):
    changes = WHOLE | EVERY_TERM | {"run": "killed", "epochs": 2, "nproc": 2}
    with pytest.raises(TrainingError, match=r"process 2 of 2 ended \(SIGKILL\)\. What was saved"):
        fit(own, [DoctorWatcher(), Kill()], **changes)
    run = Run.open("killed", own.outputs)
    assert run.record["status"] == "failed" and "process 2 of 2" in run.record["error"]["message"]
    assert load_checkpoint(run.checkpoints / "latest_model.pth")["epoch"] == 1
    assert not [p for p in psutil.Process().children() if "helper" in " ".join(p.cmdline())]
    assert fit(own, **{**changes, "nproc": 1}).step == 10


def test_without_torchrun_the_command_trains_in_one_process(own, tmp_path, monkeypatch, capsys):
    values = own.model_dump(include={"source", "path", "width", "embedding_dim", "fusion_heads"})
    values |= {"outputs": str(tmp_path), "run": "launched", "epochs": 1}
    options = [word for name, value in values.items() for word in ("-p", f"{name}={value}")]
    monkeypatch.setattr("sys.argv", ["train", *options])
    with pytest.raises(SystemExit) as ended:
        train.main()
    assert ended.value.code == 0
    assert "evaluate it: quadlib run 04_evaluate --run" in capsys.readouterr().out
    assert Run.open("launched", str(tmp_path)).record["status"] == "done"
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setattr("sys.argv", ["train", *options, "-p", "nproc=2"])
    with pytest.raises(SystemExit) as ended:
        train.main()
    assert ended.value.code == 2
    assert "nproc: '2' given, but torchrun started 3" in capsys.readouterr().err


def test_a_model_that_the_settings_do_not_build_takes_a_launcher_of_its_own(own):
    settings = own.model_copy(update={"nproc": 2, "run": "foreign"})
    dataset, run = open_dataset(settings), Run.create(settings)
    with pytest.warns(UserWarning, match="do not build this model"):
        trainer = Trainer(dataset, settings, run, model=torch.nn.Linear(2, 2))
    with pytest.raises(SettingsError, match=r"nproc: 2 processes .* do not hold a model that"):
        trainer.fit()


def test_what_several_processes_cannot_train_is_refused_by_name(own, monkeypatch):
    monkeypatch.setattr(ranks, "is_distributed", lambda: True)
    monkeypatch.setattr(ranks.dist, "get_world_size", lambda: 4)
    monkeypatch.setattr(ranks.dist, "get_rank", lambda: 1)
    assert list(ranks.own([10, 11, 12, 13, 14, 15])) == [11, 15]
    with pytest.raises(SettingsError, match="nproc: 4 processes, but a batch of 3"):
        ranks.own([1, 2, 3])
    with pytest.raises(DeviceError, match="'cuda:1' is one GPU, but 4 processes"):
        ranks.own_device(torch.device("cuda:1"))
    monkeypatch.setattr(ranks, "from_all", lambda facts: [facts, facts | {"torch": "1"}])
    with pytest.raises(TrainingError, match=r"torch: '2' in the first, '1' in process 2"):
        ranks.check_same({"torch": "2"})
