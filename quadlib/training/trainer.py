"""The training loop: set the rate, forward, backward, clip, step, log; then validate, save the
best, save the latest.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from quadlib.config import TrainSettings
from quadlib.data.batches import SplitBatches
from quadlib.data.dataset import Batch, QuadDataset, make_loader
from quadlib.files import write_text
from quadlib.model.quad import QuadModel, freeze
from quadlib.runs import Run, lines_text, read_lines
from quadlib.training.checkpoint import (
    BEST,
    LATEST,
    CheckpointError,
    load_checkpoint,
    load_weights,
    remove_leftovers,
    save_checkpoint,
)
from quadlib.training.device import amp_dtype, choose_device, seed_everything
from quadlib.training.objective import ObjectiveValue, QuadObjective
from quadlib.training.optimiser import build_optimiser, learning_rate_factor
from quadlib.training.telemetry import (
    batch_facts,
    debug_line,
    epoch_means,
    followed_modules,
    gradient_norms,
    place,
    update_ratios,
    weights_of,
)

Validator = Callable[[nn.Module, QuadDataset], dict[str, float]]

# Settings that may differ between the two halves of an interrupted run without changing its result.
FREE_TO_CHANGE = (
    "run",
    "outputs",
    "path",
    "num_workers",
    "log_every_steps",
    "resume",
    "debug",
    "device",
    "allow",
)


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message names what was seen and a way out."""


class Watcher:
    """What looks on while a run trains; every method may be left as it is. Nothing here may change
    the run.
    """

    def on_start(self, trainer: Trainer) -> None:
        """Before the first step, everything built and, when resuming, restored."""

    def on_batch(self, trainer: Trainer, batch: Batch) -> None:
        """A batch is about to be embedded."""

    def on_step(self, trainer: Trainer, step: int) -> None:
        """The optimiser has stepped; gradients are still there."""

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """An epoch was trained, validated and saved; `record` is its line of the history."""

    def on_end(self, trainer: Trainer) -> None:
        """Training has ended, early or not."""


@dataclass(frozen=True)
class FitResult:
    """How training ended: epochs done, the best epoch and its monitor value, and whether it stopped
    before the last epoch.
    """

    epochs: int
    best_epoch: int
    monitor: str
    best_value: float
    stopped_early: bool
    seconds: float


