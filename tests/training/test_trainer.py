from __future__ import annotations

import hashlib
import math
import random
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from quadlib.data.samples import TableError
from quadlib.evaluation import KnnValidator
from quadlib.faults.pipeline import PlainBatches
from quadlib.model.quad import Embeddings, unit
from quadlib.runs import Run, RunError
from quadlib.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from quadlib.training.device import DeviceError, choose_device
from quadlib.training.restore import open_dataset, restore
from quadlib.training.trainer import Trainer, TrainingError, Watcher


def train(settings, **options):
    dataset = open_dataset(settings)
    run = Run.create(settings)
    trainer = Trainer(dataset, settings, run, validator=KnnValidator(settings), **options)
    return run, trainer, trainer.fit()


def final_state(run):
    content = load_checkpoint(run.checkpoints / "latest_model.pth")
    best = load_checkpoint(run.checkpoints / "best_model.pth")
    sha = hashlib.sha256(run.path("history.jsonl").read_bytes())
    for state in (content["model"], best["model"]):
        for name, tensor in state.items():
            sha.update(name.encode() + tensor.numpy().tobytes())
    for slot in content["optimiser"]["state"].values():
        for name, value in slot.items():
            sha.update(name.encode() + value.numpy().tobytes())
    return sha.hexdigest(), content["epoch"], best["epoch"]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own
def test_a_compiled_model_learns_the_same(settings, monkeypatch):
    """By the backend that changes no numbers; the usual one takes a compiler and a minute."""
    compiling = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiling(self, backend="eager"))
    settings = settings.model_copy(update={"epochs": 1, "modalities": ["a"]})
    plain = final_state(train(settings)[0])
    run, trainer, _ = train(settings.model_copy(update={"compile": True, "run": "compiled"}))
    assert trainer.model._compiled_call_impl is not None
    assert final_state(run) == plain
    torch.compiler.reset()


class CountSteps(Watcher):
    steps = 0

    def on_step(self, trainer, step):
        self.steps += 1


class DieAt(Watcher):
    def __init__(self, step):
        self.step = step

    def on_step(self, trainer, step):
        if step == self.step:
            raise KeyboardInterrupt


def test_a_run_leaves_two_checkpoints_a_history_between_the_bounds_and_its_record(settings, caplog):
    caplog.set_level("INFO", "quadlib")
    run, trainer, result = train(settings)
    assert sorted(path.name for path in run.folder.rglob("*.pth")) == [
        "best_model.pth",
        "latest_model.pth",
    ]
    assert result.epochs == 3
    history = run.history()
    steps = [line for line in history if line["kind"] == "step"]
    epochs = [line for line in history if line["kind"] == "epoch"]
    assert len(steps) == 3 * len(trainer.batches)
    assert [line["epoch"] for line in epochs] == [1, 2, 3]
    assert all(
        line["floor"] <= line["fused"] <= line["collapse"] + 2 / settings.temperature
        for line in steps
    )
    assert all(math.isclose(line["collapse"], math.log(line["anchors"] - 1)) for line in steps)
    assert epochs[-1]["fused"] < epochs[0]["fused"]
    assert {"encoders.a", "fusion", "fused_head"} <= set(epochs[0]["gradient_norms"])
    assert all(ratio > 0 for ratio in epochs[0]["update_ratios"].values())
    assert run.record["status"] == "done"
    assert "(floor 0." in caplog.text


def test_the_same_seed_gives_the_same_bytes(settings):
    first = final_state(train(settings)[0])
    assert final_state(train(settings.model_copy(update={"run": "again"}))[0]) == first
    assert final_state(train(settings.model_copy(update={"run": "other", "seed": 1}))[0]) != first


@pytest.mark.parametrize("point", [1, 4, 5, 7, 12])
def test_interrupted_and_resumed_is_the_uninterrupted_run(settings, point):
    whole = final_state(train(settings)[0])
    broken = settings.model_copy(update={"run": "broken"})
    with pytest.raises(KeyboardInterrupt):
        train(broken, watcher=DieAt(point))
    assert Run.open("broken", settings.outputs).record["status"] == "killed"
    torch.manual_seed(99)
    run, _, result = train(broken)
    assert final_state(run) == whole
    assert result.epochs == 3


