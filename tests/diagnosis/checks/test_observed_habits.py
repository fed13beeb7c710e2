"""Habits of training loops, each mistake beside a healthy loop that looks like it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize
from torch.nn.utils.rnn import pad_sequence
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, StepLR
from torch.utils.data import DataLoader, TensorDataset

from tests.diagnosis.checks.test_observed_runs import alarms_of

CLASSES, WIDTH, ROWS = 4, 12, 320


def data():
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, CLASSES, (ROWS,), generator=generator)
    x = torch.randn(CLASSES, WIDTH, generator=generator)[y]
    return x + 0.5 * torch.randn(ROWS, WIDTH, generator=generator), y


def network(out=CLASSES):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, 32), nn.ReLU(), nn.Linear(32, out))


def fit(model, loader, *, epochs=3, optimiser=None, scheduler=None, every=1, per_epoch=False):
    optimiser = optimiser or torch.optim.AdamW(model.parameters(), 1e-3)
    scheduler = scheduler and scheduler(optimiser)
    for _ in range(epochs):
        model.train()
        for i, (x, y) in enumerate(loader):
            (cross_entropy(model(x), y) / every).backward()
            if (i + 1) % every == 0:
                optimiser.step()
                optimiser.zero_grad()
                if scheduler and not per_epoch:
                    scheduler.step()
        if scheduler and per_epoch:
            scheduler.step()


def loader_of(x, y, **options):
    return DataLoader(TensorDataset(x, y), 16, shuffle=True, drop_last=True, **options)


# schedules


@pytest.mark.parametrize(
    ("scheduler", "per_epoch", "expected"),
    [
        (lambda o: StepLR(o, 3, 0.1), False, ["QL-O05"]),
        (lambda o: StepLR(o, 2, 0.1), True, []),
        (lambda o: LambdaLR(o, lambda n: min(1, (n + 1) / 30)), False, []),
        (lambda o: LambdaLR(o, lambda n: min(1, (n + 1) / 30)), True, ["QL-O15"]),
    ],
)
def test_a_schedule_counts_what_it_is_called_with(scheduler, per_epoch, expected):
    def train():
        fit(network(), loader_of(*data()), epochs=5, scheduler=scheduler, per_epoch=per_epoch)

    assert alarms_of(train) == expected


def test_a_schedule_of_accumulated_steps_is_as_long_as_they_are():
    def train():
        epochs, loader = 6, loader_of(*data())
        updates = epochs * len(loader) // 4
        schedule = lambda o: CosineAnnealingLR(o, updates)  # noqa: E731
        fit(network(), loader, epochs=epochs, scheduler=schedule, every=4)

    assert alarms_of(train) == []


# inputs


@pytest.mark.parametrize(("fill", "expected"), [(-9999.0, 1), (0.0, 0), (-8.0, 0)])
def test_a_value_that_stands_in_for_what_is_missing(fill, expected):
    def train():
        x, y = data()
        missing = torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.05
        x = torch.where(missing, torch.tensor(fill), x)
        fit(network(), loader_of((x - x.mean(0)) / x.std(0), y))

    assert alarms_of(train) == ["QL-D26"] * expected


def test_shorter_rows_are_filled_up_at_their_end():
    def train():
        generator = torch.Generator().manual_seed(0)
        lengths = torch.randint(6, 12, (ROWS,), generator=generator)
        series = [torch.randn(int(n), 3, generator=generator) for n in lengths]
        x = nn.functional.pad(pad_sequence(series, batch_first=True), (0, 0, 0, 3))
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * x.shape[1], CLASSES))
        fit(model, loader_of(x, data()[1]))

    assert alarms_of(train) == []


@pytest.mark.parametrize("scaled", [True, False])
def test_two_loaders_prepare_their_inputs_alike(scaled):
    def train():
        x, y = data()
        raw = 40 + 20 * x
        loader = loader_of(x, y)
        val = DataLoader(TensorDataset(x + 0.01, y), 80)
        test = DataLoader(TensorDataset(x + 0.02 if scaled else raw, y), 80)
        model = network()
        body = nn.Sequential(nn.Identity(), model)
        optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
        for _ in range(2):
            for part, labels in loader:  # what the network is given is computed in training
                rows = model[0](part + 0.1 * torch.randn_like(part))
                optimiser.zero_grad()
                cross_entropy(model[2](model[1](rows)), labels).backward()
                optimiser.step()
            model.eval()
            with torch.no_grad():
                for given in (val, test):
                    for part, _labels in given:
                        model(part)
            model.train()
        return body

    assert ("QL-E22" in alarms_of(train)) == (not scaled)


# modules


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("told_by", ["name", "blank"])
def test_a_mask_leaves_out_what_is_not_there(turned, told_by):
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
            self.into, self.classes = nn.Linear(3, 8), nn.Linear(8, CLASSES)
            self.body = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

        def forward(self, x, there):
            mask = there if turned else ~there
            mask = mask.clone()
            mask[:, 0] = False  # a row of nothing but padding has no attention
            return self.classes(self.body(self.into(x), src_key_padding_mask=mask).mean(1))

    def train():
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(ROWS, 40, 3, generator=generator)
        lengths = torch.randint(10, 35, (ROWS,), generator=generator)
        there = torch.arange(40) < lengths[:, None]
        x = x * there[..., None] if told_by == "blank" else x
        items = [
            {"x": a, "present" if told_by == "name" else "m": b, "y": c}
            for a, b, c in zip(x, there, data()[1], strict=True)
        ]
        model = Reader()
        optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
        for batch in DataLoader(items, 32, shuffle=True):
            optimiser.zero_grad()
            logits = model(batch["x"], batch["present" if told_by == "name" else "m"])
            cross_entropy(logits, batch["y"]).backward()
            optimiser.step()

    assert ("QL-M05" in alarms_of(train)) == turned


@pytest.mark.parametrize(("copied", "frozen"), [(False, True), (False, False), (True, True)])
def test_a_teacher_is_a_module_of_its_own(copied, frozen):
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = network(8)
            self.momentum_encoder = network(8) if copied else self.encoder
            if frozen:
                self.momentum_encoder.requires_grad_(False)
            self.predictor = nn.Linear(8, 8)

        def forward(self, a, b):
            with torch.no_grad():
                target = normalize(self.momentum_encoder(b), dim=1)
            return normalize(self.predictor(self.encoder(a)), dim=1) @ target.T / 0.2

    def train():
        x, _ = data()
        model = Pair()
        held = [p for p in model.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(held, 1e-3)
        for (part,) in DataLoader(TensorDataset(x), 16, shuffle=True):
            a, b = (part + 0.1 * torch.randn_like(part) for _ in range(2))
            optimiser.zero_grad()
            cross_entropy(model(a, b), torch.arange(len(part))).backward()
            optimiser.step()
            if copied:
                with torch.no_grad():
                    pairs = zip(
                        model.momentum_encoder.parameters(), model.encoder.parameters(), strict=True
                    )
                    for old, new in pairs:
                        old.lerp_(new, 0.05)

    assert ("QL-N25" in alarms_of(train)) == (not copied and frozen)


@pytest.mark.parametrize("whole", [True, False])
def test_a_probe_trains_its_head_alone(whole):
    def train():
        x, y = data()
        model = network(16)
        loader = loader_of(x, y)

        def linear_probe():
            head = nn.Linear(16, CLASSES)
            moved = [*model.parameters(), *head.parameters()] if whole else head.parameters()
            optimiser = torch.optim.Adam(moved, 1e-3)
            for part, labels in loader:
                rows = model(part) if whole else model(part).detach()
                optimiser.zero_grad()
                cross_entropy(head(rows), labels).backward()
                optimiser.step()

        fit(model, loader, epochs=2)
        linear_probe()

    assert alarms_of(train) == ["QL-E24"] * whole


# loops without a loader


@pytest.mark.parametrize("tiled", [True, False])
def test_views_of_rows_that_are_taken_by_number_are_followed(tiled):
    def train():
        x, _ = data()
        model = network(16)
        optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
        for rows in torch.randperm(len(x)).split(32):
            part = x[rows]
            views = torch.stack([part + 0.1 * torch.randn_like(part) for _ in range(2)], 1)
            z = normalize(model(views.flatten(0, 1)), dim=1)
            n = torch.arange(len(rows))
            ids = n.repeat(2) if tiled else n.repeat_interleave(2)
            itself = torch.eye(len(z), dtype=torch.bool)
            log_odds = (z @ z.T / 0.2).masked_fill(itself, -1e9).log_softmax(1)
            same = (ids[:, None] == ids) & ~itself
            optimiser.zero_grad()
            (-log_odds[same].mean()).backward()
            optimiser.step()

    assert alarms_of(train) == ["QL-P25"] * tiled


def test_numbers_of_an_embedding_s_rows_are_no_classes():
    """A two-tower recommender, whose items come again in a batch and are masked there."""

    def train():
        generator = torch.Generator().manual_seed(0)
        users, items = (torch.randint(0, n, (ROWS,), generator=generator) for n in (60, 90))
        torch.manual_seed(0)
        left, right = nn.Embedding(60, 16), nn.Embedding(90, 16)
        optimiser = torch.optim.Adagrad([*left.parameters(), *right.parameters()], 0.05)
        for u, i in DataLoader(TensorDataset(users, items), 64, shuffle=True, drop_last=True):
            logits = normalize(left(u), dim=1) @ normalize(right(i), dim=1).T / 0.15
            again = (i[:, None] == i) & ~torch.eye(len(i), dtype=torch.bool)
            optimiser.zero_grad()
            cross_entropy(logits.masked_fill(again, -1e9), torch.arange(len(i))).backward()
            optimiser.step()

    assert alarms_of(train) == []


def test_what_a_collation_draws_tells_no_item():
    def pairs(items):
        cut = lambda x: x[: int(torch.randint(4, WIDTH, (1,)))]  # noqa: E731
        sides = [[cut(x) for x, _ in items] for _ in range(2)]
        return tuple(
            (pad_sequence(side, batch_first=True), torch.tensor(list(map(len, side))))
            for side in sides
        )

    def train():
        torch.manual_seed(0)
        model = nn.Linear(WIDTH, 8)
        optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
        loader = DataLoader(TensorDataset(*data()), 32, shuffle=True, collate_fn=pairs)
        for (a, m), (b, n) in loader:
            a, b = (nn.functional.pad(v, (0, WIDTH - v.shape[1])) for v in (a, b))
            rows = [normalize(model(v), dim=1) for v in (a / m[:, None], b / n[:, None])]
            optimiser.zero_grad()
            cross_entropy(rows[0] @ rows[1].T / 0.2, torch.arange(len(a))).backward()
            optimiser.step()

    assert alarms_of(train) == []


def test_a_dropout_of_nothing_may_stay_in_training_mode():
    def train():
        x, y = data()
        model = nn.Sequential(network(), nn.Dropout(0.0))
        fit(model, loader_of(x, y))
        with torch.no_grad():
            for part, _ in DataLoader(TensorDataset(x, y), 80):
                model(part)

    assert alarms_of(train) == []


@pytest.mark.parametrize(
    ("turned", "targets", "scaled", "expected"),
    [
        (False, lambda n, m: torch.zeros(n).long(), "all", []),
        (False, lambda n, m: torch.arange(n), "all", ["QL-P22"]),
        (True, lambda n, m: torch.zeros(n).long(), "all", ["QL-P22"]),
        (True, lambda n, m: torch.full((n,), m), "all", []),
        (False, lambda n, m: torch.zeros(n).long(), "negatives", ["QL-P03"]),
        (False, lambda n, m: torch.zeros(n).long(), "each", []),
    ],
)
def test_what_is_joined_to_negatives_is_the_target_at_one_scale(turned, targets, scaled, expected):
    def train():
        x, _ = data()
        model, tau = network(16), 0.2
        optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
        queue = normalize(torch.randn(16, 64), dim=0)
        for n in range(0, len(x), 32):
            part = x[n : n + 32]
            a, b = (normalize(model(part + 0.1 * torch.randn_like(part)), dim=1) for _ in range(2))
            own, others = (a * b.detach()).sum(1, keepdim=True), a @ queue.clone()
            if scaled == "each":
                own = own / tau
            if scaled in ("each", "negatives"):
                others = others / tau
            logits = torch.cat([others, own] if turned else [own, others], 1)
            logits = logits / tau if scaled == "all" else logits
            optimiser.zero_grad()
            cross_entropy(logits, targets(len(a), 64)).backward()
            optimiser.step()
            queue = torch.cat([b.detach().T, queue], 1)[:, :64]

    assert [code for code in alarms_of(train) if code in ("QL-P22", "QL-P03")] == expected


@pytest.mark.parametrize(("clamped", "expected"), [(True, 1), (False, 0)])
def test_rows_without_a_class_are_told_to_be_of_none(clamped, expected):
    def train():
        x, y = data()
        y = y.masked_fill(torch.arange(len(y)) % 3 == 0, -1)
        model = network()
        optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
        for part, labels in loader_of(x, y):
            told = labels.clamp(min=0) if clamped else labels
            optimiser.zero_grad()
            cross_entropy(model(part), told, ignore_index=-1).backward()
            optimiser.step()

    assert alarms_of(train) == ["QL-L21"] * expected


# loops one after the other


class Deep(nn.Module):
    """A frozen body, and adapters that may be out of sight of `parameters()`."""

    def __init__(self, body, listed: bool) -> None:
        super().__init__()
        adapters = [nn.Linear(32, 32) for _ in range(2)]
        self.body, self.adapters = body, adapters if listed else nn.ModuleList(adapters)
        self.head, self.last = nn.Linear(32, 16), nn.Linear(16, CLASSES)

    def forward(self, x):
        rows = self.body(x)
        for adapter in self.adapters:
            rows = adapter(rows).relu()
        return self.last(self.head(rows))


@pytest.mark.parametrize("listed", [True, False])
def test_fine_tuning_after_pre_training_is_watched_too(listed):
    def pretrain():
        body = nn.Sequential(nn.Linear(WIDTH, 32), nn.ReLU())
        fit(nn.Sequential(body, nn.Linear(32, CLASSES)), loader_of(*data()))
        return body.requires_grad_(False)

    def train():
        torch.manual_seed(0)
        model = Deep(pretrain(), listed)
        moved = [p for p in model.parameters() if p.requires_grad]
        fit(model, loader_of(*data()), optimiser=torch.optim.AdamW(moved, 1e-3))

    assert alarms_of(train) == ["QL-N02"] * listed


def test_a_linear_head_after_training_is_no_loop_of_its_own():
    def train():
        loader = loader_of(*data())
        body = nn.Sequential(nn.Linear(WIDTH, 32), nn.ReLU(), nn.Linear(32, 16))
        fit(nn.Sequential(body, nn.Linear(16, CLASSES)), loader)
        head = nn.Linear(16, CLASSES)
        optimiser = torch.optim.SGD(head.parameters(), 0.1)
        for x, y in loader:
            with torch.no_grad():
                rows = body(x)
            optimiser.zero_grad()
            cross_entropy(head(rows), y).backward()
            optimiser.step()

    assert alarms_of(train) == []


def test_rows_of_two_towers_have_a_positive_each():
    def train():
        x, _ = data()
        ids = torch.arange(ROWS) // 2
        questions, answers = network(8), network(8)
        optimiser = torch.optim.AdamW([*questions.parameters(), *answers.parameters()], 1e-3)
        for q, a, own in DataLoader(TensorDataset(x, x.roll(1, 1), ids), 16, shuffle=True):
            scores = 10 * normalize(questions(q), dim=1) @ normalize(answers(a), dim=1).T
            same = (own[:, None] == own).float()
            optimiser.zero_grad()
            cross_entropy(scores, same / same.sum(1, keepdim=True)).backward()
            optimiser.step()

    assert alarms_of(train) == []


@pytest.mark.parametrize("mode", [True, False])
def test_a_momentum_encoder_is_evaluated_in_evaluation_mode_too(mode):
    def train():
        x, y = data()
        model = nn.Sequential(nn.Linear(WIDTH, 32), nn.BatchNorm1d(32), nn.Linear(32, CLASSES))
        slow = copy.deepcopy(model).requires_grad_(False)
        optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
        for _ in range(3):
            for rows, own in loader_of(x, y):
                optimiser.zero_grad()
                noisy = rows + 0.1 * torch.randn_like(rows)
                logits = model(rows)
                apart = (slow(noisy) - logits).square().mean()
                (cross_entropy(logits, own) + apart).backward()
                optimiser.step()
                for one, other in zip(slow.parameters(), model.parameters(), strict=True):
                    one.data.lerp_(other.data, 0.1)
        slow.train(mode)
        with torch.no_grad():
            return [slow(part) for part in x.split(32)]

    assert alarms_of(train) == ["QL-E02"] * mode


@pytest.mark.parametrize("by_kind", [True, False])
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_loader_keeps_no_order_in_which_like_follows_like(by_kind, shuffle):
    def train():
        generator = torch.Generator().manual_seed(0)
        kind = torch.arange(ROWS) // 80 if by_kind else torch.arange(ROWS) % 4
        walks = torch.randn(ROWS, 3, 40, generator=generator) * (1 + kind)[:, None, None]
        model = nn.Sequential(nn.Flatten(), nn.Linear(120, 16))
        optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
        for (x,) in DataLoader(TensorDataset(walks), 32, shuffle=shuffle):
            views = [x + 0.1 * torch.randn_like(x) for _ in range(2)]
            one, other = (normalize(model(view), dim=1) for view in views)
            optimiser.zero_grad()
            cross_entropy(one @ other.T / 0.2, torch.arange(len(x))).backward()
            optimiser.step()

    assert alarms_of(train) == ["QL-B05"] * (by_kind and not shuffle)
