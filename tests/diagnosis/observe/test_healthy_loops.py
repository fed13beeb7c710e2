"""Ordinary, healthy loops of every kind raise no alarm, and are not changed by being watched."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss, normalize, one_hot
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from quadlib.diagnosis.doors import observe
from tests.diagnosis.observe.test_recorder import contrast

CLASSES, ROWS, WIDTH = 6, 192, 10
Train = Callable[[], list[float]]


def data(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    y = torch.randperm(ROWS) % CLASSES
    return torch.randn(ROWS, WIDTH) + 1.5 * torch.randn(CLASSES, WIDTH)[y], y


def network(norm: bool = True, dropout: float = 0.1, width: int = WIDTH) -> nn.Sequential:
    middle = nn.BatchNorm1d(32) if norm else nn.Identity()
    return nn.Sequential(
        nn.Linear(width, 32), middle, nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 16)
    )


def loader_of(*columns: torch.Tensor, size: int = 24, **more) -> DataLoader:
    shuffle = torch.Generator().manual_seed(1)
    return DataLoader(TensorDataset(*columns), size, shuffle=True, generator=shuffle, **more)


def info(a: torch.Tensor, b: torch.Tensor, temperature: float = 0.1) -> torch.Tensor:
    table = normalize(a, dim=1) @ normalize(b, dim=1).T / temperature
    return cross_entropy(table, torch.arange(len(a)))


def jitter(x: torch.Tensor) -> torch.Tensor:
    return x + 0.3 * torch.randn_like(x)


def loop(loader, loss, optimisers, *, every: int = 1, after=None, epochs: int = 3) -> Train:
    """An ordinary loop; after: what follows a step, as schedules and teachers do."""
    optimisers = optimisers if isinstance(optimisers, list) else [optimisers]

    def train() -> list[float]:
        losses, count = [], 0
        for _ in range(epochs):
            for batch in loader:
                if count % every == 0:
                    for optimiser in optimisers:
                        optimiser.zero_grad()
                value = loss(batch)
                (value / every).backward()
                count += 1
                if count % every == 0:
                    for optimiser in optimisers:
                        optimiser.step()
                    if after is not None:
                        after()
                losses.append(value.item())
        return losses

    return train


def supervised(**options) -> tuple[nn.Module, DataLoader]:
    x, y = data()
    return network(**options), loader_of(x, y)


def warm_up() -> Train:
    model, loader = supervised()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: min(1.0, k / 10))
    loss = lambda batch: contrast(normalize(model(batch[0]), dim=1), batch[1])  # noqa: E731
    return loop(loader, loss, optimiser, after=schedule.step)


def accumulation() -> Train:
    model, loader = supervised()
    optimiser = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=1e-4)
    loss = lambda batch: contrast(normalize(model(batch[0]), dim=1), batch[1])  # noqa: E731
    return loop(loader, loss, optimiser, every=3)


def skipped_steps() -> Train:
    model, loader = supervised()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)

    def train() -> list[float]:
        losses: list[float] = []
        for _ in range(3):
            for x, y in loader:
                optimiser.zero_grad(set_to_none=True)
                value = contrast(normalize(model(x), dim=1), y)
                overflow = float("inf") if len(losses) < 2 else 1.0
                scaler.scale(value * overflow if len(losses) < 2 else value).backward()
                scaler.unscale_(optimiser)
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                scaler.step(optimiser)
                scaler.update()
                losses.append(value.item())
        return losses

    return train


def linear_probe() -> Train:
    model, loader = supervised()
    model.requires_grad_(False).eval()
    head = nn.Linear(16, CLASSES)
    optimiser = torch.optim.SGD(head.parameters(), 0.1, momentum=0.9)

    def loss(batch):
        with torch.no_grad():
            features = model(batch[0])
        return cross_entropy(head(features), batch[1])

    return loop(loader, loss, optimiser)


class LowRank(nn.Module):
    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(2, base.in_features) * 0.1)
        self.b = nn.Parameter(torch.zeros(base.out_features, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + x @ self.a.T @ self.b.T


def low_rank() -> Train:
    model, loader = supervised(norm=False)
    model[0], model[4] = LowRank(model[0]), LowRank(model[4])
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-3)
    loss = lambda batch: contrast(normalize(model(batch[0]), dim=1), batch[1])  # noqa: E731
    return loop(loader, loss, optimiser)


def shared_weights() -> Train:
    x, _ = data()
    model, loader = network(), loader_of(x, x + 0.2 * torch.randn_like(x))
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    return loop(loader, lambda batch: info(model(batch[0]), model(batch[1])), optimiser)


def two_towers() -> Train:
    x, _ = data()
    image, text = network(), network(width=7)
    scale = nn.Parameter(torch.tensor(2.6593))
    loader = loader_of(x, x[:, :7] * 2 + 0.1 * torch.randn(ROWS, 7))
    optimiser = torch.optim.AdamW([*image.parameters(), *text.parameters(), scale], 1e-3)

    def loss(batch):
        a, b = normalize(image(batch[0]), dim=1), normalize(text(batch[1]), dim=1)
        table, own = scale.exp() * a @ b.T, torch.arange(len(a))
        return (cross_entropy(table, own) + cross_entropy(table.T, own)) / 2

    return loop(loader, loss, optimiser)


def triplets() -> Train:
    x, y = data()
    other = torch.stack([x[(y == label).nonzero()[0, 0]] for label in y])
    far = torch.stack([x[(y != label).nonzero()[3, 0]] for label in y])
    model, loader = network(norm=False), loader_of(x, other, far)
    optimiser = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    margin = nn.TripletMarginLoss()
    return loop(loader, lambda batch: margin(*[model(part) for part in batch]), optimiser)


def momentum_encoder() -> Train:
    x, y = data()
    query, loader = network(), loader_of(x, y)
    key = copy.deepcopy(query).requires_grad_(False)
    optimiser = torch.optim.SGD(query.parameters(), 0.03, momentum=0.9)
    queue = [normalize(torch.randn(64, 16), dim=1)]

    def loss(batch):
        q = normalize(query(jitter(batch[0])), dim=1)
        with torch.no_grad():
            k = normalize(key(jitter(batch[0])), dim=1)
        own = torch.einsum("nc,nc->n", q, k).unsqueeze(1)
        table = torch.cat([own, torch.einsum("nc,kc->nk", q, queue[0].clone())], 1) / 0.07
        queue[0] = torch.cat([k, queue[0]])[:64]
        return cross_entropy(table, torch.zeros(len(q), dtype=torch.long))

    @torch.no_grad()
    def follow():
        for one, two in zip(query.parameters(), key.parameters(), strict=True):
            two.mul_(0.99).add_(one, alpha=0.01)

    return loop(loader, loss, optimiser, after=follow)


class Stream(IterableDataset):
    def __iter__(self):
        x, y = data()
        yield from zip(x, y.tolist(), strict=True)


def stream() -> Train:
    model, loader = network(), DataLoader(Stream(), 24)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    loss = lambda batch: contrast(normalize(model(batch[0]), dim=1), batch[1])  # noqa: E731
    return loop(loader, loss, optimiser)


def disjoint_classes() -> Train:
    x, y = data()
    whole = TensorDataset(x, y)
    train = Subset(whole, (y < 4).nonzero().flatten().tolist())
    test = DataLoader(Subset(whole, (y >= 4).nonzero().flatten().tolist()), 24)
    model = network()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    loader = DataLoader(train, 24, shuffle=True)

    def run() -> list[float]:
        losses = []
        for _ in range(4):
            model.eval()
            with torch.no_grad():
                for part, _ in test:
                    model(part)
            model.train()
            for part, label in loader:
                optimiser.zero_grad()
                value = contrast(normalize(model(part), dim=1), label)
                value.backward()
                optimiser.step()
                losses.append(value.item())
        return losses

    return run


def dropout_views() -> Train:
    x, _ = data()
    model, loader = network(norm=False, dropout=0.3), loader_of(x)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    return loop(loader, lambda batch: info(model(batch[0]), model(batch[0])), optimiser)


def simclr() -> Train:
    x, y = data()
    model, loader = network(), loader_of(x, y)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)

    def loss(batch):
        z = normalize(model(torch.cat([jitter(batch[0]), jitter(batch[0])])), dim=1)
        n = len(z)
        table = (z @ z.T / 0.5).masked_fill(torch.eye(n, dtype=torch.bool), -torch.inf)
        return cross_entropy(table, (torch.arange(n) + n // 2) % n)

    return loop(loader, loss, optimiser)


def sum_of_losses() -> Train:
    model, loader = supervised()
    heads = nn.ModuleDict({"a": nn.Linear(16, CLASSES), "b": nn.Linear(16, CLASSES)})
    optimiser = torch.optim.AdamW([*model.parameters(), *heads.parameters()], 1e-3)

    def loss(batch):
        z = model(batch[0])
        fitted = mse_loss(heads["b"](z), one_hot(batch[1], CLASSES).float())
        entropy = cross_entropy(heads["a"](z.detach()), batch[1])
        return contrast(normalize(z, dim=1), batch[1]) + fitted + entropy

    return loop(loader, loss, optimiser)


def several_optimisers() -> Train:
    model, loader = supervised()
    proxies = nn.Parameter(torch.randn(CLASSES, 16))
    optimisers = [
        torch.optim.AdamW(model.parameters(), 1e-3),
        torch.optim.SGD([proxies], 0.1),
    ]

    def loss(batch):
        z = normalize(model(batch[0]), dim=1)
        return cross_entropy(z @ normalize(proxies, dim=1).T / 0.1, batch[1])

    return loop(loader, loss, optimisers)


def small_batches() -> Train:
    x, y = data()
    model, loader = network(norm=False), loader_of(x, y, size=6)
    optimiser = torch.optim.SGD(model.parameters(), 0.01)
    return loop(
        loader, lambda batch: contrast(normalize(model(batch[0]), dim=1), batch[1]), optimiser
    )


def negative_free() -> Train:
    x, _ = data()
    model, loader = network(), loader_of(x)
    guess = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    optimiser = torch.optim.SGD([*model.parameters(), *guess.parameters()], 0.05, momentum=0.9)

    def loss(batch):
        a, b = model(jitter(batch[0])), model(jitter(batch[0]))
        pairs = ((guess(a), b.detach()), (guess(b), a.detach()))
        return -sum(nn.functional.cosine_similarity(p, z).mean() for p, z in pairs) / 2

    return loop(loader, loss, optimiser)


def redundancy() -> Train:
    x, _ = data()
    model, loader = network(), loader_of(x)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)

    def loss(batch):
        a, b = (nn.functional.batch_norm(model(jitter(batch[0])), None, None, training=True)
                for _ in range(2))  # fmt: skip
        table = a.T @ b / len(a)
        return (table.diagonal() - 1).square().sum() + 0.005 * table.square().sum()

    return loop(loader, loss, optimiser)


def dot_products() -> Train:
    x, _ = data()
    model, loader = network(norm=False, dropout=0), loader_of(x, jitter(x))
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)

    def loss(batch):
        table = model(batch[0]) @ model(batch[1]).T
        return cross_entropy(table, torch.arange(len(table)))

    return loop(loader, loss, optimiser)


def without_a_loader() -> Train:
    x, y = data()
    model = network()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    batches = [(x[k : k + 24], y[k : k + 24]) for k in range(0, ROWS, 24)]
    return loop(
        batches, lambda batch: contrast(normalize(model(batch[0]), dim=1), batch[1]), optimiser
    )


def indexed_rows() -> Train:
    x, y = data()
    model, loader = network(), loader_of(x, y, torch.arange(ROWS))
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    bank = normalize(torch.randn(ROWS, 16), dim=1)

    def loss(batch):
        z = normalize(model(batch[0]), dim=1)
        bank[batch[2]] = z.detach()
        return contrast(z, batch[1])

    return loop(loader, loss, optimiser)


LOOPS = [
    warm_up, accumulation, skipped_steps, linear_probe, low_rank, shared_weights, two_towers,
    triplets, momentum_encoder, stream, disjoint_classes, dropout_views, simclr, sum_of_losses,
    several_optimisers, small_batches, negative_free, redundancy, dot_products, without_a_loader,
    indexed_rows,
]  # fmt: skip


@pytest.mark.parametrize("make", LOOPS, ids=lambda make: make.__name__)
def test_a_healthy_loop_raises_no_alarm_and_stays_as_it_is(make):
    torch.manual_seed(0)
    train = make()
    torch.manual_seed(1)
    plain = train()
    torch.manual_seed(0)
    train = make()
    torch.manual_seed(1)
    with observe(steps=8, stop=False, seconds=60) as seen:
        watched = train()
    assert watched == plain
    record, diagnosis = seen.record, seen.diagnosis
    assert not record.faults and record.later is not None and record.later.ended == "finished"
    alarms = [(f.code, f.title, f.evidence) for f in diagnosis.findings if f.severity != "note"]
    assert not alarms
    assert not [reason for _, reason in diagnosis.not_run if "raised" in reason]
