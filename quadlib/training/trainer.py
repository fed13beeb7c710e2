"""The training loop: load, set the rate, forward, backward, clip, step, log; then validate, save
the best, save the latest.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from quadlib.config import SettingsError, TrainSettings
from quadlib.data.batches import SplitBatches
from quadlib.data.dataset import Batch, QuadDataset, ahead, by_workers, make_loader
from quadlib.model.quad import build_model, freeze
from quadlib.runs import Run
from quadlib.training import ranks, step
from quadlib.training.apart import check_rows_apart
from quadlib.training.best import HIGHER_IS_BETTER, keep_epoch, kept_value, validate
from quadlib.training.collapse import RESTART_RATE, FirstWeights, heed_collapse
from quadlib.training.device import (
    amp_dtype,
    choose_device,
    global_generators_kept,
)
from quadlib.training.errors import TrainingError as TrainingError
from quadlib.training.events import Watcher as Watcher
from quadlib.training.followed import FollowedRun
from quadlib.training.joining import joined
from quadlib.training.names import check_codes
from quadlib.training.objective import QuadObjective
from quadlib.training.optimiser import build_optimiser, learning_rate_factor
from quadlib.training.pace import Pace
from quadlib.training.refit import begin_refit, figures_before
from quadlib.training.state import (
    facts_of,
    foreign_model,
    note_stop,
    record_start,
    remove_leftovers,
    resume_run,
    save_part,
)
from quadlib.training.stopping import FitResult as FitResult
from quadlib.training.stopping import first_signals
from quadlib.training.telemetry import (
    Stopwatch,
    batch_facts,
    debug_line,
    epoch_line,
    epoch_record,
    finite,
    followed_modules,
    gradient_norms,
    keep_lines,
    patience_line,
    update_ratios,
    weights_of,
)
from quadlib.training.trial import try_two_batches
from quadlib.training.trust import own_progress, set_trust

log = logging.getLogger(__name__)
Validator = Callable[[nn.Module, QuadDataset], dict[str, float]]


class Trainer:
    """Trains on the train split and leaves latest_model.pth, best_model.pth and history.jsonl in
    the run folder: the same seed gives the same weights and history on one machine, bit for bit,
    interrupted and resumed or not.

    Args:
        dataset: recordings with their splits, as `open_dataset` gives them.
        settings: everything that defines the run.
        run: the run folder to write into, as `Run.create` gives it.
        validator: called as validator(model, dataset) after every epoch, and once before the first;
            returns figures named val_...; without one the best epoch is that of the lowest loss.
        watcher: a Watcher, or several, that look on.
        model: a module that takes a Batch and returns Embeddings, instead of the one that
            settings.model names. Such a run is restored with `restore(run, model=...)`; a model
            that is registered (register_model) and named in the settings needs nothing.

    Raises:
        SettingsError: a code in `allow` is unknown.
        DeviceError: the device is not there.
        SamplerError: the train split cannot be divided into the batches asked for.

    Example:
        >>> from quadlib import KnnValidator, Run, Trainer, log_to_stdout, open_dataset
        >>> from quadlib.config import TrainSettings
        >>> settings = TrainSettings(source="mfeat", run="digits", outputs="outputs", epochs=1)
        >>> validator = KnnValidator(settings)
        >>> trainer = Trainer(open_dataset(settings), settings, Run.create(settings),
        ...                   validator=validator)
        >>> log_to_stdout()
        >>> trainer.fit().monitor  # doctest: +ELLIPSIS
        epoch   1/1  fused ...
        'val_macro_f1'
    """

    def __init__(
        self,
        dataset: QuadDataset,
        settings: TrainSettings,
        run: Run,
        *,
        validator: Validator | None = None,
        watcher: Watcher | Sequence[Watcher] = (),
        model: nn.Module | None = None,
    ) -> None:
        check_codes(settings)
        if settings.fault and run.record.get("fault") != settings.fault:
            raise SettingsError(
                f"fault: a trainer does not inject {settings.fault}; make it by "
                "quadlib.faults.lab.make_trainer, or leave the setting out"
            )
        self.dataset, self.settings, self.validator = dataset, settings, validator
        self.run = run if ranks.first() else FollowedRun(run.folder)
        self.watchers = [watcher] if isinstance(watcher, Watcher) else list(watcher)
        self.device = ranks.own_device(choose_device(settings.device))
        table = dataset.table
        self.batches = SplitBatches(table, settings)
        self.foreign_model = foreign_model(model, dataset, settings, run)
        self.model = (model if model is not None else build_model(table, settings)).to(self.device)
        freeze(self.model, settings.freeze)
        check_rows_apart(self.model, settings)
        if settings.compile:
            self.model.compile()
        self.objective = QuadObjective(
            settings,
            n_classes=len(table.class_names),
            embedding_dim=settings.embedding_dim,
            n_modalities=len(table.modalities),
        ).to(self.device)
        self.optimiser: torch.optim.Optimizer = build_optimiser(
            self.model, self.objective, settings
        )
        self.peak_rates = [group["lr"] for group in self.optimiser.param_groups]
        self.amp_dtype = amp_dtype(settings.amp, self.device)
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.amp_dtype is torch.float16
        )
        self.count_steps()
        self.judged_by_excess = self.objective.bounded and settings.fused_weight > 0
        self.monitor = (
            settings.monitor
            if validator is not None
            else ("excess" if self.judged_by_excess else "loss")
        )
        self.sign = 1.0 if self.monitor in HIGHER_IS_BETTER else -1.0
        # Loop state: all of it is in latest_model.pth.
        self.epoch, self.step, self.steps_before = 0, 0, 0  # the last: before this attempt
        self.restarts, self.began = 0, 0  # after a collapse, and the epoch after which the last was
        self.refit_epochs, self.refit_from = 0, 0  # of a refit, and the epoch it is counted from
        self.best_epoch, self.best_value, self.epochs_without_better = 0, -math.inf, 0
        self.part: dict[str, Any] = {}  # of the epoch that was stopped within, see `save_part`
        self.history: list[dict[str, Any]] = []  # grows in place, and so do the timings
        self.timings: list[dict[str, Any]] = []
        self.pace = Pace(settings)
        self.stop_asked = False
        self.first_weights = FirstWeights(self)

    @property
    def last_epoch(self) -> int:
        """The epoch at which training ends; a restart or a refit begins to count anew."""
        return self.began + (self.refit_epochs or self.settings.epochs)

    def count_steps(self) -> None:
        """Counts the optimiser steps of an epoch and of all of them, which the rate follows."""
        self.steps_per_epoch = math.ceil(len(self.batches) / self.settings.accumulation_steps)
        self.total_steps = self.steps_per_epoch * self.settings.epochs

    def fit(self, resume: str | None = None) -> FitResult:
        """Trains until the last epoch or until `patience` epochs brought nothing better, and then
        anew on train and val where `refit` asks for it; continues an interrupted run by default.

        An interrupt, or `stop()`, ends it after the step, saved as it is, and so do SIGTERM, SIGHUP
        and SIGUSR1, which then do what they would have done; a second one ends it at once.

        More processes, where settings.nproc asks for them, start and end here. All do all of this,
        but the first alone writes, validates and is watched.
        """
        settings, started = self.settings, time.perf_counter()
        self.stop_asked = False
        with (
            first_signals(self.stop),
            self.run.hold(),
            self.run.in_progress(),
            global_generators_kept(),
            joined(self),
        ):
            remove_leftovers(self.run)
            ranks.first_before_others(lambda: resume_run(self, resume or settings.resume))
            ranks.check_same(facts_of(self))
            record_start(self)
            self.pace.begin()
            self._tell("on_start")
            if self.step == 0:
                try_two_batches(self)
                ranks.from_first(lambda: validate(self))
            first = self.epoch - bool(self.part)
            while not self._stops() and (self.part or self._goes_on()):
                self.epoch += not self.part
                record, clock = self._train_epoch()
                if self.part:
                    break
                record |= ranks.from_first(lambda: validate(self))
                clock.lap("validate_seconds")
                keep_epoch(self, record, clock.seconds)
                seconds_an_epoch = (time.perf_counter() - started) / (self.epoch - first)
                remaining = (self.last_epoch - self.epoch) * seconds_an_epoch
                log.info(epoch_line(record, self.last_epoch, self.monitor, remaining))
                self._tell("on_epoch", record)
            stopped = note_stop(self)
            self._tell("on_end")
            result = FitResult(
                self.epoch,
                self.best_epoch,
                self.monitor,
                kept_value(self),
                self.epoch < self.last_epoch,
                time.perf_counter() - started,
                stopped,
            )
            self.run.update(timings={"train_seconds": round(result.seconds, 3)})
        return result

    def stop(self) -> bool:
        """Asks training to end after the step that it is in; False where it was asked before. May
        be called from another thread.
        """
        first, self.stop_asked = not self.stop_asked, True
        return first

    def _stops(self) -> bool:
        """Whether any process was asked to stop, so that all end after the same step."""
        (stops,) = ranks.any_of(self.stop_asked)
        if stops:
            self.stop_asked = True
        return stops

    def _train_epoch(self) -> tuple[dict[str, Any], Stopwatch]:
        settings, count = self.settings, len(self.batches)
        loader = self._begin_epoch()
        parts = followed_modules(self.model, self.objective)
        pending: list[tuple[dict[str, Any], dict[str, Tensor]]] = []
        last_step: dict[str, Any] = self.part.get("last_step", {})  # of the epoch, as is watched
        clock = Stopwatch(self.part.get("seconds", {}))
        for number, batch in enumerate(loader, start=1 + self.part.get("batch", 0)):
            labels = ranks.whole_labels(batch.labels)
            facts = batch_facts(labels, self.objective)
            if settings.debug:
                print(debug_line(labels), flush=True)  # asked for by name, so always shown
            self._tell("on_batch", batch)
            clock.lap("load_seconds")

            # forward and backward; batches that share a step add up their gradients
            rate = self._set_learning_rate()
            value = step.forward(self, batch)
            clock.lap("forward_seconds")
            step.backward(self, value, step.batches_sharing(number, count, settings))
            self.objective.follow(value)
            values = value.terms()

            # clip and step, after the last batch of the step
            steps = number % settings.accumulation_steps == 0 or number == count
            saves = stops = False
            if steps:
                step.unscale(self)
                watched = number == count  # norms and updates of each part, once an epoch
                before, norms = (weights_of(parts), gradient_norms(parts)) if watched else ({}, {})
                values["gradient_norm"] = step.clip(self)
                step.update(self)
                if watched:
                    ratios = finite(update_ratios(parts, before))
                    last_step = {"gradient_norms": finite(norms), "update_ratios": ratios}
                self.step += 1
                facts["learning_rate"] = rate
                self._tell("on_step", self.step)
                self.optimiser.zero_grad(set_to_none=True)
                stops, due = ranks.any_of(self.stop_asked, self.pace.due(self.step))
                saves = stops or due
            clock.lap("backward_seconds")

            # log; reading the values is the one GPU-CPU sync point of the loop
            pending.append(
                ({"epoch": self.epoch, "step": self.step, "batch": number, **facts}, values)
            )
            if saves or number % settings.log_every_steps == 0 or number == count:
                keep_lines(self, pending, number)
            if saves:
                save_part(self, number, clock.seconds, last_step)
            clock.lap()
            if stops and number < count:
                self.stop_asked = True  # perhaps of another process
                return {}, clock
        self.part = {}
        record = epoch_record(self.history, self.epoch, self.step) | last_step
        record |= own_progress(self.objective, self.dataset.modalities)
        record |= {"restarts": self.restarts} if self.restarts else {}
        record |= {"refit": True} if self.refit_epochs else {}
        return record, clock

    def _begin_epoch(self) -> Iterable[Batch]:
        """Everything random in an epoch follows from (seed, epoch): an interrupted run resumes at
        its start, exactly; one that was stopped within it, at the batch that comes next.
        """
        seed, done = self.settings.seed, self.part.get("batch", 0)
        ranks.seed(seed, self.epoch)
        self.batches.set_epoch(self.epoch)
        self.dataset.set_epoch(self.epoch)
        steps_of_run = (self.epoch - 1 - self.began) * self.steps_per_epoch
        self.steps_before = self.step - done // self.settings.accumulation_steps - steps_of_run
        if self.history and not done and self.settings.fusion_trust:
            set_trust(self.model, figures_before(self), self.dataset.modalities)
        step.training_mode(self)
        if done:
            ranks.restore_random(self.part, seed, self.epoch)
        loader = make_loader(
            self.dataset,
            ranks.own_batches(list(self.batches)[done:] if done else self.batches),
            num_workers=self.settings.num_workers,
            seed=seed + self.epoch,
        )
        return by_workers(loader) if self.settings.num_workers else ahead(loader)

    def _set_learning_rate(self) -> float:
        step_of_attempt = self.step - self.steps_before
        factor = learning_rate_factor(step_of_attempt, self.total_steps, self.settings)
        factor *= RESTART_RATE**self.restarts
        for group, peak in zip(self.optimiser.param_groups, self.peak_rates, strict=True):
            group["lr"] = peak * factor
        return self.settings.learning_rate * factor

    def _goes_on(self) -> bool:
        """Whether another epoch follows; a collapsed run begins again or stops, one refits."""
        heed_collapse(self)
        out_of_patience = 0 < self.settings.patience <= self.epochs_without_better
        if self.refit_epochs or (self.epoch < self.last_epoch and not out_of_patience):
            return self.epoch < self.last_epoch
        if out_of_patience:
            log.info(patience_line(self.monitor, self.settings.patience, self.best_epoch))
        return begin_refit(self)

    def _tell(self, event: str, *details: Any) -> None:
        if ranks.first():
            with ranks.alone():  # the others do not look on
                for watcher in self.watchers:
                    getattr(watcher, event)(self, *details)
