"""What an epoch costs, and how long a run takes to 95 % of its final score, beside the loops that
people write: `make bench-epochs`, ten minutes on two cores.

The same model, optimiser, rate and augmentation throughout, on simulated welds, validated alike
after every epoch; seconds are those of training alone, checkpoints and telemetry included where a
loop has them. Then what our loop costs over the bare steps on the same batches, and what `compile`
and `amp` are worth.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import lightning
import numpy as np
import torch
from pytorch_metric_learning.losses import SupConLoss as PeerLoss
from pytorch_metric_learning.samplers import MPerClassSampler
from torch.utils.data import BatchSampler, RandomSampler

from quadlib import KnnValidator, Run, Trainer, open_dataset
from quadlib.config import TrainSettings
from quadlib.data.batches import SplitBatches
from quadlib.data.dataset import Batch, QuadDataset, make_loader
from quadlib.data.decoding.job import Job, decode
from quadlib.data.decoding.workers import WorkerPool
from quadlib.data.store.cache import open_entry
from quadlib.data.store.contents import Contents
from quadlib.data.store.order import Order
from quadlib.files import outputs_folder
from quadlib.model.quad import build_model
from quadlib.registry import LOSSES
from quadlib.training import step
from quadlib.training.events import Watcher
from quadlib.training.objective import QuadObjective
from quadlib.training.optimiser import build_optimiser, learning_rate_factor

SHARE_OF_FINAL = 0.95
LOSSES.register("peer", lambda settings, n_classes, dim: PeerLoss(settings.temperature))


class Course(Watcher):
    """After every epoch, the seconds that were trained so far, and the score."""

    def __init__(self, name: str, dataset: QuadDataset, settings: TrainSettings) -> None:
        self.name, self.dataset, self.validator = name, dataset, KnnValidator(settings)
        self.seconds: list[float] = []
        self.scores: list[float] = []
        self.began = time.perf_counter()

    def note(self, model: torch.nn.Module) -> None:
        """An epoch is over: what it took, and what the model is worth now."""
        self.seconds.append(time.perf_counter() - self.began)
        training = model.training
        self.scores.append(self.validator(model, self.dataset)["val_macro_f1"])
        model.train(training)
        self.began = time.perf_counter()

    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        """Of our own trainer, which has validated already."""
        timing = trainer.timings[-1]
        self.seconds.append(time.perf_counter() - self.began - timing["validate_seconds"])
        self.scores.append(record["val_macro_f1"])
        self.began = time.perf_counter()

    def on_start(self, trainer: Trainer) -> None:
        """What comes before the first step is no part of an epoch."""
        self.began = time.perf_counter()

    def seconds_to(self, score: float) -> float | None:
        """Seconds of training until this score was first reached."""
        reached = [number for number, value in enumerate(self.scores, start=1) if value >= score]
        return sum(self.seconds[: reached[0]]) if reached else None


class FromFiles:
    """In the place of a stored array: every recording is read from its files at each look."""

    def __init__(self, jobs: dict[int, Job], stored: np.ndarray) -> None:
        self.jobs, self.shape, self.dtype = jobs, stored.shape[1:], stored.dtype

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        array = np.zeros((len(rows), *self.shape), self.dtype)
        for place, row in enumerate(rows.tolist()):
            if row in self.jobs:
                array[place] = decode(self.jobs[row]).array
        return array


def decoding(dataset: QuadDataset, settings: TrainSettings) -> QuadDataset:
    """The same recordings without a store."""
    root, table, arcs = outputs_folder(settings.outputs) / "store", dataset.table, None
    contents, arrays = Contents(root), dict(dataset.store.arrays)
    with WorkerPool() as pool:
        for name in ("sensor", "video", "image", "audio"):
            entry = open_entry(root, table, name, settings, arcs, pool, contents)
            files = [[str(table.root / part) for part in parts] for parts in table.files(name)]
            windows = arcs if arcs and name in ("video", "audio") else [None] * len(table)
            order = Order(table, name, settings, files, list(windows), contents, pool)
            arrays[name] = FromFiles(order.jobs, dataset.store.arrays[name])
            arcs = entry.arcs or arcs
    store = replace(dataset.store, arrays=arrays)
    return QuadDataset(store, dataset.normaliser, augment=dataset.augment, seed=dataset.seed)


class Parts:
    """What a loop has in its hands: model, objective and optimiser, as ours builds them."""

    def __init__(self, dataset: QuadDataset, settings: TrainSettings, steps: int) -> None:
        table = dataset.table
        self.settings, self.device, self.amp_dtype = settings, torch.device("cpu"), None
        self.model = build_model(table, settings)
        self.objective = QuadObjective(
            settings, len(table.class_names), settings.embedding_dim, len(table.modalities)
        )
        self.optimiser = build_optimiser(self.model, self.objective, settings)
        self.scaler = torch.amp.GradScaler("cpu", enabled=False)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, lambda done: learning_rate_factor(done, steps, settings)
        )


def loop(course: Course, dataset: QuadDataset, batches: Iterable, settings: TrainSettings) -> None:
    """The plain loop over a DataLoader of two processes."""
    torch.manual_seed(settings.seed)
    parts = Parts(dataset, settings, len(batches) * settings.epochs)
    parts.model.train()
    course.began = time.perf_counter()
    for epoch in range(1, settings.epochs + 1):
        dataset.set_epoch(epoch)
        for batch in make_loader(dataset, batches, num_workers=2, seed=epoch):
            value = step.forward(parts, batch)
            parts.optimiser.zero_grad()
            value.total.backward()
            parts.objective.follow(value)
            torch.nn.utils.clip_grad_norm_(parts.model.parameters(), settings.clip_norm)
            parts.optimiser.step()
            parts.schedule.step()
        course.note(parts.model)


class Module(lightning.LightningModule):
    """The same parts under Lightning."""

    def __init__(self, parts: Parts, course: Course, dataset: QuadDataset) -> None:
        super().__init__()
        self.parts, self.course, self.dataset = parts, course, dataset
        self.model, self.objective = parts.model, parts.objective

    def on_train_epoch_start(self) -> None:
        self.dataset.set_epoch(self.current_epoch + 1)
        self.trainer.train_dataloader.batch_sampler.set_epoch(self.current_epoch + 1)

    def training_step(self, batch: Batch, number: int) -> torch.Tensor:
        value = step.forward(self.parts, batch)
        self.objective.follow(value)
        self.log("loss", value.total, batch_size=len(batch))
        return value.total

    def on_train_epoch_end(self) -> None:
        self.course.note(self.model)

    def configure_optimizers(self) -> dict[str, Any]:
        schedule = {"scheduler": self.parts.schedule, "interval": "step"}
        return {"optimizer": self.parts.optimiser, "lr_scheduler": schedule}


def under_lightning(course: Course, dataset: QuadDataset, settings: TrainSettings) -> None:
    """Lightning with our store, loader and sampler; a checkpoint an epoch, as it does unasked."""
    batches = SplitBatches(dataset.table, settings)
    parts = Parts(dataset, settings, len(batches) * settings.epochs)
    trainer = lightning.Trainer(
        max_epochs=settings.epochs,
        accelerator="cpu",
        gradient_clip_val=settings.clip_norm,
        default_root_dir=settings.outputs,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        log_every_n_steps=settings.log_every_steps,
    )
    course.began = time.perf_counter()
    trainer.fit(Module(parts, course, dataset), make_loader(dataset, batches, num_workers=0))


def ours(course: Course, dataset: QuadDataset, settings: TrainSettings) -> None:
    """Our trainer."""
    settings = settings.model_copy(update={"run": f"ours{time.time_ns()}"})
    validator = KnnValidator(settings)
    Trainer(dataset, settings, Run.create(settings), validator=validator, watcher=course).fit()


def print_courses(settings: TrainSettings) -> None:
    """Runs every loop in turn and prints the table."""
    dataset = open_dataset(settings)
    table = dataset.table
    rows, codes = table.rows("train"), table.codes[table.rows("train")]
    size = settings.batch_size
    raw = decoding(dataset, settings)
    shuffled = [rows[i] for i in BatchSampler(RandomSampler(range(len(rows))), size, True)]
    steps = len(shuffled)

    class Shuffled:
        def __len__(self) -> int:
            return steps

        def __iter__(self):
            order = BatchSampler(RandomSampler(range(len(rows))), size, drop_last=True)
            return (rows[places].tolist() for places in order)

    class PerClass(Shuffled):
        sampler = MPerClassSampler(codes, m=4, batch_size=size, length_before_new_iter=steps * size)

        def __iter__(self):
            return (rows[places].tolist() for places in BatchSampler(self.sampler, size, True))

    peer = settings.model_copy(update={"loss": "peer"})
    courses = {
        "quadlib": lambda course: ours(course, dataset, settings),
        "Lightning, our store, sampler and loss": lambda course: under_lightning(
            course, dataset, settings
        ),
        "plain loop that decodes, shuffled": lambda course: loop(course, raw, Shuffled(), settings),
        "plain loop that decodes, PML's loss and sampler": lambda course: loop(
            course, raw, PerClass(), peer
        ),
    }
    ran = []
    for name, run in courses.items():
        course = Course(name, dataset, settings)
        run(course)
        ran.append(course)
    mine = ran[0]
    bar = SHARE_OF_FINAL * statistics.median(mine.scores[-3:])
    print(
        f"{len(rows)} recordings, {settings.epochs} epochs, {torch.get_num_threads()} thread(s), "
        f"load {os.getloadavg()[0]:.1f}; 95 % of our final macro-F1 is {bar:.3f}"
    )
    for course in ran:
        epoch = statistics.median(course.seconds)
        times = epoch / statistics.median(mine.seconds)
        there = course.seconds_to(bar)
        print(
            f"  {course.name:<50} {epoch:7.2f} s an epoch ({times:5.1f}x)"
            f"  {'never' if there is None else f'{there:7.1f} s'} to it"
            f"  final {statistics.median(course.scores[-3:]):.3f}"
        )


def print_overheads(settings: TrainSettings, rounds: int) -> None:
    """Prints what our loop costs over bare steps on batches that are ready, and what compile and
    amp are worth in such a step.
    """
    dataset = open_dataset(settings)
    variants = {
        "plain": {},
        "compile": {"compile": True},
        "amp bfloat16": {"amp": "bfloat16"},
    }
    trainers = {
        name: Trainer(dataset, changed, Run.create(changed))
        for name, change in variants.items()
        if (changed := settings.model_copy(update={"run": f"{name}{time.time_ns()}", **change}))
    }
    bare = trainers["plain"]
    bare.batches.set_epoch(1)
    ready = [dataset.__getitems__(rows) for rows in bare.batches]
    for name, trainer in trainers.items():
        began = time.perf_counter()
        step.take_step(trainer, ready[:1])
        print(f"  {name}: first step {time.perf_counter() - began:.1f} s", flush=True)
    times: dict[str, list[float]] = {name: [] for name in [*trainers, "our loop"]}
    looped = settings.model_copy(update={"run": f"loop{time.time_ns()}"})
    trainer = Trainer(dataset, looped, Run.create(looped))
    trainer.epoch = 1
    for _ in range(rounds):
        for name, other in trainers.items():
            began = time.perf_counter()
            for batch in ready:
                step.take_step(other, [batch])
            times[name].append(time.perf_counter() - began)
        began = time.perf_counter()
        trainer._train_epoch()
        times["our loop"].append(time.perf_counter() - began)
    plain = times["plain"]
    for name, seconds in times.items():
        ratios = [mine / theirs for mine, theirs in zip(seconds, plain, strict=True)]
        print(
            f"  {name:<14} {statistics.median(seconds):.3f} s for {len(ready)} steps, "
            f"{statistics.median(ratios):.2f} of plain steps on ready batches"
        )


def main() -> None:
    """Prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--size", default="demo")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=("courses", "overheads"))
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for source in ("weldsim", "mfeat"):
            settings = TrainSettings(
                source=source,
                size=given.size,
                outputs=folder,
                epochs=given.epochs,
                patience=0,
                log_every_steps=1000,
            )
            if given.only != "courses":
                print(f"{source}: our loop beside its bare steps")
                print_overheads(settings, given.rounds)
            if given.only != "overheads" and source == "weldsim":
                print_courses(settings)


if __name__ == "__main__":
    main()
