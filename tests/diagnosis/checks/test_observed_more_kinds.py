"""More kinds of mistakes met in strangers' loops, each beside a healthy one that looks like it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from tests.diagnosis.checks.test_observed import Adam, parts, plain
from tests.diagnosis.checks.test_observed_kinds import alarms_of
from tests.diagnosis.observe.test_healthy_loops import CLASSES, jitter, loader_of, loop
from tests.diagnosis.observe.test_recorder import contrast


@pytest.mark.parametrize("cleared", ["model", "optimiser"])
def test_what_only_the_optimiser_holds_is_cleared_too(cleared):
    model, x, y = parts()
    proxies = nn.Parameter(torch.randn(CLASSES, 16))
    optimiser = Adam([*model.parameters(), proxies], 1e-3)

    def train():
        for part, label in loader_of(x, y):
            (model if cleared == "model" else optimiser).zero_grad()
            table = normalize(model(part), dim=1) @ normalize(proxies, dim=1).T
            cross_entropy(table / 0.1, label).backward()
            optimiser.step()

    assert alarms_of(train) == (["QL-O20"] if cleared == "model" else [])


def test_gradients_that_another_part_s_pass_leaves_behind_are_no_pile():
    """As of a discriminator in the generator's pass: cleared before its own."""
    model, x, y = parts()
    judge_of_rows = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
    first, second = Adam(model.parameters(), 1e-3), Adam(judge_of_rows.parameters(), 1e-3)

    def train():
        for part, label in loader_of(x, y):
            first.zero_grad()
            rows = normalize(model(part), dim=1)
            (contrast(rows, label) + 0.1 * judge_of_rows(rows).mean()).backward()
            first.step()
            second.zero_grad()
            other = judge_of_rows(rows.detach()) - judge_of_rows(torch.randn_like(rows))
            (other.square() - other).mean().backward()
            second.step()

    assert alarms_of(train) == []


def test_a_schedule_is_measured_by_the_steps_of_its_own_optimiser():
    """The other one has a rate a thousand times as large, as that of centres has."""
    model, x, y = parts()
    centres = nn.Parameter(torch.randn(CLASSES, 16))
    optimiser, other = Adam(model.parameters(), 1e-3), torch.optim.SGD([centres], 10.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: min(1.0, 0.01 + k / 20))

    def loss(batch):
        rows = normalize(model(batch[0]), dim=1)
        return contrast(rows, batch[1]) + 1e-3 * (rows - centres[batch[1]]).square().sum(1).mean()

    train = loop(loader_of(x, y), loss, [optimiser, other], after=schedule.step, epochs=20)
    assert alarms_of(train) == []


def test_a_length_that_is_an_estimate_is_no_alarm():
    model, x, y = parts()

    class PairsOfFour(torch.utils.data.Sampler):
        def __iter__(self):
            for _ in range(8):
                codes = torch.randperm(CLASSES)[:4]
                rows = [(y == c).nonzero().flatten() for c in codes]
                yield torch.cat([r[torch.randperm(len(r))[:6]] for r in rows]).tolist()

        def __len__(self):
            return 24

    data = torch.utils.data.TensorDataset(x, y)
    loader = torch.utils.data.DataLoader(data, batch_sampler=PairsOfFour())
    assert alarms_of(plain(model, loader)) == []


def pairwise(labels: str):
    """Pairs of two views judged one by one, as SigLIP or a logistic link prediction does."""
    model, x, y = parts()
    shift = nn.Parameter(torch.tensor(-3.0))

    def loss(batch):
        table = normalize(model(jitter(batch[0])), dim=1) @ normalize(model(jitter(batch[0]))).T
        own, logits = torch.eye(len(table)), 10 * table + shift
        if labels.startswith("cross"):
            targets = own if labels == "cross-entropy" else 2 * own - 1
            return nn.functional.binary_cross_entropy_with_logits(logits, targets)
        signs = own if labels == "softplus of 0" else 2 * own - 1
        strange = (batch[1][:, None] != batch[1]) | own.bool()
        if labels == "softplus of strangers":
            return nn.functional.softplus(-signs * logits)[strange].mean()
        if labels == "weighted":
            return (nn.functional.softplus(-(own * logits)) * own).sum() / len(own)
        return nn.functional.softplus(-signs * logits).sum() / len(own)

    return loop(loader_of(x, y), loss, Adam([*model.parameters(), shift], 1e-3))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("softplus", []),
        ("softplus of strangers", []),
        ("softplus of 0", ["QL-P24"]),
        ("weighted", []),
        ("cross-entropy", []),
        ("cross-entropy of -1", ["QL-P24"]),
    ],
)
def test_a_loss_of_pairs_has_labels_of_its_convention(labels, expected):
    assert alarms_of(pairwise(labels))[:1] == expected


def test_a_frozen_part_with_norms_of_a_usual_width_is_no_teacher():
    _, x, y = parts()
    base = nn.Sequential(nn.Linear(10, 48), nn.LayerNorm(48), nn.ReLU(), nn.Linear(48, 32))
    model = nn.Sequential(
        base, nn.LayerNorm(32), nn.Linear(32, 48), nn.LayerNorm(48), nn.ReLU(), nn.Linear(48, 16)
    )
    base.requires_grad_(False)
    assert alarms_of(plain(model, loader_of(x, y))) == []
