"""A run goes on from its last save, within an epoch too, with all that it held: or says what is
missing.
"""

from __future__ import annotations

import json
import shutil
from itertools import count
from pathlib import Path

import pytest

from quadlib.evaluation import KnnValidator
from quadlib.files import FileError, write_text
from quadlib.runs import Run, lines_text, read_lines
from quadlib.training import pace
from quadlib.training.checkpoint import (
    BEST,
    LATEST,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from quadlib.training.pace import Pace
from quadlib.training.restore import open_dataset
from quadlib.training.trainer import Trainer
from tests.training.conftest import settings_of
from tests.training.test_trainer import CountSteps, DieAt, final_state, train


@pytest.fixture(scope="module")
def expected(features, tmp_path_factory):
    """The end of the run that nobody disturbs."""
    return final_state(train(settings_of(features, tmp_path_factory.mktemp("whole")))[0])


@pytest.fixture(scope="module")
def after_two_epochs(features, tmp_path_factory):
    """The folder of a run that was killed within its third epoch."""
    settings = settings_of(features, tmp_path_factory.mktemp("two"))
    die(settings, 14)
    return Run.open("r", settings.outputs).folder


@pytest.fixture
def killed(after_two_epochs, settings):
    """A copy of it where the settings look for it."""
    return Run(Path(shutil.copytree(after_two_epochs, Path(settings.outputs, "r"))))


@pytest.fixture
def broken(settings):
    """The settings of a run that is saved after every second step."""
    return settings.model_copy(update={"checkpoint_every_steps": 2})


def die(settings, step):
    with pytest.raises(KeyboardInterrupt):
        train(settings, watcher=DieAt(step))


@pytest.mark.parametrize("step", [3, 7, 14])
def test_killed_within_an_epoch_it_loses_no_more_than_since_the_last_save(broken, expected, step):
    die(broken, step)
    run, trainer, _ = train(broken, watcher=(counter := CountSteps()))
    assert final_state(run) == expected
    assert counter.steps <= trainer.step - step + 2


def test_killed_while_it_validates_it_has_the_steps_of_the_epoch(broken, expected):
    calls = count()

    class Dies(KnnValidator):
        def __call__(self, model, dataset):
            if next(calls) == 1:  # the first one is a trial
                raise KeyboardInterrupt
            return super().__call__(model, dataset)

    broken = broken.model_copy(update={"checkpoint_every_steps": 1})
    trainer = Trainer(open_dataset(broken), broken, Run.create(broken), validator=Dies(broken))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    run, trainer, _ = train(broken, watcher=(counter := CountSteps()))
    assert final_state(run) == expected
    assert counter.steps == trainer.step - len(trainer.batches)


def test_where_latest_is_missing_it_goes_on_from_best_and_says_so(
    settings, killed, expected, caplog
):
    (killed.checkpoints / LATEST).unlink()
    assert killed.trained
    run, _, result = train(settings)
    assert final_state(run) == expected and result.epochs == 3
    assert "latest_model.pth is missing: going on from best_model.pth, of epoch" in caplog.text


def test_where_best_is_missing_it_says_so(settings, killed, caplog):
    (killed.checkpoints / BEST).unlink()
    train(settings)
    assert "is missing: there is none to evaluate until an epoch is better" in caplog.text


def delete(path):
    path.unlink()


def shorten(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def behead(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


def change(path):
    path.write_text(path.read_text().replace("0.", "1.", 1))


@pytest.mark.parametrize("name", ["history.jsonl", "timings.jsonl"])
@pytest.mark.parametrize("harm", [delete, shorten, behead, change])
def test_lines_that_are_not_what_was_written_are_refused(settings, killed, harm, name):
    harm(killed.path(name))
    with pytest.raises((CheckpointError, FileError), match=name):
        train(settings)


def test_lines_that_a_killed_save_added_are_dropped(settings, killed, expected):
    lines = killed.history()
    write_text(killed.path("history.jsonl"), lines_text([*lines, lines[-1] | {"epoch": 3}]))
    assert final_state(train(settings)[0]) == expected


def test_a_run_of_an_earlier_version_goes_on(settings, killed, expected):
    """Its checkpoint knows nothing of its lines, which have no seals."""
    for name in ("history.jsonl", "timings.jsonl"):
        lines = read_lines(killed.path(name))
        write_text(killed.path(name), "".join(json.dumps(line) + "\n" for line in lines))
    path = killed.checkpoints / LATEST
    content = load_checkpoint(path)
    del content["lines"]
    save_checkpoint(content, path)
    assert final_state(train(settings)[0]) == expected


def test_what_a_killed_writer_left_is_removed(settings, killed):
    names = ["history.jsonl", "run.json", f"checkpoints/{LATEST}", "timings.jsonl"]
    rests = [killed.path(name).with_name(f".{Path(name).name}.0123.tmp") for name in names]
    for rest in rests:
        rest.write_text("half")
    train(settings)
    assert not [rest for rest in rests if rest.exists()]


def test_saves_by_time_take_a_hundredth_of_it(settings, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    paced = Pace(settings)
    for cost, wait in ((0.1, 60.0), (0.7, 70.0), (2.0, 200.0)):
        with paced.saving(1):
            now[0] += cost
        now[0] += wait - 0.01
        assert not paced.due(2)
        now[0] += 0.02
        assert paced.due(2)
    off = Pace(settings.model_copy(update={"checkpoint_every_seconds": 0.0}))
    now[0] += 1e6
    assert not off.due(2)
