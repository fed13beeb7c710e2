"""Each contract of a watched loop, broken in a small loop: its code is the first root."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize
from torch.utils.data import DataLoader, Subset, TensorDataset

from quadlib.diagnosis.doors import judge
from quadlib.diagnosis.observe.recorder import Recorder
from tests.diagnosis.observe.test_healthy_loops import (
    CLASSES,
    ROWS,
    WIDTH,
    data,
    info,
    jitter,
    loader_of,
    loop,
    network,
)
from tests.diagnosis.observe.test_recorder import contrast

Adam = torch.optim.AdamW


def plain(model, loader, *, rate: float = 1e-3, optimiser=None, **options):
    optimiser = optimiser or Adam(model.parameters(), rate)
    return loop(
        loader, lambda b: contrast(normalize(model(b[0]), dim=1), b[1]), optimiser, **options
    )


def by_hand(model, loader, loss, optimiser, words: str):
    """A loop whose order is spelled: zero, back, clip, step."""

    def train():
        for batch in loader:
            for word in words.split():
                if word == "zero":
                    optimiser.zero_grad()
                elif word == "back":
                    loss(batch).backward()
                elif word == "clip":
                    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                else:
                    optimiser.step()

    return train


def parts():
    x, y = data()
    return network(), x, y


def order(words: str):
    def make():
        model, x, y = parts()
        optimiser = Adam(model.parameters(), 1e-3)
        loss = lambda b: contrast(normalize(model(b[0]), dim=1), b[1])  # noqa: E731
        return by_hand(model, loader_of(x, y), loss, optimiser, words)

    return make


def not_finite_input():
    model, x, y = parts()
    x[3, 2] = torch.nan
    return plain(model, loader_of(x, y))


def dead_channel():
    model, x, y = parts()
    wide = torch.stack([x, torch.zeros_like(x)], 1)
    body = nn.Sequential(nn.Flatten(), network(width=2 * WIDTH))
    return plain(body, loader_of(wide, y))


def raw_level():
    model, x, y = parts()
    return plain(model, loader_of(x + 1e4, y))


def shared_rows():
    model, x, y = parts()
    whole = TensorDataset(x, y)
    loader = DataLoader(Subset(whole, range(150)), 24, shuffle=True)
    test = DataLoader(Subset(whole, range(140, 192)), 24)
    train = plain(model, loader)

    def run():
        with torch.no_grad():
            for part, _ in test:
                model.eval()(part)
        model.train()
        return train()

    return run


def one_class_batches():
    model, x, y = parts()
    rows = [(y == k).nonzero().flatten()[:24].tolist() for k in (0, 3, 1, 4, 2, 5, 0, 2, 4)]
    return plain(model, DataLoader(TensorDataset(x, y), batch_sampler=rows))


def sorted_by_class():
    model, x, y = parts()
    kept = torch.argsort(y, stable=True)
    return plain(model, DataLoader(TensorDataset(x[kept], y[kept]), 24))


def one_class():
    model, x, y = parts()
    return plain(model, loader_of(x, torch.zeros_like(y)))


def unique_labels():
    model, x, _ = parts()
    return plain(model, loader_of(x, torch.randperm(ROWS)))


def stale_sampler():
    model, x, y = parts()

    class ByClass:
        def __init__(self, labels):
            self.labels = labels

        def __iter__(self):
            random = np.random.default_rng(0)
            for _ in range(8):
                chosen = random.choice(CLASSES, 4, replace=False)
                pools = [np.flatnonzero(self.labels == k) for k in chosen]
                yield np.concatenate([random.choice(p, 6, replace=False) for p in pools]).tolist()

        def __len__(self):
            return 8

    old = np.random.default_rng(1).permutation(y.numpy())
    return plain(model, DataLoader(TensorDataset(x, y), batch_sampler=ByClass(old)))


def shifted_labels():
    model, x, y = parts()
    return plain(model, loader_of(x, y.roll(1)))


def unused_stream():
    model, x, _ = parts()
    loader = loader_of(x, jitter(x))
    return loop(
        loader, lambda b: info(model(b[0]), model(jitter(b[0]))), Adam(model.parameters(), 1e-3)
    )


def copied_stream():
    model, x, _ = parts()
    model = network(norm=False, dropout=0.3)
    loader = loader_of(x, x.clone())
    return loop(loader, lambda b: info(model(b[0]), model(b[1])), Adam(model.parameters(), 1e-3))


def constant_stream():
    first, second = network(), network()
    x, y = data()
    both = nn.ModuleList([first, second])
    loss = lambda b: contrast(normalize(first(b[0]) + second(b[1]), dim=1), b[2])  # noqa: E731
    return loop(loader_of(x, torch.ones_like(x), y), loss, Adam(both.parameters(), 1e-3))


def identical_views():
    model, x, _ = parts()
    model = network(dropout=0.0)

    def loss(batch):
        x = jitter(batch[0])
        return info(model(x), model(x))

    return loop(loader_of(x), loss, Adam(model.parameters(), 1e-3))


def mixed_views():
    model, x, y = parts()

    def loss(batch):
        z = normalize(model(torch.cat([jitter(batch[0]), jitter(batch[0])])), dim=1)
        return contrast(z, batch[1].repeat_interleave(2))

    return loop(loader_of(x, torch.arange(ROWS)), loss, Adam(model.parameters(), 1e-3))


def wrong_targets():
    model, x, _ = parts()

    def loss(batch):
        a, b = model(batch[0]), model(jitter(batch[0]))
        table = normalize(a, dim=1) @ normalize(b, dim=1).T / 0.1
        return cross_entropy(table, torch.arange(len(a)).roll(1))

    return loop(loader_of(x), loss, Adam(model.parameters(), 1e-3))


def one_target():
    model, x, _ = parts()

    def loss(batch):
        a, b = model(batch[0]), model(jitter(batch[0]))
        table = normalize(a, dim=1) @ normalize(b, dim=1).T / 0.1
        return cross_entropy(table, torch.zeros(len(a), dtype=torch.long))

    return loop(loader_of(x), loss, Adam(model.parameters(), 1e-3))


def no_optimiser():
    model, x, y = parts()
    head = nn.Linear(16, CLASSES)
    return loop(
        loader_of(x, y), lambda b: cross_entropy(head(model(b[0])), b[1]), Adam(head.parameters())
    )


def detached():
    model, x, y = parts()
    head = nn.Linear(16, CLASSES)
    every = [*model.parameters(), *head.parameters()]
    loss = lambda b: cross_entropy(head(model(b[0]).detach()), b[1])  # noqa: E731
    return loop(loader_of(x, y), loss, Adam(every, 1e-3))


def under_no_grad():
    model, x, y = parts()
    head = nn.Linear(16, CLASSES)

    def loss(batch):
        with torch.no_grad():
            z = model(batch[0])
        return cross_entropy(head(z), batch[1])

    return loop(loader_of(x, y), loss, Adam([*model.parameters(), *head.parameters()], 1e-3))


def dead_layer():
    model, x, y = parts()
    nn.init.constant_(model[0].bias, -1e4)
    model[1] = nn.Identity()
    return plain(model, loader_of(x, y))


def evaluation_mode():
    model, x, y = parts()
    return plain(model.eval(), loader_of(x, y))


def still_teacher():
    model, x, _ = parts()
    teacher = copy.deepcopy(model).requires_grad_(False)
    loss = lambda b: info(model(jitter(b[0])), teacher(jitter(b[0])))  # noqa: E731
    return loop(loader_of(x), loss, Adam(model.parameters(), 1e-3))


def equal_units():
    model, x, y = parts()
    nn.init.constant_(model[0].weight, 0.1)
    with torch.no_grad():
        model[4].weight.copy_(torch.randn(16, 1).expand(16, 32))
    model[3] = nn.Identity()
    return plain(model, loader_of(x, y))


def not_normalised():
    model, x, y = parts()
    return loop(
        loader_of(x, y), lambda b: contrast(model(b[0]) * 5, b[1]), Adam(model.parameters(), 1e-3)
    )


def wrong_axis():
    model, x, y = parts()
    loss = lambda b: contrast(normalize(model(b[0]), dim=0), b[1])  # noqa: E731
    return loop(loader_of(x, y), loss, Adam(model.parameters(), 1e-3))


def temperature(value: float):
    def make():
        model, x, _ = parts()
        loss = lambda b: info(model(b[0]), model(jitter(b[0])), value)  # noqa: E731
        return loop(loader_of(x), loss, Adam(model.parameters(), 1e-3))

    return make


def logarithm_of_scale():
    model, x, _ = parts()
    scale = nn.Parameter(torch.tensor(2.6593))

    def loss(batch):
        a, b = normalize(model(batch[0]), dim=1), normalize(model(jitter(batch[0])), dim=1)
        return cross_entropy(scale * a @ b.T, torch.arange(len(a)))

    return loop(loader_of(x), loss, Adam([*model.parameters(), scale], 1e-3))


def wrong_sign():
    model, x, y = parts()
    loss = lambda b: -contrast(normalize(model(b[0]), dim=1), b[1])  # noqa: E731
    return loop(loader_of(x, y), loss, Adam(model.parameters(), 1e-3))


def root_of_zero():
    model, x, y = parts()
    loss = lambda b: (model(b[0]) - model(b[0])).norm(dim=1).log().mean()  # noqa: E731
    model[3] = nn.Identity()
    return loop(loader_of(x, y), loss, Adam(model.parameters(), 1e-3))


def no_gradient():
    model, x, y = parts()
    loss = lambda b: (model(b[0]).norm(dim=1).mean() - 1e4).clamp(min=0)  # noqa: E731
    return loop(loader_of(x, y), loss, Adam(model.parameters(), 1e-3))


def own_competitor():
    model, x, _ = parts()

    def loss(batch):
        z = normalize(model(torch.cat([jitter(batch[0]), jitter(batch[0])])), dim=1)
        n = len(z)
        return cross_entropy(z @ z.T / 0.1, (torch.arange(n) + n // 2) % n)

    return loop(loader_of(x), loss, Adam(model.parameters(), 1e-3))


def high_rate():
    model, x, y = parts()
    optimiser = torch.optim.SGD(model.parameters(), 50.0, momentum=0.9)
    return plain(model, loader_of(x, y), optimiser=optimiser)


def zero_rate():
    model, x, y = parts()
    return plain(model, loader_of(x, y), rate=0.0)


def zero_rate_of_a_group():
    model, x, y = parts()
    groups = [{"params": model[0].parameters(), "lr": 0.0}, {"params": model[1:].parameters()}]
    return plain(model, loader_of(x, y), optimiser=Adam(groups, 1e-3))


def long_warm_up():
    model, x, y = parts()
    optimiser = Adam(model.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1e-6, total_iters=100_000)
    return plain(model, loader_of(x, y), optimiser=optimiser, after=schedule.step)


def short_schedule():
    model, x, y = parts()
    optimiser = Adam(model.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.5)
    return plain(model, loader_of(x, y, size=8), optimiser=optimiser, after=schedule.step)


def stale_optimiser():
    model, x, y = parts()
    return plain(model, loader_of(x, y), optimiser=Adam(network().parameters(), 1e-3))


def skipped_for_ever():
    model, x, y = parts()
    optimiser, scaler = Adam(model.parameters(), 1e-3), torch.amp.GradScaler("cpu")

    def train():
        for _ in range(2):
            for part, label in loader_of(x, y):
                optimiser.zero_grad()
                z = normalize(model(part), dim=1)
                z.register_hook(lambda gradient: gradient * torch.inf)
                scaler.scale(contrast(z, label)).backward()
                scaler.step(optimiser)
                scaler.update()

    return train


def scaled_step():
    model, x, y = parts()
    optimiser, scaler = Adam(model.parameters(), 1e-3), torch.amp.GradScaler("cpu")
    loss = lambda b: scaler.scale(contrast(normalize(model(b[0]), dim=1), b[1]))  # noqa: E731
    return by_hand(model, loader_of(x, y), loss, optimiser, "zero back step")


def heavy_decay():
    model, x, y = parts()
    optimiser = torch.optim.SGD(model.parameters(), 0.01, weight_decay=5.0)
    return plain(model, loader_of(x, y), optimiser=optimiser)


def alien_keys():
    model, x, y = parts()
    state = {f"module.{name}": value for name, value in network().state_dict().items()}
    train = plain(model, loader_of(x, y))

    def run():
        model.load_state_dict(state, strict=False)
        return train()

    return run


BROKEN: list[tuple[str, Callable]] = [
    ("D06", not_finite_input), ("D20", dead_channel), ("D21", raw_level), ("S10", shared_rows),
    ("B01", one_class_batches), ("B05", sorted_by_class), ("L13", one_class),
    ("L04", unique_labels), ("L12", stale_sampler), ("L01", shifted_labels),
    ("M20", unused_stream), ("M10", copied_stream), ("M04", constant_stream),
    ("M21", identical_views), ("M07", mixed_views), ("P22", wrong_targets), ("P22", one_target),
    ("N02", no_optimiser), ("N03", detached), ("N03", under_no_grad), ("N04", dead_layer),
    ("E03", evaluation_mode), ("N20", still_teacher), ("N06", equal_units),
    ("P01", not_normalised), ("P02", wrong_axis), ("P03", temperature(1.0)),
    ("P03", temperature(1e-3)), ("P03", logarithm_of_scale), ("P06", wrong_sign),
    ("P12", root_of_zero), ("P16", no_gradient), ("P21", own_competitor), ("O01", high_rate),
    ("O02", zero_rate), ("O02", zero_rate_of_a_group), ("O15", long_warm_up),
    ("O05", short_schedule), ("O04", stale_optimiser), ("O07", skipped_for_ever),
    ("O22", scaled_step), ("O06", heavy_decay), ("C01", alien_keys),
    ("O20", order("back step")), ("O21", order("zero back zero back step")),
    ("O04", order("zero step back")), ("O04", order("back zero step")),
    ("O11", order("zero clip back step")),
]  # fmt: skip


@pytest.mark.parametrize(("code", "make"), BROKEN, ids=[f"{c}-{m.__name__}" for c, m in BROKEN])
def test_a_broken_contract_is_the_first_root(code, make):
    torch.manual_seed(0)
    train = make()
    with Recorder(steps=8) as recorder:
        train()
    assert not recorder.record.faults
    diagnosis = judge(recorder.record)
    alarms = [root.code for root in diagnosis.roots if root.severity != "note"]
    crashes = [reason for _, reason in diagnosis.not_run if "raised" in reason]
    assert not crashes and not diagnosis.crashed
    assert alarms[:1] == [f"QL-{code}"], f"{alarms}: {[r.title for r in diagnosis.roots]}"