def test_a_finished_run_is_left_as_it_is(settings):
    """No step is taken and no file is written again, which the same bytes alone would not show."""
    run, *_ = train(settings)
    files = [run.path("history.jsonl"), *sorted(run.checkpoints.iterdir())]
    written = [path.stat().st_mtime_ns for path in files]
    counter = CountSteps()
    _, trainer, result = train(settings, watcher=counter)
    assert [path.stat().st_mtime_ns for path in files] == written
    assert (trainer.epoch, result.epochs, counter.steps) == (3, 3, 0)


def drawn_from_the_globals():
    return torch.rand(1).item(), random.random(), np.random.rand()  # noqa: NPY002


def test_training_leaves_the_global_generators_alone(settings):
    def seed():
        torch.manual_seed(5)
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002

    seed()
    expected = drawn_from_the_globals()
    seed()
    train(settings)
    assert drawn_from_the_globals() == expected
    seed()
    with pytest.raises(KeyboardInterrupt):
        train(settings.model_copy(update={"run": "broken"}), watcher=DieAt(2))
    assert drawn_from_the_globals() == expected


def test_loading_processes_do_not_change_the_run(settings):
    settings = settings.model_copy(update={"epochs": 1})
    whole = final_state(train(settings)[0])
    assert (
        final_state(train(settings.model_copy(update={"run": "w", "num_workers": 2}))[0]) == whole
    )


def test_other_settings_are_not_mixed_into_a_run(settings):
    train(settings)
    with pytest.raises(
        CheckpointError, match=r"(?s)of other settings.*temperature: 0.1 then, 0.2 now"
    ):
        train(settings.model_copy(update={"temperature": 0.2}))
    with pytest.raises(CheckpointError, match="does not exist"):
        train(settings.model_copy(update={"run": "new", "resume": "always"}))


def test_debug_prints_the_labels_of_every_batch(settings, capsys):
    _, trainer, _ = train(settings.model_copy(update={"debug": True, "epochs": 1}))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[DEBUG]")]
    assert len(lines) == len(trainer.batches)
    assert lines[0].startswith("[DEBUG] Batch labels - unique: [0, 1, 2, 3], counts: [")


def test_patience_stops_early_and_stays_stopped(settings):
    # the fusion's trust would still move
    stuck = settings.model_copy(
        update={"learning_rate": 0.0, "patience": 2, "epochs": 9, "fusion_trust": False}
    )
    _, _, result = train(stuck)
    assert (result.epochs, result.stopped_early, result.best_epoch) == (
        3,
        True,
        3,
    )  # of equals, the latest
    assert train(stuck)[2].epochs == 3


@pytest.mark.parametrize(
    ("scores", "error", "kept"),
    [
        ([0.5, 0.9, 0.88, 0.89], 0.02, 4),  # within an error of the highest: the latest
        ([0.5, 0.9, 0.88, 0.87], 0.02, 3),
        ([0.5, 0.9, 0.89, 0.88, 0.87, 0.86], 0.015, 3),  # of the highest, not of the last kept
        ([0.5, 0.9, 0.88, 0.9], None, 4),  # of equals the latest
        ([0.5, 0.9, 0.88, 0.89], None, 2),
    ],
)
def test_of_epochs_within_a_standard_error_the_latest_is_kept(settings, scores, error, kept):
    figures = iter([scores[0], *scores])  # the first is asked for before training

    def validator(model, dataset):
        known = {} if error is None else {"val_macro_f1_error": error}
        return {"val_macro_f1": next(figures)} | known

    dataset = open_dataset(settings)
    changed = settings.model_copy(update={"epochs": len(scores)})
    trainer = Trainer(dataset, changed, Run.create(changed), validator=validator)
    result = trainer.fit()
    assert (result.best_epoch, result.best_value) == (kept, scores[kept - 1])
    assert trainer.best_value == max(scores)
    assert restore(trainer.run).checkpoint["epoch"] == kept


