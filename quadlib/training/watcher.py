"""Hands our own pipeline to the diagnosis: a trainer before, during and after training, or a
finished run folder.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from quadlib.data.dataset import Batch, QuadDataset, make_loader
from quadlib.diagnosis import Diagnosis, Subject, diagnose
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import Phase
from quadlib.diagnosis.report import finding_text
from quadlib.files import write_record
from quadlib.training import step
from quadlib.training.checkpoint import load_weights
from quadlib.training.restore import Restored
from quadlib.training.trainer import Trainer, TrainingError, Watcher

log = logging.getLogger(__name__)


def subject_of(trainer: Trainer, **parts: Any) -> Subject:
    """The trainer's pipeline as a subject: what it trains on, with what, and what it has recorded
    so far.
    """

    loader = make_loader(trainer.dataset, trainer.batches, seed=trainer.settings.seed)
    usual: dict[str, Any] = {
        "table": trainer.dataset.table,
        "batch_sampler": trainer.batches,
        "loader": loader,
        "model": trainer.model,
        "loss": trainer.objective.contrast,
        "bounded": trainer.objective.bounded,
        "optimizer": trainer.optimiser,
        "scaler": trainer.scaler if trainer.scaler.is_enabled() else None,
        "settings": trainer.settings,
        "history": trainer.history or None,
        # one batch stands for all that share a step: the mean of their gradients is its own
        "train_step": lambda batch: step.take_step(trainer, [batch]),
        "name": trainer.run.name,
    }
    return Subject(**{**usual, **parts})


def subject_of_run(restored: Restored) -> Subject:
    """A finished or interrupted run as a subject, its weights and optimiser as they were saved."""
    settings, content = restored.settings, restored.checkpoint
    dataset = QuadDataset(
        restored.dataset.store,
        restored.dataset.normaliser,
        augment=settings.augment,
        seed=settings.seed,
    )
    trainer = Trainer(dataset, settings, restored.run, model=restored.model)
    load_weights(trainer.objective, content["objective"], restored.run.checkpoints)
    trainer.optimiser.load_state_dict(content["optimiser"])
    return subject_of(
        trainer, history=restored.run.history() or None, checkpoint=content, run=restored.run.folder
    )


def diagnose_run(restored: Restored, *, deep: bool = False) -> Diagnosis:
    """Examines a restored run and leaves diagnosis.json in its folder."""
    diagnosis = diagnose(restored.subject or subject_of_run(restored), deep=deep)
    write_record(restored.run.path("diagnosis.json"), "diagnosis", diagnosis.to_dict())
    return diagnosis


class DoctorWatcher(Watcher):
    """Examines a run while it trains: before the first step, at the first batch with a few trial
    steps, every epoch, and at the end.

    Every finding is said once, as text (a note in one line), and kept in `findings` with the step
    at which it arose; `diagnosis`, and diagnosis.json in the run folder, hold all of them under
    their roots. An error before the first step stops the run with TrainingError, unless its code is
    in settings.allow or refuse is False. The run itself is not touched: its history and weights are
    those of a run without a watcher, bit for bit. Epochs are examined within 1 % of the time that
    training takes. parts: what the subject has besides the trainer, as `subject_of` takes it.
    """

    MOST_SHARE = 0.01

    def __init__(
        self,
        *,
        refuse: bool = True,
        parts: Mapping[str, Any] | None = None,
        say: Callable[[str], None] = log.warning,
    ) -> None:
        self.refuse, self.parts, self.say = refuse, parts if parts is not None else {}, say
        self.findings: list[Finding] = []
        self.diagnosis = Diagnosis((), (), ())
        self.seconds_watching, self._last_look, self._epochs_began, self._batch_examined = (
            0.0,
            0.0,
            0.0,
            False,
        )

    @property
    def alarms(self) -> list[Finding]:
        """The findings that are no notes, each with the step at which it arose."""
        return [item for item in self.findings if item.severity != "note"]

    def on_start(self, trainer: Trainer) -> None:
        self._examine(trainer, ("before",))
        wrong = [
            root
            for root in self.diagnosis.roots
            if root.severity == "error" and root.code not in trainer.settings.allow
        ]
        if wrong and self.refuse:
            codes = ", ".join(root.code for root in wrong)
            raise TrainingError(
                "\n\n".join(finding_text(root) for root in wrong)
                + "\n\nTraining was not started. Fix this, or set "
                f"allow={[root.code for root in wrong]} to train with {codes} anyway"
            )
        self._epochs_began = time.perf_counter()

    def on_batch(self, trainer: Trainer, batch: Batch) -> None:
        if not self._batch_examined:
            self._batch_examined = True
            self._examine(trainer, ("batch", "steps"))
            self._epochs_began = time.perf_counter()

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        started = time.perf_counter()
        if self.seconds_watching + self._last_look > self.MOST_SHARE * (
            started - self._epochs_began
        ):
            return
        read: dict[str, Any] = {
            "table": trainer.dataset.table,
            "settings": trainer.settings,
            "history": trainer.history,
            "bounded": trainer.objective.bounded,
        }
        read |= {name: part for name, part in self.parts.items() if name in read}
        self._take(trainer, diagnose(Subject(**read, name=trainer.run.name), phases=("epoch",)))
        self._last_look = time.perf_counter() - started
        self.seconds_watching += self._last_look

    def on_end(self, trainer: Trainer) -> None:
        self._examine(trainer, ("epoch",), run=trainer.run.folder)

    def _examine(self, trainer: Trainer, phases: tuple[Phase, ...], **parts: Any) -> None:
        # copies of the sampler: the trainer may be in the midst of iterating its own
        batches = copy.deepcopy(trainer.batches)
        copies = {
            "batch_sampler": batches,
            "loader": make_loader(trainer.dataset, batches, seed=trainer.settings.seed),
        }
        self._take(
            trainer,
            diagnose(subject_of(trainer, **{**copies, **parts, **self.parts}), phases=phases),
        )

    def _take(self, trainer: Trainer, latest: Diagnosis) -> None:
        known = {(item.code, item.scope) for item in self.findings}
        fresh = [
            replace(item.alone(), step=trainer.step if item.step is None else item.step)
            for item in latest.findings
            if (item.code, item.scope) not in known
        ]
        self.findings += fresh
        self.diagnosis = self.diagnosis | replace(latest, roots=tuple(fresh))
        new = {(item.code, item.scope) for item in fresh}
        for root in self.diagnosis.roots:
            if (root.code, root.scope) in new:
                self.say(
                    f"note[{root.code}]: {root.title}"
                    if root.severity == "note"
                    else f"\n{finding_text(root)}\n"
                )
            else:
                for item in root.folded:
                    if (item.code, item.scope) in new:
                        self.say(
                            f"step {trainer.step}: {item.title} ({item.code}, as {root.code} "
                            "predicts)"
                        )
        if trainer.run.folder.is_dir():
            write_record(trainer.run.path("diagnosis.json"), "diagnosis", self.diagnosis.to_dict())