class Trainer:
    """Trains a QuadModel on the train split; leaves latest_model.pth, best_model.pth and
    history.jsonl in the run folder.

    The same seed gives the same history and weights, bit for bit, on one machine; so does a run
    that was interrupted and resumed. `validator(model, dataset)` returns figures named val_...;
    `watcher` is one Watcher or several. Raises TrainingError.
    """

    def __init__(
        self,
        dataset: QuadDataset,
        settings: TrainSettings,
        run: Run,
        *,
        validator: Validator | None = None,
        watcher: Watcher | Sequence[Watcher] = (),
        model: QuadModel | None = None,
    ) -> None:
        self.dataset, self.settings, self.run, self.validator = dataset, settings, run, validator
        self.watchers = [watcher] if isinstance(watcher, Watcher) else list(watcher)
        self.device = choose_device(settings.device)
        table = dataset.table
        self.batches = SplitBatches(table, settings)
        self.model = (model or QuadModel.from_table(table, settings)).to(self.device)
        self.frozen = freeze(self.model, settings.freeze)
        self.objective = QuadObjective(
            settings, n_classes=len(table.class_names), embedding_dim=settings.embedding_dim
        ).to(self.device)
        self.optimiser = build_optimiser(self.model, self.objective, settings)
        self.peak_rates = [group["lr"] for group in self.optimiser.param_groups]
        self.amp_dtype = amp_dtype(settings.amp, self.device)
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.amp_dtype is torch.float16
        )
        self.steps_per_epoch = math.ceil(len(self.batches) / settings.accumulation_steps)
        self.total_steps = self.steps_per_epoch * settings.epochs
        self.monitor = (
            settings.monitor
            if validator is not None
            else ("excess" if settings.fused_weight > 0 else "loss")
        )
        self.sign = 1.0 if self.monitor in ("val_macro_f1", "val_map_at_r") else -1.0
        # Loop state: all of it is in latest_model.pth.
        self.epoch, self.step = 0, 0
        self.best_epoch, self.best_value, self.epochs_without_better = 0, -math.inf, 0
        self.history: list[dict[str, Any]] = []

    def fit(self, resume: str | None = None) -> FitResult:
        """Trains until the last epoch or until `patience` epochs brought nothing better; continues
        an interrupted run by default.
        """
        settings, started = self.settings, time.perf_counter()
        with (
            self.run.hold(),
            self.run.in_progress(),
            torch.random.fork_rng(devices=range(torch.cuda.device_count())),
        ):
            remove_leftovers(self.run.checkpoints)
            self._resume(resume or settings.resume)
            self._record_start()
            self._tell("on_start")
            if self.step == 0:
                self._try_two_batches()
            while self.epoch < settings.epochs and not self._out_of_patience():
                self.epoch += 1
                record, timing = self._train_epoch()
                tick = time.perf_counter()
                record.update(self._validate())
                timing["validate_seconds"] = time.perf_counter() - tick
                self._save(record, timing)
                self._print_epoch(record, time.perf_counter() - started)
                self._tell("on_epoch", record)
            self._tell("on_end")
            result = FitResult(
                self.epoch,
                self.best_epoch,
                self.monitor,
                self.sign * self.best_value,
                self.epoch < settings.epochs,
                time.perf_counter() - started,
            )
            self.run.update(timings={"train_seconds": round(result.seconds, 3)})
        return result

    def _train_epoch(self) -> tuple[dict[str, Any], dict[str, float]]:
        settings = self.settings
        # Everything random in this epoch follows from (seed, epoch): an interrupted run resumes at
        # its start, exactly.
        seed_everything(settings.seed, self.epoch)
        self.batches.set_epoch(self.epoch)
        self.dataset.set_epoch(self.epoch)
        loader = iter(
            make_loader(
                self.dataset,
                self.batches,
                num_workers=settings.num_workers,
                seed=settings.seed + self.epoch,
            )
        )
        self.model.train()
        self.objective.train()
        parts = followed_modules(self.model, self.objective)
        pending: list[tuple[dict[str, Any], dict[str, Tensor]]] = []
        timing = Counter[str]()
        count = len(self.batches)
        for number in range(1, count + 1):
            tick = time.perf_counter()
            batch = next(loader)
            facts = batch_facts(batch.labels, settings.temperature)
            if settings.debug:
                print(debug_line(batch.labels), flush=True)
            self._tell("on_batch", batch)
            last_of_step = number % settings.accumulation_steps == 0 or number == count
            # batches that share this optimiser step: the last step of an epoch may have fewer
            sharing = min(
                settings.accumulation_steps,
                count - (number - 1) // settings.accumulation_steps * settings.accumulation_steps,
            )
            loaded = time.perf_counter()

            with torch.autocast(
                self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None
            ):
                embeddings = self.model(batch.to(self.device))
            value = self.objective(
                embeddings, batch.labels.to(self.device), batch.present.to(self.device)
            )
            forwarded = time.perf_counter()
            self.scaler.scale(value.total / sharing).backward()
            values = {
                name: part.detach() for name, part in value._asdict().items() if part is not None
            }
            if last_of_step:
                rate = self._set_learning_rate()
                self.scaler.unscale_(self.optimiser)
                watched = number == count
                before = weights_of(parts) if watched else {}
                norms = gradient_norms(parts) if watched else {}
                values["gradient_norm"] = nn.utils.clip_grad_norm_(
                    self._parameters(), settings.clip_norm or math.inf
                )
                self.scaler.step(self.optimiser)
                self.scaler.update()
                ratios = update_ratios(parts, before) if watched else {}
                self.step += 1
                facts["learning_rate"] = rate
                self._tell("on_step", self.step)
                self.optimiser.zero_grad(set_to_none=True)
            # the clock does not wait for a GPU: there, its work shows up where the next sync point
            # is
            timing.update(
                load_seconds=loaded - tick,
                forward_seconds=forwarded - loaded,
                backward_seconds=time.perf_counter() - forwarded,
            )  # type: ignore[call-overload]
            pending.append(
                ({"epoch": self.epoch, "step": self.step, "batch": number, **facts}, values)
            )
            if number % settings.log_every_steps == 0 or number == count:
                self._log_steps(pending, number)  # the one GPU-CPU sync point of the loop
        steps = [
            line for line in self.history if line["kind"] == "step" and line["epoch"] == self.epoch
        ]
        record = {
            "kind": "epoch",
            "epoch": self.epoch,
            "step": self.step,
            **epoch_means(steps),
            "gradient_norms": {name: float(norm) for name, norm in norms.items()},
            "update_ratios": {name: float(ratio) for name, ratio in ratios.items()},
        }
        return record, dict(timing)

    def _set_learning_rate(self) -> float:
        factor = learning_rate_factor(self.step, self.total_steps, self.settings)
        for group, peak in zip(self.optimiser.param_groups, self.peak_rates, strict=True):
            group["lr"] = peak * factor
        return self.settings.learning_rate * factor

    def _log_steps(
        self, pending: list[tuple[dict[str, Any], dict[str, Tensor]]], number: int
    ) -> None:
        for facts, values in pending:
            figures = {
                ("loss" if name == "total" else name): float(value)
                for name, value in values.items()
            }
            if not math.isfinite(figures.get("gradient_norm", 0.0)) and self.scaler.is_enabled():
                figures.pop(
                    "gradient_norm"
                )  # a step that the scaler skipped, as it does while it finds its scale
            wrong = {name: figure for name, figure in figures.items() if not math.isfinite(figure)}
            if wrong:
                settings = self.settings
                raise TrainingError(
                    f"epoch {facts['epoch']}, batch {facts['batch']}: {wrong}; the last checkpoint "
                    f"is whole. Lower learning_rate ({settings.learning_rate:g}), raise "
                    f"warmup_steps ({settings.warmup_steps}), or set amp ({settings.amp}) to off"
                )
            facts["progress"] = place(figures["fused"], facts) if "fused" in figures else None
            self.history.append({"kind": "step", **facts, **figures})
        pending.clear()
        if number < len(self.batches):
            progress = (
                f"epoch {self.epoch:3d}/{self.settings.epochs}  batch "
                f"{number:4d}/{len(self.batches)}"
            )
            print(f"{progress}  loss {self.history[-1]['loss']:.4f}", flush=True)

    def _validate(self) -> dict[str, float]:
        if self.validator is None:
            return {}
        figures = self.validator(self.model, self.dataset)
        if self.monitor not in figures:
            raise TrainingError(
                f"monitor: the validator gives {', '.join(figures) or 'nothing'}, not "
                f"{self.monitor!r}; choose one of them"
            )
        return figures

    def _save(self, record: dict[str, Any], timing: dict[str, float]) -> None:
        if self.monitor not in record:
            raise TrainingError(
                f"monitor {self.monitor!r} has no value: no batch of epoch {self.epoch} holds a "
                f"positive pair; raise min_per_class ({self.settings.min_per_class}) or batch_size "
                f"({self.settings.batch_size})"
            )
        value = self.sign * record[self.monitor]
        # Of equal epochs the later one is kept: scores saturate on few recordings while embeddings
        # still improve.
        best, better = value >= self.best_value or self.best_epoch == 0, value > self.best_value
        record["best"] = best
        self.epochs_without_better = 0 if better else self.epochs_without_better + 1
        if best:
            self.best_epoch, self.best_value = self.epoch, value
        self.history.append(record)
        # History first, best next, latest last: latest claims what the others hold, so a kill in
        # between loses nothing.
        write_text(self.run.path("history.jsonl"), lines_text(self.history))
        timings = [
            line
            for line in read_lines(self.run.path("timings.jsonl"))
            if line["epoch"] < self.epoch
        ]
        write_text(
            self.run.path("timings.jsonl"), lines_text([*timings, {"epoch": self.epoch, **timing}])
        )
        content = self._content()
        if best:
            save_checkpoint(self.run.checkpoints / BEST, content)
        save_checkpoint(self.run.checkpoints / LATEST, content)

    def _content(self) -> dict[str, Any]:
        table = self.dataset.table
        return {
            "settings": self.settings.model_dump(),
            "model": self.model.state_dict(),
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "normaliser": self.dataset.normaliser.state_dict(),
            "class_names": list(table.class_names),
            "modalities": {
                name: [spec.kind, list(spec.shape)] for name, spec in table.modalities.items()
            },
            "fingerprint": table.fingerprint,
            "epoch": self.epoch,
            "step": self.step,
            "monitor": self.monitor,
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "epochs_without_better": self.epochs_without_better,
        }

    def _resume(self, resume: str) -> None:
        path = self.run.checkpoints / LATEST
        if resume == "never" or (resume == "auto" and not path.exists()):
            return
        content = load_checkpoint(path)
        was, now = content["settings"], self.settings.model_dump()
        changed = [
            f"{name}: {was.get(name)!r} then, {now[name]!r} now"
            for name in now
            if name not in FREE_TO_CHANGE and was.get(name) != now[name]
        ]
        if content["fingerprint"] != self.dataset.table.fingerprint:
            changed.append("the recordings, their labels or their splits")
        if changed:
            raise CheckpointError(
                f"{path} is of other settings; "
                "resuming would mix two runs. Choose "
                "a new run, or resume='never':\n" + "\n".join(f"  {line}" for line in changed)
            )
        load_weights(self.model, content["model"], path)
        load_weights(self.objective, content["objective"], path)
        self.optimiser.load_state_dict(content["optimiser"])
        self.scaler.load_state_dict(content["scaler"])
        for name in ("epoch", "step", "best_epoch", "best_value", "epochs_without_better"):
            setattr(self, name, content[name])
        self.history = [line for line in self.run.history() if line["epoch"] <= self.epoch]
        print(
            f"resuming {self.run.name} after epoch {self.epoch} of {self.settings.epochs}",
            flush=True,
        )

    def _record_start(self) -> None:
        table = self.dataset.table
        self.run.update(
            settings=self.settings.model_dump(),
            seed=self.settings.seed,
            device=str(self.device),
            source=table.name,
            fingerprint=table.fingerprint,
            class_names=list(table.class_names),
            threads=torch.get_num_threads(),
            splits=dict(Counter(table.frame["split"])),
        )

    def _try_two_batches(self) -> None:
        """Embeds, differentiates and validates two batches before the first step, so that a wrong
        setting fails in seconds.
        """
        seed_everything(self.settings.seed, 0)
        for number, rows in enumerate(self.batches):
            if number == 2:
                break
            batch = self.dataset.__getitems__(rows).to(self.device)
            value: ObjectiveValue = self.objective(self.model(batch), batch.labels, batch.present)
            if not torch.isfinite(value.total):
                raise TrainingError(
                    f"the loss of batch {number + 1} is {float(value.total)} before any step; look "
                    "for values that are not finite in the recordings: quadlib data check"
                )
            value.total.backward()
        self.optimiser.zero_grad(set_to_none=True)

    def _out_of_patience(self) -> bool:
        return 0 < self.settings.patience <= self.epochs_without_better

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimiser.param_groups for parameter in group["params"]]

    def _tell(self, event: str, *details: Any) -> None:
        for watcher in self.watchers:
            getattr(watcher, event)(self, *details)

    def _print_epoch(self, record: dict[str, Any], seconds: float) -> None:
        done = sum(1 for line in self.history if line["kind"] == "epoch")
        left = seconds / max(done, 1) * (self.settings.epochs - self.epoch)
        place = (
            f"fused {record['fused']:.3f} (floor {record['floor']:.3f}, collapse "
            f"{record['collapse']:.3f})"
            if "fused" in record and "floor" in record
            else f"loss {record['loss']:.4f}"
        )
        score = f"  {self.monitor} {record[self.monitor]:.3f}"
        best = " best" if record["best"] else ""
        print(
            f"epoch {self.epoch:3d}/{self.settings.epochs}  {place}{score}{best}  ~{left:.0f} s "
            "left",
            flush=True,
        )
