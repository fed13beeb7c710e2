"""The held-out cases: the mistakes of fault_data and fault_training, and healthy pipelines that may
look like them. CASES holds all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from fault_data import FAULTS, Case
from fault_training import saved, with_gaps
from pipelines import QUADRANTS, Digits, QuadrantNet, Quadrants, SignalNet, Signals
from plain import DigitNet, SupCon
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset, WeightedRandomSampler

from quadlib import StratifiedBatchSampler
from quadlib.diagnosis.subject import Subject

HEALTHY: list[Case] = []


def healthy(
    pipeline: str, why: str
) -> Callable[[Callable[[int], Subject]], Callable[[int], Subject]]:
    def enter(build: Callable[[int], Subject]) -> Callable[[int], Subject]:
        HEALTHY.append(
            Case(f"{pipeline}-{build.__name__.replace('_', '-')}", None, pipeline, build, why)
        )
        return build

    return enter


def plainly(pipeline: Any, name: str, why: str, fit: int | None = None, **edits: Any) -> None:
    """Enters a case whose subject is the usual one; fit: epochs trained before, None for none, 0
    for all.
    """

    def build(seed: int) -> Subject:
        made = pipeline(seed, **edits)
        return (made if fit is None else made.fit(fit)).subject()

    HEALTHY.append(Case(f"{pipeline.name}-{name}", None, pipeline.name, build, why))


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
        )
        nn.init.zeros_(next(self.branch[-1].parameters()))

    def forward(self, maps: Tensor) -> Tensor:
        return functional.relu(maps + self.branch(maps))


class ResidualNet(DigitNet):
    def __init__(self) -> None:
        super().__init__()
        self.encoder.insert(7, Residual(32))
        for layer in self.head.modules():
            if isinstance(layer, nn.Linear):
                nn.init.zeros_(layer.bias)


class SharedNet(QuadrantNet):
    def __init__(self) -> None:
        super().__init__()
        shared = self.encoder()
        self.encoders = nn.ModuleDict(dict.fromkeys(QUADRANTS, shared))


class ReluEnd(QuadrantNet):
    def __init__(self) -> None:
        super().__init__()
        self.head.append(nn.ReLU())


class NTXent(SupCon):
    """Two views of a sample are its only positives; labels are kept for the evaluation alone."""

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(features, None)


def rarer_and_rarer(self: Any) -> None:
    Digits.divide(self)
    share = np.geomspace(1, 0.1, 10)[self.labels[self.train_rows].numpy()]
    self.train_rows = self.train_rows[self.rng.random(len(self.train_rows)) < share]


def threes_and_eights(self: Any) -> None:
    Digits.read(self)
    kept = (self.labels == 3) | (self.labels == 8)
    self.images, self.labels = self.images[kept], self.labels[kept]


def few_rows(self: Any) -> None:
    Digits.divide(self)
    self.train_rows = self.train_rows[:190]


def one_over(self: Any) -> None:
    Digits.divide(self)
    self.train_rows = self.train_rows[: 64 * 19 + 1]


def standardised(self: Any) -> None:
    Digits.read(self)
    self.images = (self.images - 0.485) / 0.229


def noise_for_one(self: Any) -> None:
    Quadrants.read(self)
    self.archive["br"] = {
        name: self.rng.integers(0, 17, (4, 4)).astype(float) for name in self.archive["br"]
    }


def one_blurred(self: Any) -> None:
    Quadrants.read(self)
    self.archive["bl"] = {
        name: np.full((4, 4), image.mean()) + self.rng.normal(size=(4, 4))
        for name, image in self.archive["bl"].items()
    }


def one_writer_held_out(self: Any) -> None:
    held = self.table["group"].to_numpy() == 7
    self.train_rows, self.val_rows = np.flatnonzero(~held), np.flatnonzero(held)


def balanced_by_weight(self: Any) -> None:
    common = self.table["label"].to_numpy()[self.train_rows] < "5"
    self.train_rows = self.train_rows[common | (self.rng.random(len(common)) < 0.2)]
    Signals.make_loader(self)
    codes = self.codes[self.train_rows]
    sampler = WeightedRandomSampler(
        (1 / np.bincount(codes)[codes]).tolist(), len(codes), replacement=True
    )
    self.loader = DataLoader(self.loader.dataset, batch_size=32, sampler=sampler, drop_last=True)


plainly(Digits, "before-training", "as it is")
plainly(Digits, "after-four-epochs", "half trained", fit=4)
plainly(Digits, "to-the-end", "the cosine has reached 0", fit=0)
plainly(Digits, "small-batch", "16 a batch, two views", fit=2, batch_size=16, learning_rate=0.01)
plainly(
    Digits,
    "other-base-temperature",
    "values are 0.1 / 0.07 of the usual",
    fit=0,
    make_loss=lambda self: setattr(self, "loss", SupCon(0.1, base_temperature=0.07)),
)
plainly(
    Digits,
    "without-labels",
    "SimCLR: two views, labels unused",
    fit=0,
    temperature=0.2,
    make_loss=lambda self: setattr(self, "loss", NTXent(0.2)),
)
plainly(Digits, "lower-rate", "SGD at 1e-2 with momentum", fit=0, learning_rate=0.01)
plainly(Digits, "one-over-dropped", "N mod B = 1, drop_last", fit=2, divide=one_over)
plainly(
    Digits, "ten-to-one", "class sizes from 1 to 1/10", fit=0, divide=rarer_and_rarer, epochs=24
)
plainly(Digits, "two-classes", "threes and eights", fit=0, read=threes_and_eights)
plainly(Digits, "two-workers", "augmentation by torch in two workers", workers=2)
plainly(
    Digits,
    "batch-over-half",
    "128 of 190 rows a batch",
    fit=60,
    divide=few_rows,
    batch_size=128,
    epochs=60,
)
plainly(Digits, "standardised", "inputs from -2.1 to 2.2", fit=4, read=standardised)
plainly(
    Digits,
    "zero-residual-gain",
    "a residual branch with its gain at 0, biases at 0",
    net=ResidualNet,
)
plainly(Digits, "zero-residual-gain-trained", "the same, trained", fit=4, net=ResidualNet)
plainly(Quadrants, "before-training", "as it is")
plainly(Quadrants, "after-two-epochs", "early", fit=2)
plainly(Quadrants, "to-the-end", "long past the floor's reach: class collapse", fit=16)
plainly(
    Quadrants, "gaps", "a fifth of three modalities missing, masked", fit=0, make_loader=with_gaps
)
plainly(Quadrants, "one-uninformative", "one modality is noise", fit=0, read=noise_for_one)
plainly(Quadrants, "unequal", "one modality tells little", fit=4, read=one_blurred)
plainly(Quadrants, "shared-encoder", "one encoder for all quadrants", fit=4, net=SharedNet)
plainly(Quadrants, "relu-end", "embeddings in the positive cone", fit=4, net=ReluEnd)
plainly(
    Quadrants,
    "one-writer-held-out",
    "about thirty validation rows",
    fit=2,
    divide=one_writer_held_out,
)
plainly(Quadrants, "eight-a-class", "batches of 80", fit=3, per_class=8)
plainly(Signals, "before-training", "as it is")
plainly(Signals, "to-the-end", "near ln(n - 1)", fit=20)
plainly(Signals, "very-easy", "hardly any noise: validation 100 %", fit=0, noise=0.02)
plainly(Signals, "truly-hard", "noise far above the tones", fit=0, noise=2.5)
plainly(
    Signals,
    "deliberate-oversampling",
    "weights draw rare classes again and again",
    fit=4,
    make_loader=balanced_by_weight,
)


@healthy("digits", "a linear probe: the encoder is frozen, and declared so")
def linear_probe(seed: int) -> Subject:
    def make_model(self: Any) -> None:
        self.model = DigitNet()
        self.model.encoder.load_state_dict(Digits(seed).fit(3).model.encoder.state_dict())
        self.model.encoder.requires_grad_(False)
        self.model.head = nn.Linear(512, 32)

    made = Digits(seed, make_model=make_model).fit(4)
    return made.subject(settings={**made.settings(), "frozen": ("encoder",)})


@healthy("digits", "warm-up over 40 steps, from 0 at step 0")
def warm_up(seed: int) -> Subject:
    def make_optimizer(self: Any) -> None:
        Digits.make_optimizer(self)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: min(1.0, step / 40)
        )

    def train_step(self: Any, batch: Any) -> Tensor:
        loss = Digits.train_step(self, batch)
        self.scheduler.step()
        return loss

    made = Digits(
        seed, make_optimizer=make_optimizer, train_step=train_step, after_epoch=lambda self: None
    )
    return made.subject(settings={**made.settings(), "warmup_steps": 40})


@healthy("digits", "four batches are accumulated a step, and declared so")
def accumulated(seed: int) -> Subject:
    def train_step(self: Any, batch: Any) -> Tensor:
        self.model.train()
        self.calls = getattr(self, "calls", 0) + 1
        loss = self.loss(self.embed(self.model, batch), batch[1])
        (loss / 4).backward()
        if self.calls % 4 == 0:
            self.optimizer.step()
            self.optimizer.zero_grad()
        return loss.detach()

    made = Digits(seed, train_step=train_step, batch_size=32).fit(3)
    return made.subject(settings={**made.settings(), "gradient_accumulation_steps": 4})


@healthy("digits", "resumed with model, optimiser, scheduler and random state")
def resumed(seed: int) -> Subject:
    before = Digits(seed).fit(3)
    path = saved(
        {
            "epoch": 3,
            "model": before.model.state_dict(),
            "optimizer": before.optimizer.state_dict(),
            "scheduler": before.scheduler.state_dict(),
            "rng_state": torch.get_rng_state(),
        }
    )
    made, state = Digits(seed), torch.load(path, weights_only=True)
    for part in ("model", "optimizer", "scheduler"):
        getattr(made, part).load_state_dict(state[part])
    torch.set_rng_state(state["rng_state"])
    return made.subject(
        checkpoint=path, history=before.history, settings={**made.settings(), "start_epoch": 3}
    )


@healthy("signals", "weights of nn.DataParallel, the prefix taken off before loading")
def prefix_taken_off(seed: int) -> Subject:
    path = saved(nn.DataParallel(Signals(seed).fit(3).model).state_dict())
    made = Signals(seed + 1)
    made.model.load_state_dict(
        {
            key.removeprefix("module."): value
            for key, value in torch.load(path, weights_only=True).items()
        }
    )
    return made.subject(checkpoint=path, optimizer=None, train_step=None)


@healthy("quadrants", "pretrained encoders, frozen and declared so")
def frozen_encoders(seed: int) -> Subject:
    def make_model(self: Any) -> None:
        self.model = QuadrantNet()
        self.model.encoders.load_state_dict(Quadrants(seed).fit(2).model.encoders.state_dict())
        self.model.encoders.requires_grad_(False)

    made = Quadrants(seed, make_model=make_model).fit(2)
    return made.subject(settings={**made.settings(), "frozen": ("encoders",)})


@healthy("signals", "StratifiedBatchSampler by class and session")
def stratified(seed: int) -> Subject:
    made = Signals(seed)
    sampler = StratifiedBatchSampler(
        made.codes[made.train_rows],
        32,
        groups=made.table["session"].to_numpy()[made.train_rows],
        seed=seed,
    )
    made.loader = DataLoader(Subset(made.windows, made.train_rows.tolist()), batch_sampler=sampler)
    return made.fit(4).subject()


@healthy("signals", "a dropout in the network, evaluation with eval()")
def with_dropout(seed: int) -> Subject:
    def make_model(self: Any) -> None:
        self.model = SignalNet()
        self.model.conv.append(nn.Dropout(0.1))

    return Signals(seed, make_model=make_model).fit(4).subject()


@healthy("signals", "the losses alone, as a list")
def losses_alone(seed: int) -> Subject:
    made = Signals(seed).fit()
    return Subject(history=[entry["loss"] for entry in made.history], settings=made.settings())


@healthy("quadrants", "the table alone")
def table_alone(seed: int) -> Subject:
    return Subject(table=Quadrants(seed).table)


@healthy("quadrants", "the sampler and the labels, before anything else is written")
def sampler_and_labels(seed: int) -> Subject:
    made = Quadrants(seed)
    return Subject(batch_sampler=made.sampler, labels=made.table["label"].to_numpy())


CASES = FAULTS + HEALTHY
