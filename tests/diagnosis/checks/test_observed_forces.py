"""What losses do to pairs of rows: mistakes in whom they draw, each beside healthy losses."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.functional import cross_entropy, normalize

from tests.diagnosis.checks.test_observed import Adam, parts
from tests.diagnosis.checks.test_observed_kinds import alarms_of
from tests.diagnosis.observe.test_healthy_loops import jitter, loader_of, loop


def trained_with(of):
    """A loop whose loss is of(embeddings of view a, of view b, labels)."""
    model, x, y = parts()

    def loss(batch):
        return of(model(jitter(batch[0])), model(jitter(batch[0])), batch[1])

    return loop(loader_of(x, y, size=48), loss, Adam(model.parameters(), 1e-3))


def unit(a, b):
    return normalize(a, dim=1), normalize(b, dim=1)


def supcon(z, positive, itself="left out"):
    n = len(z)
    own = torch.eye(n, dtype=torch.bool)
    logits = z @ z.T / 0.2
    if itself == "left out":
        logits = logits.masked_fill(own, -1e9)
    if itself != "positive":
        positive = positive & ~own
    return -(positive * logits.log_softmax(1)).sum(1).div(positive.sum(1)).mean()


def by_class(z, labels, **how):
    return supcon(z, labels[:, None] == labels, **how)


def two_views(layout, mask):
    def of(a, b, y):
        a, b = unit(a, b)
        z = torch.cat([a, b]) if layout == "blocks" else torch.stack([a, b], 1).flatten(0, 1)
        place = torch.arange(len(z))
        partner = (place + len(a)) % len(z) if mask == "blocks" else place ^ 1
        return supcon(z, place == partner[:, None])

    return of


def clip(shift):
    def of(a, b, y):
        a, b = unit(a, b)
        targets = (torch.arange(len(a)) + shift) % len(a)
        return cross_entropy(a @ b.T / 0.1, targets) + cross_entropy(b @ a.T / 0.1, targets)

    return of


def front_column(targets):
    """The positive in front of all the others, as MoCo lays them out, without a queue."""

    def of(a, b, y):
        a, b = unit(a, b)
        table = a @ b.T
        others = table.masked_fill(torch.eye(len(a), dtype=torch.bool), -1e9)
        logits = torch.cat([(a * b).sum(1, keepdim=True), others], 1) / 0.2
        zeros = torch.zeros(len(a), dtype=torch.long)
        return cross_entropy(logits, zeros if targets == "zeros" else torch.arange(len(a)))

    return of


def triplet(sign):
    """Of every anchor, its other view against all rows of other classes, at a margin."""

    def of(a, b, y):
        a, b = unit(a, b)
        near = (a - b).square().sum(1)
        far = torch.cdist(a, b).square()
        gap = sign * (near[:, None] - far) + 0.5
        return F.relu(gap)[y[:, None] != y].mean()

    return of


def distances(term):
    def of(a, b, y):
        same = y[:, None] == y
        d = torch.cdist(a, b)
        if term == "both":
            return (d * same).mean() + F.relu(4 - d[~same]).mean()
        return (d * same).mean() if term == "near alone" else (4 - d[~same]).clamp(min=0).mean()

    return of


def stopped(a, b, y):
    """One side is a target: something else than this pair keeps the rows apart."""
    return 2 - 2 * F.cosine_similarity(a, b.detach()).mean()


def with_variance(a, b, y):
    spread = F.relu(1 - a.std(0)).mean() + F.relu(1 - b.std(0)).mean()
    return (a - b).square().mean() + spread


def coarser(a, b, y):
    return by_class(torch.cat(unit(a, b)), (y % 2).repeat(2))


HEALTHY = {
    "SupCon": lambda a, b, y: by_class(torch.cat(unit(a, b)), y.repeat(2)),
    "SupCon of one view": lambda a, b, y: by_class(unit(a, b)[0], y),
    "SupCon of coarser classes": coarser,
    "NT-Xent in blocks": two_views("blocks", "blocks"),
    "NT-Xent, interleaved": two_views("interleaved", "interleaved"),
    "CLIP": clip(0),
    "front column": front_column("zeros"),
    "triplets": triplet(1.0),
    "contrastive margin": distances("both"),
    "negatives alone": distances("far alone"),
    "stopped gradient": stopped,
    "variance term": with_variance,
    "supervised by cosine embedding": lambda a, b, y: F.cosine_embedding_loss(
        a, b.roll(1, 0), 2.0 * (y == y.roll(1)) - 1, margin=0.2
    ),
}
FAULTS = {
    "views interleaved, mask in blocks": (two_views("interleaved", "blocks"), "QL-P25"),
    "views in blocks, mask interleaved": (two_views("blocks", "interleaved"), "QL-P25"),
    "targets one column off": (clip(1), "QL-P22"),
    "front column, targets in order": (front_column("in order"), "QL-P22"),
    "every pair a positive": (
        lambda a, b, y: by_class(torch.cat(unit(a, b)), 0 * y.repeat(2)),
        "QL-P26",
    ),
    "labels of other rows": (
        lambda a, b, y: by_class(unit(a, b)[0], y[torch.randperm(len(y))]),
        "QL-P26",
    ),
    "labels interleaved, rows in blocks": (
        lambda a, b, y: by_class(torch.cat(unit(a, b)), y.repeat_interleave(2)),
        "QL-P26",
    ),
    "nothing but near pairs": (distances("near alone"), "QL-P27"),
    "two towers without negatives": (
        lambda a, b, y: 1 - F.cosine_similarity(a, b).mean(),
        "QL-P27",
    ),
    "triplets the wrong way round": (triplet(-1.0), "QL-P06"),
    "the sign": (lambda a, b, y: -by_class(torch.cat(unit(a, b)), y.repeat(2)), "QL-P06"),
    "itself in the denominator": (
        lambda a, b, y: by_class(torch.cat(unit(a, b)), y.repeat(2), itself="a negative"),
        "QL-P21",
    ),
}


@pytest.mark.parametrize("kind", HEALTHY)
def test_a_loss_that_draws_the_right_rows_is_no_alarm(kind):
    assert alarms_of(trained_with(HEALTHY[kind])) == []


@pytest.mark.parametrize("kind", FAULTS)
def test_a_loss_that_draws_the_wrong_rows_is_named(kind):
    of, code = FAULTS[kind]
    assert alarms_of(trained_with(of))[:1] == [code]


def test_rows_that_a_reshape_tears_are_told_from_rows_that_are_joined():
    class Model(nn.Module):
        def __init__(self, how):
            super().__init__()
            self.how = how
            self.read, self.out = nn.GRU(5, 24), nn.Linear(24, 16)

        def forward(self, x):
            steps = x.reshape(len(x), 2, 5)
            if self.how == "transposed":
                return self.out(self.read(steps.transpose(0, 1))[0][-1])
            return self.out(self.read(steps.reshape(2, len(x), 5))[0][-1])

    def run(how):
        _, x, y = parts()
        model = Model(how)

        def loss(batch):
            return by_class(normalize(model(batch[0]), dim=1), batch[1])

        return alarms_of(loop(loader_of(x, y, size=48), loss, Adam(model.parameters(), 1e-3)))

    assert run("transposed") == []
    assert run("reshaped")[:1] == ["QL-N23"]
