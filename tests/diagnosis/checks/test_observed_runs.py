"""Mistakes that a run over several epochs shows, each beside a healthy one that looks like it."""

from __future__ import annotations

import copy
import gc
import itertools
import random

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn.functional import cross_entropy, dropout, mse_loss, nll_loss, normalize, sigmoid
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler

from quadlib.diagnosis.doors import observe
from tests.diagnosis.observe.test_healthy_loops import CLASSES, data, network
from tests.diagnosis.observe.test_recorder import contrast

EPOCHS, BATCH, LENGTH = 5, 24, 8


def alarms_of(train) -> list[str]:
    with observe(steps=8, seconds=60) as seen:
        train()
    assert not seen.record.faults and not seen.diagnosis.crashed
    return [root.code for root in seen.diagnosis.roots if root.severity != "note"]


class Encoder(nn.Module):
    """Rows of unit norm and logits; always: dropout in evaluation too."""

    def __init__(self, always: bool = False) -> None:
        super().__init__()
        self.body, self.classes, self.always = network(), nn.Linear(16, CLASSES), always

    def forward(self, x):
        rows = self.body(x)
        if self.always:
            rows = dropout(rows, 0.2)
        rows = normalize(rows, dim=1)
        return rows, self.classes(8 * rows)


def run(
    *,
    model=None,
    loss=lambda rows, logits, y: contrast(rows, y) + cross_entropy(logits, y),
    step=lambda optimiser, i: None,
    start=lambda epoch, generator: None,
    schedule=lambda optimiser: None,
    epoch_ends=lambda schedule, accuracy: None,
    evaluated=lambda x: x,
    sampler=None,
    after=lambda model: None,
    judge=None,
):
    """Trains and evaluates for some epochs, with one part of it exchanged."""

    def train():
        x, y = data()
        generator = torch.Generator().manual_seed(1)
        order = {"shuffle": True} if sampler is None else {"sampler": sampler(y)}
        loader = DataLoader(TensorDataset(x, y), BATCH, generator=generator, **order)
        trained = model or Encoder()
        optimiser = torch.optim.AdamW(trained.parameters(), 1e-3)
        scheduler = schedule(optimiser)
        for epoch in range(EPOCHS):
            trained.train()
            start(epoch, generator)
            for i, (part, labels) in enumerate(loader):
                step(optimiser, i)
                optimiser.zero_grad()
                loss(*trained(part + 0.1 * torch.randn_like(part)), labels).backward()
                optimiser.step()
                after(trained)
            judged = (judge or trained).eval()
            with torch.no_grad():
                accuracy = (judged(evaluated(x))[1].argmax(1) == y).float().mean().item()
            epoch_ends(scheduler, accuracy)

    return train


def seeds(epoch: int):
    torch.manual_seed(epoch)


def resting():
    """A rate of 0 in the first ten steps, by hand."""
    count = itertools.count()
    return lambda optimiser, i: optimiser.param_groups[0].update(lr=1e-3 * (next(count) >= 10))


