"""A loss from outside the package, in one file: trained, resumed, diagnosed, evaluated."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from quadlib.config import TrainSettings, read_settings
from quadlib.evaluation import KnnValidator
from quadlib.evaluation.evaluate import evaluate
from quadlib.figures.training import loss_curve
from quadlib.figures.verdicts import judge_training
from quadlib.jupyter.cells import embedded_batch
from quadlib.registry import LOSSES
from quadlib.runs import Run
from quadlib.training.checkpoint import load_checkpoint
from quadlib.training.restore import open_dataset, restore
from quadlib.training.trainer import Trainer, TrainingError, Watcher
from quadlib.training.watcher import DoctorWatcher, diagnose_run

OUTSIDE = Path(__file__).parent / "outside"


@pytest.fixture(scope="module", autouse=True)
def proxy_anchor():
    """The module is imported, as a notebook would do it; nothing else makes its loss known."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(OUTSIDE)
        patch.delitem(__import__("sys").modules, "proxy_anchor", raising=False)
        import proxy_anchor

        yield proxy_anchor
    del LOSSES._entries["proxy_anchor"]


def settings_of(tmp_path, **changes):
    values = {
        "source": "mfeat",
        "outputs": str(tmp_path),
        "run": "proxies",
        "loss": "proxy_anchor",
        "epochs": 3,
        "width": 32,
        "embedding_dim": 32,
        "device": "cpu",
    }
    return read_settings(TrainSettings, {**values, **changes})


def trainer_of(settings, watcher=()):
    run = Run.create(settings)
    validator = KnnValidator(settings)
    return Trainer(open_dataset(settings), settings, run, validator=validator, watcher=watcher)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, proxy_anchor):
    doctor = DoctorWatcher(say=lambda text: None)
    trainer = trainer_of(settings_of(tmp_path_factory.mktemp("outputs")), doctor)
    start = trainer.objective.contrast.proxies.detach().clone()
    trainer.fit()
    return trainer, start, doctor


def test_the_value_is_that_of_the_formula(proxy_anchor):
    """Kim et al. 2020, equation 4, written out proxy by proxy."""
    torch.manual_seed(0)
    loss = proxy_anchor.ProxyAnchor(3, 5).requires_grad_(False)
    rows, labels = torch.randn(6, 5), [0, 0, 1, 1, 1, 0]
    cosine = nn.functional.cosine_similarity
    pull = push = 0.0
    for proxy in range(3):
        values = [float(cosine(row, loss.proxies[proxy], dim=0)) for row in rows]
        mine = [v for v, label in zip(values, labels, strict=True) if label == proxy]
        others = [v for v, label in zip(values, labels, strict=True) if label != proxy]
        pull += math.log(1 + sum(math.exp(-32 * (v - 0.1)) for v in mine))
        push += math.log(1 + sum(math.exp(32 * (v + 0.1)) for v in others))
    assert loss(rows, torch.tensor(labels)).item() == pytest.approx(pull / 2 + push / 3, rel=1e-5)


def test_it_learns_and_nothing_is_said_of_bounds_that_it_has_not(trained):
    trainer, start, _ = trained
    history = trainer.run.history()
    epochs = [line for line in history if line["kind"] == "epoch"]
    assert epochs[-1]["loss"] < epochs[0]["loss"] and epochs[-1]["val_macro_f1"] > 0.8
    for line in history:
        assert not {"floor", "collapse", "progress", "excess", "val_excess"} & set(line)
    verdict = judge_training(history, 3)
    assert verdict.level == "fine" and "it declares no bounds" in verdict.sentence
    assert "collapse" not in str(verdict.numbers)
    assert "This loss declares no bounds" in loss_curve(history).layout.meta["caption"]


def test_its_parameters_reach_optimiser_and_checkpoint(trained):
    trainer, start, _ = trained
    proxies = trainer.objective.contrast.proxies
    [group] = [g for g in trainer.optimiser.param_groups if g["name"] == "objective"]
    assert [id(p) for p in group["params"]] == [id(proxies)]
    assert not torch.equal(proxies, start)
    content = load_checkpoint(trainer.run.checkpoints / "latest_model.pth")
    assert torch.equal(content["objective"]["contrast.proxies"], proxies)


def test_interrupted_and_resumed_is_the_uninterrupted_run(trained, tmp_path):
    class Die(Watcher):
        def on_step(self, trainer, step):
            if trainer.epoch == 2:
                raise KeyboardInterrupt

    settings = settings_of(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        trainer_of(settings, Die()).fit()
    torch.manual_seed(99)  # the proxies start from the seed of the settings, whatever this is
    again = trainer_of(settings)
    again.fit()
    whole = trained[0]
    for name in ("model", "objective"):
        for key, value in getattr(whole, name).state_dict().items():
            assert torch.equal(value, getattr(again, name).state_dict()[key]), key
    assert again.run.path("history.jsonl").read_bytes() == (
        whole.run.path("history.jsonl").read_bytes()
    )


def test_it_is_evaluated_and_diagnosed(trained):
    trainer, _, doctor = trained
    evaluation = evaluate(trainer.run)
    assert evaluation.scores["macro_f1"].value > 0.8
    diagnosis = diagnose_run(restore(trainer.run, "latest"))
    for judged in (diagnosis, doctor.diagnosis):
        assert judged.ok, judged.to_text(facts=False)
        reasons = {name.split(" ")[0]: reason for name, reason in judged.not_run}
        for code in ("QL-P10", "QL-P11", "QL-P17"):
            assert "declares no bounds" in reasons[code], (code, reasons)
    batch = embedded_batch(restore(trainer.run))
    assert batch.floor is None and batch.plateau is None and batch.loss > 0


def test_a_monitor_that_needs_bounds_is_refused_before_the_first_step(tmp_path):
    settings = settings_of(tmp_path, monitor="val_excess")
    with pytest.raises(TrainingError, match="monitor: the validator gives .*not 'val_excess'"):
        trainer_of(settings).fit()
    settings = settings_of(tmp_path, run="unvalidated", epochs=1)
    trainer = Trainer(open_dataset(settings), settings, Run.create(settings))
    assert trainer.monitor == "loss"
