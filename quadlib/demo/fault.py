"""A fault live: it is injected, training is tried, and the doctor says why it cannot work."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from quadlib.config import TrainSettings, read_settings
from quadlib.data.dataset import Batch
from quadlib.data.open import open_table
from quadlib.diagnosis import Diagnosis, diagnose
from quadlib.faults.lab import fault_of
from quadlib.faults.pipeline import Pipeline
from quadlib.files import write_record
from quadlib.loss import bounds
from quadlib.reports.execute import execute_notebook, find_notebook
from quadlib.reports.gallery import write_gallery
from quadlib.reports.render import render_outcome
from quadlib.runs import Run
from quadlib.training.objective import ObjectiveValue
from quadlib.training.trainer import Trainer, Watcher
from quadlib.training.watcher import DoctorWatcher

log = logging.getLogger(__name__)

LINES_PER_EPOCH = 6


class LossLine(Watcher):
    """Prints the loss of some steps beside the plateau and the floor of their own batch."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.loss, self.counts = 0.0, np.zeros(0, dtype=np.int64)

    def on_start(self, trainer: Trainer) -> None:
        self.every = max(1, len(trainer.batches) // LINES_PER_EPOCH)
        trainer.objective.register_forward_hook(self._note)

    def _note(self, module: Any, inputs: tuple[Any, ...], value: ObjectiveValue) -> None:
        self.value: Tensor = value.fused.detach()

    def on_batch(self, trainer: Trainer, batch: Batch) -> None:
        self.counts = np.unique(batch.labels.numpy(), return_counts=True)[1]

    def on_step(self, trainer: Trainer, step: int) -> None:
        if step % self.every == 0 or step <= 2:
            size, classes = int(self.counts.sum()), len(self.counts)
            floor = bounds.floor(self.counts, trainer.settings.temperature, kind="counts")
            self.say(
                f"step {step:4d}  loss {float(self.value):8.4f}   plateau ln {size - 1} = "
                f"{bounds.collapse_value(size):.4f}   floor {floor:.4f}   {size} recordings of "
                f"{classes} class{'es' * (classes != 1)}"
            )


def run_fault(
    name: str,
    *,
    source: str = "weldsim",
    size: str = "demo",
    outputs: str = "",
    epochs: int = 2,
    say: Callable[[str], None] = log.info,
) -> int:
    """Injects a fault by its id into the healthy pipeline of a source, trains, diagnoses, and
    reports; returns 1 when the doctor finds something.

    Diagnosis and report stand in a run folder of its own, which 03_diagnose and `quadlib doctor`
    open again with the same fault. Only the fused term is trained, so that the
    value printed is the one that the bounds are of. A fault of what surrounds training (an
    evaluation, a training step of the user's own), or that training has passed already, is examined
    without it. Raises SettingsError for an unknown id.
    """
    fault = fault_of(name)
    settings = read_settings(
        TrainSettings,
        {
            "source": source,
            "size": size,
            "outputs": outputs,
            "epochs": epochs,
            "within_weight": 0.0,
            "cross_weight": 0.0,
            "resume": "never",
            "log_every_steps": 10**6,
        },
    )
    run = Run.create(settings, kind=f"fault-{name}")
    run.update(fault=name, settings=settings.model_dump())  # also where training never starts
    say(
        f"{name}: {fault.title} ({fault.occurrence})\ninjected at stage: {fault.stage}; run "
        f"{run.folder}\n"
    )
    pipeline = Pipeline(open_table(settings), settings, run=run)
    doctor = DoctorWatcher(refuse=False, parts=pipeline.parts, say=say)
    pipeline.watcher = [LossLine(say), doctor]
    fault.inject(pipeline)
    diagnosis = _trained(pipeline, doctor, say) or _examined(pipeline, say)
    say(f"the injected fault was {fault.id}, whose code is {fault.code}")
    say(f"\n{_reported(run, say)}\n{write_gallery(run.folder.parent)}")
    return diagnosis.exit_code


def _trained(
    pipeline: Pipeline, doctor: DoctorWatcher, say: Callable[[str], None]
) -> Diagnosis | None:
    """What the doctor said while the pipeline trained; None where it cannot, or has already."""
    if pipeline.parts or pipeline.trainer.history:
        return None
    try:
        if pipeline.trainer.fit().stopped:
            raise KeyboardInterrupt
    except (
        Exception
    ) as error:  # a fault may break training anywhere, and then the doctor has the word
        say(f"training stopped: {type(error).__name__}: {error}\n")
        return None
    say(f"\n{doctor.diagnosis.headline()}\n{doctor.diagnosis.summary()}")
    return doctor.diagnosis


def _examined(pipeline: Pipeline, say: Callable[[str], None]) -> Diagnosis:
    """The whole examination at once, said and written."""
    diagnosis = diagnose(pipeline.subject())
    write_record(pipeline.run.path("diagnosis.json"), "diagnosis", diagnosis.to_dict())
    say(diagnosis.to_text(facts=False))
    return diagnosis


def _reported(run: Run, say: Callable[[str], None]) -> Path:
    """The page of 03_diagnose on the run."""
    notebook = find_notebook("03_diagnose")
    say("03_diagnose: the report is being made")
    return render_outcome(execute_notebook(notebook, run, {}), notebook, run)