CASES = {
    "plain": ({}, []),
    "a seed set anew in every step": ({"step": lambda o, i: torch.manual_seed(0)}, ["QL-B07"]),
    "a seed of its own for every epoch": ({"start": lambda epoch, g: seeds(epoch)}, []),
    "a seed set once": ({"start": lambda epoch, g: epoch or seeds(0)}, []),
    "a seed where nothing draws": ({"step": lambda o, i: random.seed(0)}, []),
    "a generator made anew": ({"start": lambda epoch, g: g.manual_seed(0)}, ["QL-B07"]),
    "a generator told the epoch": ({"start": lambda epoch, g: g.manual_seed(epoch)}, []),
    "a warm-up in every epoch": (
        {"step": lambda o, i: o.param_groups[0].update(lr=1e-3 * (i + 1) / LENGTH)},
        ["QL-O16"],
    ),
    "a rate that rests at 0 for ten steps": (
        {"step": resting()},
        [],
    ),
    "warm restarts": (
        {
            "schedule": lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, LENGTH),
            "step": lambda o, i: None,
            "epoch_ends": lambda s, a: s.step(),
        },
        [],
    ),
    "a scheduler that nobody calls": (
        {"schedule": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, EPOCHS)},
        [],  # a note
    ),
    "a scheduler that is called": (
        {
            "schedule": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, EPOCHS),
            "epoch_ends": lambda s, a: s.step(),
        },
        [],
    ),
    "a plateau of the wrong sense": (
        {
            "schedule": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, "min"),
            "epoch_ends": lambda s, accuracy: s.step(accuracy),
        },
        ["QL-O17"],
    ),
    "a plateau of the right sense": (
        {
            "schedule": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, "max"),
            "epoch_ends": lambda s, accuracy: s.step(accuracy),
        },
        [],
    ),
    "a plateau of a turned figure": (
        {
            "schedule": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, "min"),
            "epoch_ends": lambda s, accuracy: s.step(-accuracy),
        },
        [],
    ),
    "dropout in evaluation": ({"model": Encoder(always=True)}, ["QL-E02"]),
    "another scale in evaluation": ({"evaluated": lambda x: 255 * x}, ["QL-E22"]),
    "another mean in evaluation": ({"evaluated": lambda x: 12 + x}, ["QL-E22"]),
    "less noise in evaluation": ({"evaluated": lambda x: x / 2}, []),
    "other samples in evaluation": ({"evaluated": lambda x: x.flip(0) * 1.2}, []),
    "softmax before the cross-entropy": (
        {"loss": lambda r, z, y: contrast(r, y) + cross_entropy(z.softmax(1), y)},
        ["QL-P28"],
    ),
    "sigmoid before the cross-entropy": (
        {"loss": lambda r, z, y: contrast(r, y) + cross_entropy(sigmoid(z), y)},
        ["QL-P28"],
    ),
    "softmax over the batch": (
        {"loss": lambda r, z, y: contrast(r, y) + nll_loss(z.log_softmax(0), y)},
        ["QL-P28"],
    ),
    "distillation": (
        {
            "loss": lambda r, z, y: (
                contrast(r, y) - (z.log_softmax(1) * (z.detach() / 4).softmax(1)).sum(1).mean()
            )
        },
        [],
    ),
    "outputs (n, 1) against targets (n,)": (
        {"loss": lambda r, z, y: contrast(r, y) + mse_loss(z[:, :1], y.float())},
        ["QL-P29"],
    ),
    "outputs (n,) against targets (n,)": (
        {"loss": lambda r, z, y: contrast(r, y) + mse_loss(z[:, 0], y.float())},
        [],
    ),
    "a root that reaches 0": (
        {"loss": lambda r, z, y: contrast(r, y) + (r - r.detach()).square().sum(1).sqrt().mean()},
        ["QL-P12"],
    ),
    "a root that is kept off 0": (
        {
            "loss": lambda r, z, y: (
                contrast(r, y) + ((r - r.detach()).square().sum(1) + 1e-6).sqrt().mean()
            )
        },
        [],
    ),
    "outputs against each other": (
        {
            "loss": lambda r, z, y: (
                contrast(r, y) + (z[:, :1] - z[:, 0] - (y[:, None] - y).float()).square().mean()
            )
        },
        [],
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_run_is_named_for_what_it_does_and_for_nothing_else(name):
    changes, expected = CASES[name]
    assert alarms_of(run(**changes)) == expected


@pytest.mark.parametrize("power", [1, 0, -1])
def test_weights_of_the_draw_that_make_rare_classes_rarer(power):
    def sampler(y):
        y[: len(y) // 2] = 0
        return WeightedRandomSampler(y.bincount()[y].double() ** power, len(y))

    assert alarms_of(run(sampler=sampler)) == (["QL-B23"] if power == 1 else [])


@pytest.mark.parametrize("saved", ["trained", "both"])
def test_an_average_that_is_evaluated_is_saved(saved, tmp_path):
    model = Encoder()
    average = copy.deepcopy(model).requires_grad_(False).eval()

    def follow(trained):
        for slow, fast in zip(average.parameters(), trained.parameters(), strict=True):
            slow.data.lerp_(fast.data, 0.1)

    def save(schedule, accuracy):
        content = {"model": model.state_dict()}
        if saved == "both":
            content["average"] = average.state_dict()
        torch.save(content, tmp_path / "last.pth")

    found = alarms_of(run(model=model, after=follow, epoch_ends=save, judge=average))
    assert found == (["QL-C23"] if saved == "trained" else [])


@pytest.mark.parametrize("axes", ["moved", "reshaped", "noise"])
@pytest.mark.parametrize("channels", [3, 6])
def test_channels_that_were_reshaped_into_the_last_axis(axes, channels):
    phase = torch.linspace(0, 9, 48)[:, None] + 6 * torch.rand(96, 1, channels)
    series = phase.sin() + 0.1 * torch.randn(96, 48, channels)
    if axes == "noise":
        series = torch.randn_like(series)
    x = series.reshape(96, channels, 48) if axes == "reshaped" else series.transpose(1, 2)
    y = torch.arange(96) % CLASSES
    model = nn.Sequential(nn.Conv1d(channels, 16, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1))
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)

    def train():
        for part, labels in DataLoader(TensorDataset(x.contiguous(), y), 24, shuffle=True):
            optimiser.zero_grad()
            contrast(normalize(model(part).flatten(1), dim=1), labels).backward()
            optimiser.step()

    found = [code for code in alarms_of(train) if code == "QL-D24"]
    assert found == (["QL-D24"] if axes == "reshaped" else [])


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_callback_that_keeps_the_worst(mode):
    class ModelCheckpoint:  # as Lightning's, by its name
        monitor = "val_loss"

        def __init__(self, mode):
            self.mode = mode

    keeper = ModelCheckpoint(mode)
    found = alarms_of(run())
    del keeper
    gc.collect()  # or the tests that follow would see it too
    assert found == (["QL-C05"] if mode == "max" else [])


def test_zeros_in_front_of_a_queue_are_no_labels():
    x, _ = data()
    model, queue = network(), normalize(torch.randn(64, 16), dim=1)
    optimiser, criterion = torch.optim.AdamW(model.parameters(), 1e-3), nn.CrossEntropyLoss()

    def train():
        for step in range(10):
            part = x[24 * (step % 8) : 24 * (step % 8) + 24]
            q = normalize(model(part + 0.1 * torch.randn_like(part)), dim=1)
            with torch.no_grad():
                k = normalize(model(part + 0.1 * torch.randn_like(part)), dim=1)
            logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], dim=1) / 0.2
            optimiser.zero_grad()
            criterion(logits, torch.zeros(24, dtype=torch.long)).backward()
            optimiser.step()
            queue[24 * (step % 2) : 24 * (step % 2) + 24] = k.detach()

    assert "QL-L13" not in alarms_of(train)


