"""An interrupt ends training after its step; going on gives the run that nobody disturbed."""

from __future__ import annotations

import signal
import subprocess
import threading
import time

import psutil
import pytest
import torch

from quadlib.evaluation import KnnValidator
from quadlib.figures.verdicts import judge_training, where_it_stopped
from quadlib.runs import Run
from quadlib.training.checkpoint import load_checkpoint
from quadlib.training.restore import open_dataset
from quadlib.training.trainer import Trainer, Watcher
from quadlib.training.watcher import DoctorWatcher
from tests.training.test_trainer import CountSteps, final_state, train


class InterruptAt(Watcher):
    """Sends the interrupt that a Jupyter kernel gets, once or more, at steps of the run."""

    def __init__(self, *steps: int, times: int = 1) -> None:
        self.steps, self.times = steps, times

    def on_step(self, trainer: Trainer, step: int) -> None:
        if step in self.steps:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


def steps_an_epoch(settings) -> int:
    return len(Trainer(open_dataset(settings), settings, Run.create(settings)).batches)


@pytest.mark.parametrize(
    ("steps", "options"),
    [
        ((1,), {}),
        ((6,), {}),  # within the second epoch, where fusion_trust was set at its start
        ((7, 9), {}),  # twice
        ((3,), {"accumulation_steps": 2}),  # of two batches each
        ((2,), {"num_workers": 1}),
        ((14,), {"refit": True}),
    ],
)
def test_stopped_and_gone_on_with_is_the_undisturbed_run(settings, steps, options):
    settings = settings.model_copy(update=options)
    whole, _, uninterrupted = train(settings)
    expected = final_state(whole)
    broken = settings.model_copy(update={"run": "broken"})
    for number, _ in enumerate(steps):
        run, trainer, result = train(broken, watcher=InterruptAt(steps[number]))
        assert run.record["status"] == "stopped" and trainer.step == steps[number]
        assert result.stopped == run.record["stopped"] != ""
        torch.manual_seed(99)
    run, _, result = train(broken, watcher=DoctorWatcher(refuse=False))
    assert final_state(run) == expected
    assert (run.record["status"], run.record["stopped"], result.stopped) == ("done", "", "")
    assert result.epochs == uninterrupted.epochs
    assert len((run.path("timings.jsonl")).read_text().splitlines()) == result.epochs


def test_it_says_where_it_stopped_and_what_holds_it(settings, caplog):
    caplog.set_level("INFO", "quadlib")
    count = steps_an_epoch(settings)
    run, trainer, result = train(settings, watcher=InterruptAt(count + 2))
    said = "stopped after epoch 2, step 2; latest_model.pth holds it; "
    assert result.stopped.startswith(said) and result.stopped in caplog.text
    assert load_checkpoint(run.checkpoints / "latest_model.pth")["step"] == trainer.step
    history = run.history()
    assert [line["step"] for line in history if line["kind"] == "step"][-1] == count + 2
    assert history == trainer.history
    verdict = judge_training(history, settings.epochs).noting(*where_it_stopped(run))
    assert "trained to epoch 1 of 3" in verdict.sentence
    assert verdict.notes[-1].startswith("Stopped after epoch 2, step 2; latest_model.pth holds it")


def test_before_the_first_epoch_is_over_nothing_is_judged_as_broken(settings):
    run, *_ = train(settings, watcher=InterruptAt(1))
    verdict = judge_training(run.history(), settings.epochs)
    assert (verdict.level, verdict.sentence) == ("needs attention", "No epoch was completed.")


def test_at_the_end_of_an_epoch_the_whole_epoch_is_kept(settings):
    class AfterTheFirst(Watcher):
        def on_epoch(self, trainer, record):
            signal.raise_signal(signal.SIGINT)

    run, trainer, result = train(settings, watcher=AfterTheFirst())
    assert result.stopped.startswith("stopped after epoch 1; latest_model.pth holds it; ")
    assert trainer.part == {} and len(run.path("timings.jsonl").read_text().splitlines()) == 1


def test_a_second_interrupt_ends_it_at_once(settings):
    before = signal.getsignal(signal.SIGINT)  # ignored where a shell started this behind &
    with pytest.raises(KeyboardInterrupt):
        train(settings, watcher=InterruptAt(2, times=2))
    assert Run.open("r", settings.outputs).record["status"] == "killed"
    assert signal.getsignal(signal.SIGINT) == before


@pytest.fixture
def heard():
    """The signals of a scheduler that reach the handler of the program around training."""
    numbers, before = [], {}
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        before[number] = signal.signal(number, lambda number, frame: numbers.append(number))
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_scheduler_s_signal_is_passed_on_once_the_step_is_saved(settings, heard, number):
    class Tells(Watcher):
        def on_step(self, trainer, step):
            if step == 3:
                signal.raise_signal(number)
                signal.raise_signal(signal.SIGINT)  # says the same again, and is no impatience
                assert heard == []

    run, _, result = train(settings, watcher=Tells())
    assert heard == [number] and result.stopped.startswith("stopped after epoch 1, step 3; ")
    assert load_checkpoint(run.checkpoints / "latest_model.pth")["step"] == 3
    assert run.record["status"] == "stopped"


def test_loading_processes_live_on_until_the_step_is_saved(settings, heard):
    """Where a scheduler tells every process of a job."""

    class TellsAll(Watcher):
        def on_step(self, trainer, step):
            loaders = [str(loader.pid) for loader in psutil.Process().children()]
            subprocess.run(["kill", "-TERM", *loaders], check=True)  # of its parent it ends well
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.5)  # the loader's end would be an error here

    run, _, result = train(settings.model_copy(update={"num_workers": 1}), watcher=TellsAll())
    assert result.stopped.startswith("stopped after epoch 1, step 1; ")
    assert run.record["error"] is None


def test_the_same_signal_again_does_at_once_what_it_would_have_done(settings, heard):
    class Insists(Watcher):
        def on_step(self, trainer, step):
            signal.raise_signal(signal.SIGTERM)
            assert heard == []
            signal.raise_signal(signal.SIGTERM)
            assert heard == [signal.SIGTERM]  # the handler of this test does not end the process

    train(settings, watcher=Insists())


def test_a_hang_up_that_nohup_ignores_stays_ignored(settings):
    class HangsUp(Watcher):
        def on_step(self, trainer, step):
            signal.raise_signal(signal.SIGHUP)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        _, _, result = train(settings.model_copy(update={"epochs": 1}), watcher=HangsUp())
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (result.epochs, result.stopped) == (1, "")


def test_another_thread_may_ask_and_hears_no_interrupts(settings):
    class Asks(Watcher):
        def on_step(self, trainer, step):
            assert trainer.stop() and not trainer.stop()

    stopped = []
    thread = threading.Thread(target=lambda: stopped.append(train(settings, watcher=Asks())[2]))
    thread.start()
    thread.join()
    assert stopped[0].stopped.startswith("stopped after epoch 1, step 1; ")


def test_history_is_there_before_training_and_grows(settings):
    first = Trainer(
        open_dataset(settings), settings, Run.create(settings), validator=KnnValidator(settings)
    )
    history = first.history
    assert history == []
    first.fit()
    assert history == first.run.history() != []
    again = Trainer(
        open_dataset(settings),
        settings,
        first.run,
        validator=KnnValidator(settings),
        watcher=(counter := CountSteps()),
    )
    history = again.history
    again.fit()
    assert history == first.history and counter.steps == 0
