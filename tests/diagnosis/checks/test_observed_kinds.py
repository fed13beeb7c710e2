"""Kinds of mistakes met in strangers' loops, each in a loop of its own and beside a healthy one."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, Dataset, TensorDataset

from quadlib.diagnosis.doors import judge
from quadlib.diagnosis.observe.recorder import Recorder
from tests.diagnosis.checks.test_observed import Adam, parts, plain
from tests.diagnosis.observe.test_healthy_loops import (
    CLASSES,
    ROWS,
    WIDTH,
    info,
    jitter,
    loader_of,
    loop,
)
from tests.diagnosis.observe.test_recorder import contrast


def alarms_of(train, **declared) -> list[str]:
    torch.manual_seed(0)
    with Recorder(steps=8) as recorder:
        train()
    diagnosis = judge(recorder.record, **declared)
    assert not recorder.record.faults and not diagnosis.crashed
    return [root.code for root in diagnosis.roots if root.severity != "note"]


def evaluated_first(model, loader, train):
    """A loop that embeds another loader's batches before it trains."""

    def run():
        with torch.no_grad():
            for batch in loader:
                model.eval()(batch[0])
        model.train()
        train()

    return run


class Recordings(Dataset):
    """Rows with files of two kinds, a mask, noise drawn from numpy, or a map of classes."""

    def __init__(self, x, y, **more):
        self.x, self.y = x, y
        self.augment = more.pop("augment", False)
        self.present = more.pop("present", None)
        vars(self).update(more)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        x = self.x[row]
        if self.augment:
            x = x + 0.3 * torch.from_numpy(np.random.normal(size=WIDTH)).float()  # noqa: NPY002
        if self.present is not None:
            return x, self.y[row], self.present[row]
        return x, self.y[row]


def recordings(**more) -> tuple[nn.Module, DataLoader, torch.Tensor, torch.Tensor]:
    model, x, y = parts()
    return model, DataLoader(Recordings(x, y, **more), 24, shuffle=True), x, y


@pytest.mark.parametrize("sorted_alike", [True, False])
def test_files_of_one_row_are_of_one_recording(sorted_alike):
    names = [f"{row:03d}" for row in range(ROWS)]
    order = names if sorted_alike else list(np.random.default_rng(0).permutation(names))
    model, loader, _, _ = recordings(
        videos=[f"videos/cam_{name}.mp4" for name in names],
        sounds=[f"audio/mic_{name}.wav" for name in order],
    )
    assert alarms_of(plain(model, loader)) == ([] if sorted_alike else ["QL-M01"])


@pytest.mark.parametrize("marked", [True, False])
def test_rows_that_are_marked_present_are_not_blank(marked):
    present = torch.rand(ROWS, generator=torch.Generator().manual_seed(0)) > 0.3
    failed = torch.arange(ROWS) % 5 == 0
    model, loader, x, _ = recordings(present=present & ~failed if marked else present)
    x[~present | failed] = 0
    loss = lambda b: contrast(normalize(model(b[0] * b[2][:, None]), dim=1), b[1])  # noqa: E731
    train = loop(loader, loss, Adam(model.parameters(), 1e-3))
    assert alarms_of(train)[:1] == ([] if marked else ["QL-D01"])


def test_rows_without_content_are_named_where_no_mask_speaks_of_them():
    model, loader, x, _ = recordings()
    x[::6] = 0
    assert alarms_of(plain(model, loader))[:1] == ["QL-D01"]


@pytest.mark.parametrize("names", [True, False])
def test_an_index_means_one_class_in_both_datasets(names):
    words = [f"class {code}" for code in range(CLASSES)]
    shifted = words[1:] + words[:1]
    maps = [{"class_to_idx": {w: k for k, w in enumerate(m)}} for m in (words, shifted)]
    model, loader, x, y = recordings(**maps[0] if names else {})
    more = maps[1] if names else {}
    test = DataLoader(Recordings(jitter(x), (y - 1) % CLASSES, **more), 24)
    run = evaluated_first(model, test, plain(model, loader))
    assert alarms_of(run) == ["QL-L06"]


def test_new_classes_that_are_numbered_anew_are_no_exchange():
    model, loader, _, _ = recordings()
    far = 4 * torch.randn(CLASSES, WIDTH)
    codes = torch.arange(ROWS) % CLASSES
    test = DataLoader(Recordings(far[codes] + torch.randn(ROWS, WIDTH), codes), 24)
    run = evaluated_first(model, test, plain(model, loader))
    assert alarms_of(run) == []


