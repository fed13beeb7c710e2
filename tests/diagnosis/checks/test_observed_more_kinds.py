"""More kinds of mistakes met in strangers' loops, each beside a healthy one that looks like it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from tests.diagnosis.checks.test_observed import Adam, parts, plain
from tests.diagnosis.checks.test_observed_kinds import alarms_of
from tests.diagnosis.observe.test_healthy_loops import (
    CLASSES,
    info,
    jitter,
    loader_of,
    loop,
    network,
)
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


class Table(torch.utils.data.Dataset):
    """Features alone; the labels are kept beside them, for the evaluation."""

    def __init__(self, features, targets):
        self.features, self.targets = features, targets

    def __len__(self):
        return len(self.features)

    def __getitem__(self, row):
        return self.features[row]


@pytest.mark.parametrize(
    "added", ["code", "one column a class", "two classes as one", "attributes"]
)
@pytest.mark.parametrize("supervised", [True, False])
def test_the_label_is_none_of_the_features(added, supervised):
    _, x, y = parts()
    columns = {
        "code": (y[:, None].float() - 2.3) / 1.7,
        "one column a class": nn.functional.one_hot(y, CLASSES).float(),
        "two classes as one": (y[:, None] // 2).float(),
        "attributes": torch.randn(CLASSES, 40)[y],  # of each class, more than there are features
    }[added]
    rows = torch.cat([x, columns], 1)
    model = network(width=rows.shape[1])
    if supervised:
        train = plain(model, loader_of(rows, y))
    else:
        loader = torch.utils.data.DataLoader(Table(rows, y.numpy()), 24, shuffle=True)
        loss = lambda b: info(model(jitter(b)), model(jitter(b)))  # noqa: E731
        train = loop(loader, loss, Adam(model.parameters(), 1e-3))
    leaks = added in ("code", "one column a class")
    assert alarms_of(train)[:1] == (["QL-D22"] if leaks else [])


@pytest.mark.parametrize("offset", [True, False])
def test_the_edges_of_graphs_in_one_batch_are_numbered_on(offset):
    """Chains and rings as dictionaries, joined by a collate of one's own."""
    torch.manual_seed(0)
    graphs = []
    for number in range(96):
        nodes = 5 + number % 7
        chain = torch.arange(nodes - 1 + number % 2)
        ends = torch.stack([chain, (chain + 1) % nodes])
        graphs.append({"h": torch.randn(nodes, 10) + 2 * (number % 2), "edges": ends})

    def collate(items):
        sizes = torch.tensor([len(item["h"]) for item in items])
        starts = (sizes.cumsum(0) - sizes).tolist() if offset else [0] * len(items)
        edges = torch.cat([g["edges"] + s for g, s in zip(items, starts, strict=True)], 1)
        owner = torch.arange(len(items)).repeat_interleave(sizes)
        return {"h": torch.cat([g["h"] for g in items]), "edges": edges, "graph": owner}

    model = network(norm=False)

    def embed(batch, h):
        h = model(h.index_add(0, batch["edges"][1], h[batch["edges"][0]]))
        return torch.zeros(24, 16).index_add(0, batch["graph"], h)

    loader = torch.utils.data.DataLoader(graphs, 24, shuffle=True, collate_fn=collate)
    loss = lambda b: info(embed(b, jitter(b["h"])), embed(b, jitter(b["h"])))  # noqa: E731
    train = loop(loader, loss, Adam(model.parameters(), 1e-3))
    assert alarms_of(train)[:1] == ([] if offset else ["QL-B21"])


@pytest.mark.parametrize(
    ("rate", "dtype", "expected"),
    [
        (1e-5, torch.bfloat16, ["QL-O23"]),
        (5e-3, torch.bfloat16, []),
        (1e-5, torch.float32, []),
    ],
)
def test_half_precision_weights_resolve_their_updates(rate, dtype, expected):
    _, x, y = parts()
    model = network(norm=False).to(dtype)
    loss = lambda b: contrast(normalize(model(b[0].to(dtype)).float(), dim=1), b[1])  # noqa: E731
    assert alarms_of(loop(loader_of(x, y), loss, Adam(model.parameters(), rate))) == expected