class Triplets(IterableDataset):
    """Anchors, positives and negatives, of which an epoch shows a few."""

    def __init__(self, again: bool, anchors_among_negatives: bool = False) -> None:
        self.x, self.y = data()
        self.again, self.mixed, self.epoch = again, anchors_among_negatives, 0

    def __iter__(self):
        draw = torch.Generator().manual_seed(0 if self.again else self.epoch)
        self.epoch += 1
        for n in range(48):
            a, p, other = torch.randint(len(self.x), (3,), generator=draw).tolist()
            own = torch.nonzero(self.y == self.y[a]).flatten()
            others = torch.nonzero(self.y != self.y[a]).flatten()
            negative = a if self.mixed and n % 3 == 0 else int(others[other % len(others)])
            p = int(own[own != a][p % (len(own) - 1)])
            yield self.x[a], self.x[p], self.x[negative]


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("mixed", [True, False])
def test_a_stream_of_triplets_goes_on_and_keeps_its_parts_apart(again, mixed):
    model, loader = network(norm=False), DataLoader(Triplets(again, mixed), 16)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)

    def train():
        for _ in range(5):
            for parts in loader:
                optimiser.zero_grad()
                a, p, n = (normalize(model(part), dim=1) for part in parts)
                nn.functional.triplet_margin_loss(a, p, n, 2.0).backward()
                optimiser.step()

    found = set(alarms_of(train))
    assert ("QL-B07" in found) == again
    assert ("QL-B20" in found) == mixed


@pytest.mark.parametrize("fitted_on", ["train", "all"])
def test_a_probe_that_is_scored_on_the_rows_it_was_fitted_on(fitted_on):
    model = Encoder()

    def probe(schedule, accuracy):
        x, y = data()
        with torch.no_grad():
            rows = model(x)[0].numpy()
        known = slice(None) if fitted_on == "all" else slice(96)
        classifier = make_pipeline(StandardScaler(), LogisticRegression()).fit(
            rows[known], y[known]
        )
        classifier.score(rows[:96], y[:96])
        if fitted_on == "train":
            classifier.score(rows[96:], y[96:])

    assert alarms_of(run(model=model, epoch_ends=probe)) == (
        ["QL-E11"] if fitted_on == "all" else []
    )


@pytest.mark.parametrize("leaks", [True, False])
def test_a_label_among_features_that_only_a_variable_tells(leaks):
    x, y_train = data()
    if leaks:
        x = torch.cat([x[:, :-1], y_train[:, None].float() / 2], dim=1)
    model = network()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)

    def train(labels):
        assert len(labels) == len(x)
        for (part,) in DataLoader(TensorDataset(x), BATCH, shuffle=True):
            one, two = (normalize(model(part + 0.1 * torch.randn_like(part))) for _ in range(2))
            optimiser.zero_grad()
            cross_entropy(one @ two.T / 0.2, torch.arange(len(one))).backward()
            optimiser.step()

    assert alarms_of(lambda: train(y_train)) == (["QL-D22"] if leaks else [])