def seed_alike(worker: int) -> None:
    np.random.seed(7)  # noqa: NPY002


@pytest.mark.parametrize("start", [None, seed_alike])
def test_workers_draw_changes_of_their_own(start):
    model, x, y = parts()
    data = Recordings(x, y, augment=True)
    loader = DataLoader(data, 24, shuffle=True, num_workers=2, worker_init_fn=start)
    assert alarms_of(plain(model, loader)) == (["QL-B07"] if start else [])


def test_a_distance_in_the_place_of_a_similarity_drives_positives_apart():
    model, x, y = parts()
    proxies = nn.Parameter(torch.randn(CLASSES, 16))

    def loss(batch):
        table = torch.cdist(normalize(model(batch[0]), dim=1), normalize(proxies, dim=1))
        own = torch.nn.functional.one_hot(batch[1], CLASSES).float()
        return ((-4 * table).exp() * own).sum(1).log1p().mean() + (
            (4 * table).exp() * (1 - own)
        ).sum(1).log1p().mean()

    optimiser = Adam([*model.parameters(), proxies], 1e-3)
    assert alarms_of(loop(loader_of(x, y), loss, optimiser))[:1] == ["QL-P06"]


def test_views_that_are_viewed_instead_of_stacked_belong_to_other_samples():
    model, x, y = parts()

    def loss(batch):
        z = normalize(model(torch.cat([jitter(batch[0]), jitter(batch[0])])), dim=1)
        rows = torch.cat(torch.unbind(z.view(len(batch[0]), 2, -1), dim=1))
        return contrast(rows, torch.arange(len(batch[0])).repeat(2))

    assert alarms_of(loop(loader_of(x, y), loss, Adam(model.parameters(), 1e-3)))[:1] == ["QL-M07"]


@pytest.mark.parametrize("follows", [True, False])
def test_a_teacher_among_the_optimiser_s_parameters_is_still_a_teacher(follows):
    model, x, _ = parts()
    teacher = copy.deepcopy(model).requires_grad_(False)
    loss = lambda b: info(model(jitter(b[0])), teacher(jitter(b[0])))  # noqa: E731
    optimiser = Adam([*model.parameters(), *teacher.parameters()], 1e-3)

    @torch.no_grad()
    def follow():
        for own, other in zip(teacher.parameters(), model.parameters(), strict=True):
            own.lerp_(other, 0.01)

    train = loop(loader_of(x), loss, optimiser, after=follow if follows else None)
    assert alarms_of(train) == ([] if follows else ["QL-N20"])


@pytest.mark.parametrize(("gamma", "expected"), [(0.5, ["QL-O05"]), (0.98, [])])
def test_a_schedule_is_judged_by_the_length_that_the_loop_s_variables_declare(gamma, expected):
    model, x, y = parts()
    optimiser = Adam(model.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, gamma)
    loader = loader_of(x, y)

    def train(epochs=20):
        plain(model, loader, optimiser=optimiser, after=schedule.step, epochs=epochs)()

    assert alarms_of(train) == expected


def test_a_loss_that_is_computed_inside_the_step_is_followed():
    model, x, y = parts()
    optimiser = Adam(model.parameters(), 1e-3)
    loader = loader_of(x + 1e4, y)

    def train():
        for part, label in loader:

            def closure(part=part, label=label):
                optimiser.zero_grad()
                value = contrast(normalize(model(part), dim=1), label)
                value.backward()
                return value

            optimiser.step(closure)

    assert alarms_of(train)[:1] == ["QL-D21"]


def test_a_table_of_one_column_a_class_names_the_labels():
    model, x, y = parts()
    proxies = nn.Parameter(torch.randn(CLASSES, 16))

    def loss(batch):
        table = normalize(model(batch[0]), dim=1) @ normalize(proxies, dim=1).T / 0.1
        own = torch.nn.functional.one_hot(batch[1], CLASSES).float()
        return -(table.log_softmax(1) * own).sum(1).mean()

    loader = DataLoader(TensorDataset(x, y), 24, shuffle=True)
    assert alarms_of(loop(loader, loss, Adam([*model.parameters(), proxies], 1e-3))) == []


def test_an_iterator_that_is_made_anew_gives_the_same_batch_for_ever():
    model, x, y = parts()
    loader = DataLoader(TensorDataset(x, y), 24)
    optimiser = Adam(model.parameters(), 1e-4)

    def train():
        for _ in range(8):
            part, label = next(iter(loader))
            optimiser.zero_grad()
            contrast(normalize(model(part), dim=1), label).backward()
            optimiser.step()

    assert "QL-B03" in alarms_of(train)[:2]


