"""The refit: val tells how long, then it is trained on; test never is."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from quadlib.config import EvaluateSettings
from quadlib.evaluation import KnnValidator
from quadlib.evaluation.evaluate import evaluate
from quadlib.figures.verdicts import judge_training
from quadlib.runs import Run
from quadlib.training.checkpoint import CheckpointError, load_checkpoint
from quadlib.training.events import Watcher
from quadlib.training.restore import open_dataset, restore
from quadlib.training.trainer import Trainer


class Watched(Watcher):
    """Which recordings each epoch trains on, and the rate at its first step."""

    def __init__(self, die_at: int = 0) -> None:
        self.die_at, self.rows, self.rates = die_at, {}, {}

    def on_batch(self, trainer, batch):
        self.rows.setdefault(trainer.epoch, set()).update(batch.index.tolist())

    def on_step(self, trainer, step):
        rate = trainer.optimiser.param_groups[0]["lr"]
        self.rates.setdefault(trainer.epoch, []).append(rate)
        if step == self.die_at:
            raise KeyboardInterrupt


def fit(settings, watcher=(), **changes):
    settings = settings.model_copy(update={"refit": True, **changes})
    dataset, run = open_dataset(settings), Run.create(settings)
    trainer = Trainer(dataset, settings, run, validator=KnnValidator(settings), watcher=watcher)
    return run, trainer, trainer.fit()


def test_val_is_in_the_refit_and_test_never_is(settings):
    watched = Watched()
    run, trainer, result = fit(settings, watched)
    before = open_dataset(settings).table
    train, val, test = (set(before.rows(split).tolist()) for split in ("train", "val", "test"))
    refitted = set().union(*(rows for epoch, rows in watched.rows.items() if epoch > 3))
    assert watched.rows[1] == train
    assert refitted == train | val
    assert not test & set().union(*watched.rows.values())
    assert set(trainer.dataset.table.rows("test").tolist()) == test
    epochs = [line for line in run.history() if line["kind"] == "epoch"]
    best = [line["epoch"] for line in epochs if line["best"] and "refit" not in line][-1]
    refits = [line for line in epochs if line.get("refit")]
    assert len(refits) == best == result.best_epoch
    assert [line["best"] for line in refits] == [False] * (best - 1) + [True]
    assert "val_macro_f1" not in refits[-1]


def test_the_rate_follows_the_same_schedule(settings):
    """By epochs: there are more steps in one of the refit, since it has more recordings."""
    watched = Watched()
    fit(settings, watched, epochs=4, warmup_steps=0)
    one_pass = np.array([rates[0] for epoch, rates in watched.rates.items() if epoch <= 4])
    refit = np.array([rates[0] for epoch, rates in watched.rates.items() if epoch > 4])
    assert refit == pytest.approx(one_pass[: len(refit)], rel=0.15)
    assert refit[0] == one_pass[0] == settings.learning_rate


def test_the_scale_is_that_of_train_and_val(settings):
    run, _, _ = fit(settings)
    restored = restore(run)
    table, store = restored.dataset.table, restored.dataset.store
    rows = table.rows("train")
    middle = restored.dataset.normaliser.middles["a"][0]
    assert middle == pytest.approx(np.median(store.arrays["a"][rows], axis=0), abs=1e-5)
    inputs = restored.dataset.normaliser.apply("a", store.arrays["a"][rows])
    assert inputs.mean(axis=0) == pytest.approx(0, abs=1e-4)
    assert not len(table.rows("val"))


def test_best_model_is_the_refit_and_the_record_says_when(settings):
    run, _, result = fit(settings)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == [
        "best_model.pth",
        "latest_model.pth",
    ]
    best, latest = (
        load_checkpoint(run.checkpoints / f"{name}_model.pth") for name in ("best", "latest")
    )
    assert best["epoch"] == latest["epoch"] and best["refit_epochs"] == result.best_epoch
    assert all(torch.equal(best["model"][name], latest["model"][name]) for name in best["model"])
    record = run.record["refit"]
    assert record["began"] > run.record["created"]
    assert record["epochs"] == result.best_epoch and record["value"] == result.best_value
    assert record["recordings"] == len(open_dataset(settings).table) - run.record["splits"]["test"]


def test_evaluation_searches_among_all_it_was_refitted_on(settings):
    run, _, _ = fit(settings)
    evaluation = evaluate(run, EvaluateSettings(resamples=0))
    assert evaluation.n_gallery == run.record["refit"]["recordings"]
    assert evaluation.n_queries == run.record["splits"]["test"]


def test_the_record_says_when_test_was_scored_and_notes_other_weights(settings):
    run, _, _ = fit(settings, refit=False)
    first = evaluate(run, EvaluateSettings(resamples=0))
    again = evaluate(run, EvaluateSettings(resamples=0))
    evaluate(run, EvaluateSettings(resamples=0, eval_split="val"))
    run, _, _ = fit(settings)
    refitted = evaluate(run, EvaluateSettings(resamples=0))
    scored = run.record["test_scored"]
    assert [line["refit"] for line in scored] == [False, False, True]
    assert sorted(line["at"] for line in scored) == [line["at"] for line in scored]
    said = [
        any("scored before" in note for note in item.notes) for item in (first, again, refitted)
    ]
    assert said == [False, False, True]


def digest(run):
    sha = hashlib.sha256(run.path("history.jsonl").read_bytes())
    for name, tensor in load_checkpoint(run.checkpoints / "best_model.pth")["model"].items():
        sha.update(name.encode() + tensor.numpy().tobytes())
    return sha.hexdigest()


@pytest.mark.parametrize("point", [7, 16, 19, 23])
def test_interrupted_and_resumed_is_the_uninterrupted_run(settings, point):
    undisturbed = digest(fit(settings)[0])
    with pytest.raises(KeyboardInterrupt):
        fit(settings, Watched(point), run="broken")
    torch.manual_seed(99)
    assert digest(fit(settings, run="broken")[0]) == undisturbed


def test_until_its_end_best_model_is_the_one_that_was_best_on_val(settings):
    with pytest.raises(KeyboardInterrupt):
        fit(settings, Watched(17))
    run = Run.open("r", settings.outputs)
    restored = restore(run)
    assert not restored.checkpoint["refit_epochs"] and len(restored.dataset.table.rows("val"))


def test_a_finished_run_may_be_refitted_later_but_not_the_other_way(settings):
    at_once = digest(fit(settings)[0])
    fit(settings, refit=False, run="later")
    assert digest(fit(settings, run="later")[0]) == at_once
    with pytest.raises(CheckpointError, match="refit: it has begun"):
        fit(settings, refit=False, run="later")


def test_the_verdict_judges_what_val_saw_and_names_the_refit(settings):
    run, _, result = fit(settings)
    verdict = judge_training(run.history(), 3)
    assert (
        f"in epoch {result.best_epoch}, which was kept; trained to epoch 3 of 3" in verdict.sentence
    )
    assert verdict.notes == (
        f"best_model.pth was trained anew on train and val for {result.best_epoch} epochs, which "
        "were best on val; no recording is left that could judge it before test.",
    )