def test_a_split_with_one_class_is_refused_before_any_step(settings, features, tmp_path):
    with np.load(features) as arrays:
        content = dict(arrays)
    split = np.where(content["y"] == 0, "train", np.where(content["group"] % 2 == 0, "val", "test"))
    path = tmp_path / "one.npz"
    np.savez(path, split=split, **content)
    with pytest.raises(TableError, match="a single class"):
        open_dataset(settings.model_copy(update={"path": str(path)}))


def test_batches_without_a_positive_pair_leave_the_means_and_the_run_goes_on(settings):
    changed = settings.model_copy(
        update={"batch_size": 3, "min_per_class": 1, "min_classes": 1, "epochs": 1}
    )
    trainer = Trainer(open_dataset(changed), changed, run := Run.create(changed))
    trainer.batches = PlainBatches(trainer.dataset.table.rows("train"), 3)
    trainer.fit()
    [*steps, epoch] = run.history()
    lone = [step for step in steps if step["floor"] is None]
    paired = [step for step in steps if step["floor"] is not None]
    assert lone and paired, "the batches must be of both kinds, or nothing is shown"
    assert all(step["fused"] == 0 and step["progress"] is None for step in lone)
    for name in ("floor", "collapse", "fused", "loss"):
        assert epoch[name] == np.mean([step[name] for step in paired])


def test_a_monitor_without_a_value_says_which_setting_to_raise(settings):
    changed = settings.model_copy(
        update={"batch_size": 3, "min_per_class": 1, "min_classes": 1, "epochs": 1}
    )
    with pytest.raises(
        TrainingError, match=r"monitor 'excess' has no value.*raise min_per_class \(1\)"
    ):
        Trainer(open_dataset(changed), changed, Run.create(changed)).fit()


def test_a_watcher_looks_before_the_first_batch_is_tried(settings):
    class Look(Watcher):
        def on_start(self, trainer):
            raise KeyError("seen")

    dataset = open_dataset(settings)
    dataset.normaliser = None  # any batch would raise
    with pytest.raises(KeyError, match="seen"):
        Trainer(dataset, settings, Run.create(settings), watcher=Look()).fit()


def test_an_exploding_run_says_what_to_do_and_keeps_its_checkpoint(settings):
    class Poison(Watcher):
        def on_step(self, trainer, step):
            if trainer.epoch == 2:
                with torch.no_grad():
                    next(trainer.model.parameters()).fill_(float("nan"))

    with pytest.raises(TrainingError, match=r"the last checkpoint is whole. Lower learning_rate"):
        train(settings, watcher=Poison())
    run = Run.open("r", settings.outputs)
    assert run.record["status"] == "failed"
    assert load_checkpoint(run.checkpoints / "latest_model.pth")["epoch"] == 1


def test_frozen_modules_do_not_move(settings):
    run, trainer, _ = train(settings.model_copy(update={"freeze": ["encoders.a"], "epochs": 1}))
    fresh = Trainer(trainer.dataset, trainer.settings, run)
    for name, parameter in trainer.model.named_parameters():
        same = torch.equal(parameter, dict(fresh.model.named_parameters())[name])
        assert same == name.startswith("encoders.a."), name


def test_accumulation_steps_once_for_several_batches(settings):
    _, trainer, _ = train(settings.model_copy(update={"accumulation_steps": 3, "epochs": 1}))
    assert trainer.step == math.ceil(len(trainer.batches) / 3)


@pytest.mark.parametrize("amp", ["bfloat16", "float16"])
def test_mixed_precision_trains(settings, amp):
    run, _, _ = train(settings.model_copy(update={"amp": amp, "epochs": 2}))
    assert all(math.isfinite(line["loss"]) for line in run.history() if line["kind"] == "step")