@pytest.mark.parametrize("shared", [0, 40])
def test_files_are_trained_on_or_evaluated_on(shared):
    model, x, y = parts()
    paths = [f"/audio/{row:03d}.wav" for row in range(ROWS)]
    loader = DataLoader(Recordings(x, y, files=paths[:150]), 24, shuffle=True)
    rows = range(150 - shared, ROWS)
    test = DataLoader(Recordings(x[rows], y[rows], files=[paths[row] for row in rows]), 24)
    loader.dataset.x, loader.dataset.y = x[:150], y[:150]
    run = evaluated_first(model, test, plain(model, loader))
    assert alarms_of(run)[:1] == (["QL-S10"] if shared else [])


@pytest.mark.parametrize("same", [True, False])
def test_names_of_files_are_compared_within_the_folders_that_hold_them(tmp_path, same):
    model, x, y = parts()
    names = [f"{row:03d}.wav" for row in range(ROWS)]
    folders = [tmp_path / "one", tmp_path / ("one" if same else "other")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / name).touch()
    train = Recordings(x, y, files=names, folder=str(folders[0]))
    test = Recordings(jitter(x)[:40], y[:40], files=names[:40], folder=folders[1])
    loader = DataLoader(train, 24, shuffle=True)
    run = evaluated_first(model, DataLoader(test, 24), plain(model, loader))
    assert alarms_of(run) == (["QL-S10"] if same else [])


def test_names_that_lead_to_no_file_are_no_proof():
    model, x, y = parts()
    names = [f"img_{row:05d}.png" for row in range(ROWS)]
    loader = DataLoader(Recordings(x, y, files=names), 24, shuffle=True)
    test = DataLoader(Recordings(jitter(x)[:40], y[:40], files=names[:40]), 24)
    assert alarms_of(evaluated_first(model, test, plain(model, loader))) == []


def test_a_row_in_its_own_denominator_is_seen_in_the_value():
    model, x, y = parts()

    def loss(batch):
        z = normalize(model(torch.cat([jitter(batch[0]), jitter(batch[0])])), dim=1)
        similar, n = z @ z.T / 0.1, len(batch[0])
        positive = torch.cat([similar.diagonal(n), similar.diagonal(-n)])
        return (torch.logsumexp(similar, 1) - positive).mean()

    assert alarms_of(loop(loader_of(x, y), loss, Adam(model.parameters(), 1e-3)))[:1] == ["QL-P21"]


def labelled_loss(model, *, positives, denominator, inside=0.1, outside=1.0):
    """SupCon of two views over a mask of positives: which leave out a row itself, or take it in."""

    def loss(batch):
        z = normalize(model(torch.cat([jitter(batch[0]), jitter(batch[0])])), dim=1)
        labels, own = batch[1].repeat(2), torch.eye(len(z), dtype=torch.bool)
        alike = labels[:, None] == labels[None]
        similar = z @ z.T / inside
        total = similar if denominator == "all" else similar.masked_fill(own, -1e9)
        odds = similar - torch.logsumexp(total, 1, keepdim=True)
        mask = (alike if positives == "all" else alike & ~own).float()
        return -((odds * mask).sum(1) / mask.sum(1)).mean() / outside

    return loss


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"positives": "others", "denominator": "others"}, [[]]),
        # which of both is felt more follows from the number of positives
        ({"positives": "all", "denominator": "all"}, [["QL-P20"], ["QL-P21"]]),
        ({"positives": "all", "denominator": "others"}, [["QL-P20"]]),
        ({"positives": "others", "denominator": "all"}, [["QL-P21"]]),
        (
            {"positives": "others", "denominator": "others", "inside": 1.0, "outside": 0.1},
            [["QL-P03"]],
        ),
    ],
)
def test_what_a_row_is_to_itself_and_where_the_temperature_stands(how, expected):
    model, x, y = parts()
    train = loop(loader_of(x, y), labelled_loss(model, **how), Adam(model.parameters(), 1e-3))
    assert alarms_of(train) in expected


def test_counters_of_batches_are_no_weights_that_were_loaded():
    model, x, y = parts()
    train = plain(model, loader_of(x, y))

    def run():
        content = {f"module.{name}": value for name, value in model.state_dict().items()}
        content |= {n: v for n, v in model.state_dict().items() if n.endswith("tracked")}
        model.load_state_dict(content, strict=False)
        train()

    assert alarms_of(run) == ["QL-C01"]
