"""Training without a notebook: `python -m quadlib.train -p source=mfeat`, in one process or, as
`torchrun --nproc-per-node 2 -m quadlib.train -p source=mfeat`, in several that share each batch.
"""

from __future__ import annotations

import os
import sys

import typer

from quadlib import log_to_stdout
from quadlib.cli_data import Parameters, Preset
from quadlib.config import SettingsError, TrainSettings, read_options
from quadlib.evaluation import KnnValidator
from quadlib.runs import Run, RunError
from quadlib.runs.commands import notebook_command
from quadlib.runs.memory import going_on, recall
from quadlib.terminal import say
from quadlib.training import ranks
from quadlib.training.errors import TrainingError
from quadlib.training.names import unknown_codes
from quadlib.training.other_process import say_nothing
from quadlib.training.restore import open_dataset
from quadlib.training.trainer import Trainer
from quadlib.training.watcher import DoctorWatcher


def train(parameter: Parameters = None, preset: Preset = None) -> None:
    """Train a model on its own or, started by torchrun, in several processes. The run folder is
    that of `quadlib run 02_train`, without its page; with -p run=NAME the same command goes on
    where it stopped.
    """
    values = read_options(TrainSettings, parameter, preset)
    started = os.environ.get("WORLD_SIZE", "1")
    if started != "1" and values.setdefault("nproc", started) != started:
        raise SettingsError(
            f"nproc: {values['nproc']!r} given, but torchrun started {started} processes; leave it "
            "out"
        )
    settings = recall(TrainSettings, values, unknown_codes(values))
    ranks.join()
    if not ranks.first():
        say_nothing()
        settings = settings.model_copy(update={"debug": False})
    elif before := going_on(settings):
        say(before)
    run = Run(ranks.from_first(lambda: Run.create(settings).folder))
    if ranks.first():
        say(f"training in {run.folder}")
    trainer = ranks.first_before_others(
        lambda: Trainer(
            open_dataset(settings),
            settings,
            run,
            validator=KnnValidator(settings),
            watcher=DoctorWatcher(),
        )
    )
    result = trainer.fit()
    if ranks.first() and not result.stopped:
        say(f"epoch {result.best_epoch} is kept, {result.monitor} {result.best_value:.3f}")
        say(f"evaluate it: {notebook_command('04_evaluate', run)}")


def main() -> None:
    """Runs the command; what ends it badly is said once, by the process that knows of it, and an
    error that nobody expected with its traceback.
    """
    log_to_stdout()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(train)
    try:
        app(prog_name="python -m quadlib.train")
    except Exception as error:
        if not type(error).__module__.startswith("quadlib."):
            raise
        number = int(os.environ.get("RANK", "0"))
        # what is wrong with settings or training is so in every process
        if number == 0 or not isinstance(error, SettingsError | RunError | TrainingError):
            who = f"process {number + 1} of {os.environ['WORLD_SIZE']}: " if number else ""
            say(f"{who}{error}", err=True)
        sys.exit(2 if isinstance(error, SettingsError | RunError) else 1)


if __name__ == "__main__":
    main()