@pytest.mark.parametrize("how", ["attribute", "method", "both"])
def test_a_flag_on_a_module_is_no_flag_of_its_parameters(how):
    model, x, y = parts()
    head = nn.Linear(16, 16)
    if how != "method":
        head.requires_grad = False
    if how != "attribute":
        head.requires_grad_(False) if how == "method" else [
            p.requires_grad_(False) for p in head.parameters()
        ]
    whole = nn.Sequential(model, head)
    assert alarms_of(plain(whole, loader_of(x, y))) == (["QL-N22"] if how == "attribute" else [])


class Answers(torch.utils.data.Dataset):
    """A question, its answer and three wrong ones, as rows of numbers."""

    def __init__(self, positive_again: bool) -> None:
        torch.manual_seed(0)
        self.questions = torch.randn(96, 10)
        self.answers = self.questions + 0.3 * torch.randn(96, 10)
        self.again = positive_again

    def __len__(self):
        return 96

    def __getitem__(self, row):
        wrong = (row + 1 + torch.randperm(95)[:3]) % 96
        if self.again and row % 3:
            wrong[1] = row
        return self.questions[row], self.answers[[row, *wrong.tolist()]]


def answering(layout: str, targets: str, positive_again: bool = False):
    network_of_rows = network(dropout=0.2)

    def collate(items):
        questions, answers = (torch.stack(part) for part in zip(*items, strict=True))
        if layout == "positives first":
            answers = answers.transpose(0, 1)
        return {"question": questions, "answer": answers.reshape(-1, 10)}

    def loss(batch):
        q = normalize(network_of_rows(batch["question"]), dim=1)
        table = q @ normalize(network_of_rows(batch["answer"]), dim=1).T / 0.1
        place = torch.arange(len(q))
        return cross_entropy(table, place * 4 if targets == "scaled" else place)

    data = Answers(positive_again)
    loader = torch.utils.data.DataLoader(data, 24, shuffle=True, collate_fn=collate)
    return loop(loader, loss, Adam(network_of_rows.parameters(), 1e-3))


@pytest.mark.parametrize(
    ("layout", "targets", "expected"),
    [
        ("one after the other", "scaled", []),
        ("one after the other", "plain", ["QL-P22"]),
        ("positives first", "plain", []),
        ("positives first", "scaled", ["QL-P22"]),
    ],
)
def test_targets_are_columns_that_the_row_brings(layout, targets, expected):
    assert alarms_of(answering(layout, targets))[:1] == expected


def test_the_positive_is_none_of_its_own_negatives():
    assert alarms_of(answering("one after the other", "scaled", True)) == ["QL-B20"]


@pytest.mark.parametrize(
    ("how", "expected"),
    [("moved on", []), ("one block", ["QL-N21"]), ("never", ["QL-N21"]), ("shifted", [])],
)
def test_a_queue_is_refilled_all_round(how, expected):
    model, x, y = parts()
    key = copy.deepcopy(model).requires_grad_(False)
    queue, place = normalize(torch.randn(240, 16), dim=1), [0]

    def loss(batch):
        q = normalize(model(jitter(batch[0])), dim=1)
        with torch.no_grad():
            for slow, fast in zip(key.parameters(), model.parameters(), strict=True):
                slow.lerp_(fast, 0.01)
            k = normalize(key(jitter(batch[0])), dim=1)
        own = (q * k).sum(1, keepdim=True)
        table = torch.cat([own, torch.einsum("nc,kc->nk", q, queue.clone())], 1) / 0.1
        if how == "shifted":
            queue.copy_(torch.cat([k, queue])[:240])
        elif how != "never":
            queue[place[0] : place[0] + len(k)] = k
            place[0] = (place[0] + len(k) * (how == "moved on")) % 240
        return cross_entropy(table, torch.zeros(len(q), dtype=torch.long))

    assert alarms_of(loop(loader_of(x, y), loss, Adam(model.parameters(), 1e-3))) == expected
