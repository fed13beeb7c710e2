"""A run that lies on its plateau: seen, begun again, and the same when it was interrupted."""

from __future__ import annotations

import hashlib

import pytest
import torch

from quadlib.evaluation import KnnValidator
from quadlib.runs import Run
from quadlib.training import collapse
from quadlib.training.checkpoint import load_checkpoint
from quadlib.training.events import Watcher
from quadlib.training.restore import open_dataset
from quadlib.training.trainer import Trainer, TrainingError


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch):
    """Epochs of five steps: two of them are enough here."""
    monkeypatch.setattr(collapse, "PLATEAU_STEPS", 10)


def trainer_of(settings, watcher=(), **changes):
    settings = settings.model_copy(update=changes)
    return Trainer(
        open_dataset(settings),
        settings,
        Run.create(settings),
        validator=KnnValidator(settings),
        watcher=watcher,
    )


class Flatten(Watcher):
    """Makes every embedding one point, as a rate that is too high does, until the first restart."""

    def __init__(self, die_at: int = 0) -> None:
        self.die_at = die_at

    def on_step(self, trainer, step):
        if not trainer.restarts:
            with torch.no_grad():
                for head in (trainer.model.fused_head, *trainer.model.modality_heads.values()):
                    head[2].weight.zero_()
                    head[2].bias.fill_(1.0)
        if step == self.die_at:
            raise KeyboardInterrupt


def digest(run):
    sha = hashlib.sha256(run.path("history.jsonl").read_bytes())
    content = load_checkpoint(run.checkpoints / "latest_model.pth")
    for part in ("model", "objective"):
        for name, tensor in content[part].items():
            sha.update(name.encode() + tensor.numpy().tobytes())
    return sha.hexdigest()


def test_a_collapsed_run_begins_again_from_its_first_weights_and_says_so(settings, caplog):
    trainer = trainer_of(settings, Flatten())
    first = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    begun: list[bool] = []

    class Compare(Watcher):
        def on_batch(self, trainer, batch):
            if trainer.restarts and not begun:
                begun.append(
                    all(
                        torch.equal(value, first[name])
                        for name, value in trainer.model.state_dict().items()
                    )
                )

    trainer.watchers.append(Compare())
    result = trainer.fit()
    assert begun == [True] and trainer.restarts == 1
    assert "epoch 3: the embeddings collapsed" in caplog.text
    epochs = [line for line in trainer.run.history() if line["kind"] == "epoch"]
    assert [line.get("restarts", 0) for line in epochs] == [0, 0, 0, 1, 1, 1]
    assert result.epochs == 6 and not result.stopped_early and result.best_epoch > 3
    assert epochs[-1]["progress"] > 0.02
    rates = [
        max(
            line["learning_rate"]
            for line in trainer.run.history()
            if line["kind"] == "step" and part(line)
        )
        for part in (lambda line: line["epoch"] <= 3, lambda line: line["epoch"] > 3)
    ]
    assert rates[1] == pytest.approx(rates[0] / 4)


@pytest.mark.parametrize("point", [13, 15, 16, 18, 22])
def test_a_restarted_run_is_the_same_when_it_was_interrupted(settings, point):
    whole = trainer_of(settings, Flatten())
    whole.fit()
    assert whole.steps_per_epoch == 5 and whole.restarts == 1
    with pytest.raises(KeyboardInterrupt):
        trainer_of(settings, Flatten(point), run="broken").fit()
    again = trainer_of(settings, Flatten(), run="broken")
    again.fit()
    assert digest(again.run) == digest(whole.run) and again.restarts == 1


def test_a_collapse_stops_the_run_or_is_let_be_where_that_is_asked_for(settings):
    with pytest.raises(
        TrainingError, match=r"epoch 3: .*collapsed.*learning_rate=0\.0005, a quart"
    ):
        trainer_of(settings, Flatten(), on_collapse="stop").fit()
    trainer = trainer_of(settings, Flatten(), run="on", on_collapse="continue")
    assert trainer.fit().epochs == 3 and trainer.restarts == 0


def test_short_epochs_are_given_more_of_them(settings, monkeypatch):
    monkeypatch.setattr(collapse, "PLATEAU_STEPS", 40)
    trainer = trainer_of(settings, Flatten(), epochs=7)
    assert trainer.fit().epochs == 7 and trainer.restarts == 0


def test_a_run_that_collapses_at_every_rate_ends(settings):
    class Always(Flatten):
        def on_step(self, trainer, step):
            restarts, trainer.restarts = trainer.restarts, 0
            super().on_step(trainer, step)
            trainer.restarts = restarts

    trainer = trainer_of(settings, Always())
    assert trainer.fit().epochs == 6 and trainer.restarts == 1


@pytest.mark.parametrize("changes", [{}, {"learning_rate": 0.0}, {"fused_weight": 0.0}])
def test_a_run_that_learns_or_cannot_move_is_left_alone(settings, changes):
    trainer = trainer_of(settings, **changes)
    assert trainer.fit().epochs == 3 and trainer.restarts == 0