def test_restore_brings_back_the_best_model(settings):
    run, trainer, result = train(settings)
    restored = restore(run)
    assert restored.checkpoint["epoch"] == result.best_epoch
    assert not restored.model.training
    figures = KnnValidator(settings)(restored.model, restored.dataset)
    recorded = next(
        line
        for line in run.history()
        if line["kind"] == "epoch" and line["epoch"] == result.best_epoch
    )
    assert figures["val_macro_f1"] == pytest.approx(recorded["val_macro_f1"])


def test_two_writers_are_refused(settings):
    run = Run.create(settings)
    with run.hold(), pytest.raises(RunError, match="another process"):
        train(settings)


@pytest.mark.parametrize("device", ["tpu9", "meta", "cuda:99", "mps:7"])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(DeviceError, match=f"device: '{device}' .*choose auto"):
        choose_device(device)


def test_a_broken_validator_fails_before_the_first_step(settings):
    def broken(model, dataset):
        raise KeyError("no such column")

    counter, run = CountSteps(), Run.create(settings)
    with pytest.raises(KeyError, match="no such column"):
        Trainer(open_dataset(settings), settings, run, validator=broken, watcher=counter).fit()
    with pytest.raises(TrainingError, match="monitor: the validator gives val_other, not"):
        Trainer(
            open_dataset(settings),
            settings,
            run,
            validator=lambda model, dataset: {"val_other": 0.0},
            watcher=counter,
        ).fit()
    assert counter.steps == 0 and not run.history()


def test_the_remaining_time_counts_the_epochs_of_this_process_alone(settings, monkeypatch, caplog):
    caplog.set_level("INFO", "quadlib")
    from quadlib.training import telemetry, trainer

    clock = SimpleNamespace(now=0.0)
    clock.perf_counter = lambda: clock.now
    monkeypatch.setattr(trainer, "time", clock)
    monkeypatch.setattr(telemetry, "time", clock)

    class TenSecondsAnEpoch(Watcher):
        """The last step of an epoch, or any other, takes ten seconds over the epoch's steps."""

        def on_step(self, trainer, step):
            clock.now += 10 / trainer.steps_per_epoch
            if step == die_at:
                raise KeyboardInterrupt

    settings = settings.model_copy(update={"epochs": 4})
    die_at = 2 * 5 + 1
    with pytest.raises(KeyboardInterrupt):
        train(settings, watcher=TenSecondsAnEpoch())
    die_at = 0
    train(settings, watcher=TenSecondsAnEpoch())
    said = re.findall(r"epoch +(\d)/4 .*~(\d+) s left", caplog.text)
    assert said == [("1", "30"), ("2", "20"), ("3", "10"), ("4", "0")]


def test_the_record_names_the_formats_of_the_files_of_lines(settings):
    run, *_ = train(settings.model_copy(update={"epochs": 1}))
    assert run.record["formats"] == {"history.jsonl": 2, "timings.jsonl": 2}


def test_a_setting_younger_than_the_checkpoint_had_its_default_then(settings):
    """A run of an earlier quadlib goes on, instead of being taken for one of other settings."""
    run, trainer, _ = train(settings.model_copy(update={"epochs": 3}))
    path = run.checkpoints / "latest_model.pth"
    content = load_checkpoint(path)
    for name in ("loss", "model"):
        del content["settings"][name]
    save_checkpoint(content, path)
    assert train(settings)[2].epochs == 3


def test_pairs_of_one_session_may_count_neither_way(settings):
    run, trainer, _ = train(settings.model_copy(update={"same_session": "ignore"}))
    steps = [line for line in run.history() if line["kind"] == "step"]
    assert all(math.isfinite(line["fused"]) and "floor" not in line for line in steps)
    batch = trainer.dataset.__getitems__([0, 1, 2, 3, 30])
    assert batch.sessions.tolist() == [0, 0, 0, 1, 10]
    rows = unit(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)))
    value = trainer.objective(
        Embeddings(rows, rows[:, None].expand(5, 4, 8), batch.present.float()),
        batch.labels,
        batch.present,
        batch.sessions,
    )
    expected = trainer.objective.contrast(rows, batch.labels, ignore=batch.sessions)
    assert value.fused == expected
