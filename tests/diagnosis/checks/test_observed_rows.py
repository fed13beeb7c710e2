"""Rows of batches and parts of them: what stands in another order, and what is healthy beside."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize
from torch.utils.data import DataLoader, Dataset, TensorDataset

from tests.diagnosis.checks.test_observed import Adam, parts, plain
from tests.diagnosis.checks.test_observed_kinds import alarms_of
from tests.diagnosis.observe.test_healthy_loops import CLASSES, loop, network
from tests.diagnosis.observe.test_recorder import contrast


def collated(how):
    """Series of unlike lengths, padded; a collate function that sorts them by length."""
    torch.manual_seed(0)
    y = torch.randperm(192) % 4
    rows = [torch.randn(4)[None] + 2 * torch.eye(4)[code] + torch.randn(8, 4) for code in y]
    lengths = torch.randint(3, 9, (192,))

    class Series(Dataset):
        def __len__(self):
            return 192

        def __getitem__(self, row):
            return rows[row][: lengths[row]], int(y[row])

    def collate(items):
        order = sorted(range(len(items)), key=lambda k: -len(items[k][0]))
        if how == "in order":
            order = list(range(len(items)))
        padded = nn.utils.rnn.pad_sequence([items[k][0] for k in order], batch_first=True)
        labels = [items[k][1] for k in order]
        if how == "labels as they came":
            labels = [label for _, label in items]
        return padded, torch.tensor([len(items[k][0]) for k in order]), torch.tensor(labels)

    model = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 16))

    def loss(batch):
        return contrast(normalize(model(batch[0]).mean(1), dim=1), batch[2])

    shuffle = torch.Generator().manual_seed(1)
    loader = DataLoader(Series(), 48, shuffle=True, generator=shuffle, collate_fn=collate)
    return loop(loader, loss, Adam(model.parameters(), 1e-3))


@pytest.mark.parametrize(
    ("how", "expected"),
    [("in order", []), ("all sorted", []), ("labels as they came", ["QL-B04"])],
)
def test_a_collate_function_keeps_the_parts_of_items_together(how, expected):
    assert alarms_of(collated(how))[:1] == expected


def streams(how):
    torch.manual_seed(0)
    y = torch.randperm(192) % 4
    cause = torch.eye(4)[y] * 2 + torch.randn(192, 4)
    a, b = cause @ torch.randn(4, 10), cause @ torch.randn(4, 12)

    def collate(items):
        first, second, labels = zip(*items, strict=True)
        if how == "one turned round":
            second = second[::-1]
        return torch.stack(first), torch.stack(second), torch.stack(labels)

    one, other = network(width=10), network(width=12)

    def loss(batch):
        table = normalize(one(batch[0]), dim=1) @ normalize(other(batch[1]), dim=1).T / 0.1
        return cross_entropy(table, torch.arange(len(table)))

    loader = DataLoader(TensorDataset(a, b, y), 24, shuffle=True, collate_fn=collate)
    return loop(loader, loss, Adam([*one.parameters(), *other.parameters()], 1e-3))


@pytest.mark.parametrize(("how", "expected"), [("in order", []), ("one turned round", ["QL-M01"])])
def test_a_collate_function_keeps_the_streams_of_items_together(how, expected):
    assert alarms_of(streams(how))[:1] == expected


def test_triplets_that_are_drawn_from_a_pool_share_their_parts():
    torch.manual_seed(0)
    y = torch.arange(60) % 6
    pool = torch.randn(60, 10) + 2 * torch.randn(6, 10)[y]
    far = torch.cat([torch.randperm(60)[:5] for _ in range(48)]).tolist()
    pairs = [(k // 5, k // 5 + 6, far[k]) for k in range(240)]
    model = network()

    class Triplets(Dataset):
        def __len__(self):
            return len(pairs)

        def __getitem__(self, row):
            a, p, n = pairs[row]
            return {"anchor": pool[a], "near": pool[p], "far": pool[n], "code": int(y[a])}

    def loss(batch):
        rows = [normalize(model(batch[name]), dim=1) for name in ("anchor", "near", "far")]
        triplet = nn.functional.triplet_margin_loss(*rows, margin=0.5)
        return triplet + 0.1 * contrast(rows[0], batch["code"])

    loader = DataLoader(Triplets(), 48, shuffle=True)
    assert alarms_of(loop(loader, loss, Adam(model.parameters(), 1e-3))) == []


def class_centres(how):
    """A softmax over class centres of which each step takes some, as partial FC does."""
    model, x, y = parts()
    y = y.clone()
    y[0] = CLASSES  # a class of one sample
    centres = torch.randn(CLASSES + 1, 16)
    chosen = nn.Parameter(torch.empty(0, 16))
    optimiser = torch.optim.SGD([{"params": model.parameters()}, {"params": [chosen]}], 0.05)

    def train():
        for part, label in DataLoader(TensorDataset(x, y), 24, shuffle=True):
            few = torch.cat([label.unique(), torch.randperm(CLASSES + 1)[:3]]).unique()
            own = nn.Parameter(centres[few])
            optimiser.param_groups[1]["params"] = [own]
            table = normalize(model(part), dim=1) @ normalize(own, dim=1).T
            target = torch.searchsorted(few, label)
            margin = 0.2 * nn.functional.one_hot(target, len(few))
            scaled = 10 * torch.where(margin > 0, table - margin, table)
            optimiser.zero_grad()
            cross_entropy(scaled, target).backward()
            optimiser.step()
            centres[few] = own.data

    return train


def test_centres_that_are_made_anew_for_each_step_are_trained():
    assert alarms_of(class_centres("written back")) == []


@pytest.mark.parametrize("masked", [True, False])
def test_missing_values_that_a_model_masks_are_a_note(masked):
    model, x, y = parts()
    x = x.clone()
    x[torch.rand(x.shape) < 0.05] = float("nan")

    class Masking(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = model

        def forward(self, x):
            return self.body(x.nan_to_num(0.0) if masked else x)

    found = alarms_of(plain(Masking(), DataLoader(TensorDataset(x, y), 24, shuffle=True)))
    assert found[:1] == ([] if masked else ["QL-D06"])


@pytest.mark.parametrize(
    ("how", "expected"), [("frames", []), ("grey", []), ("one frame", ["QL-D23"])]
)
def test_frames_that_share_a_memory_are_copies(how, expected):
    _, x, y = parts()
    moving = torch.stack([x.roll(k, 1) + 0.1 * torch.randn_like(x) for k in range(6)], 1)
    if how == "one frame":
        moving[:, :5] = moving[:, 5:]
    elif how == "grey":
        moving = moving[:, :2].repeat_interleave(3, 1)
    model = nn.Sequential(nn.Flatten(), network(width=moving[0].numel()))
    loader = DataLoader(TensorDataset(moving, y), 24, shuffle=True)
    assert alarms_of(plain(model, loader))[:1] == expected
