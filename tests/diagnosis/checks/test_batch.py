"""Batches: composition against chance, order, coverage, length, labels of rows, random draws;
honest samplers stay silent.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from quadlib.diagnosis.checks.batch.composition import lone_share, one_class_log10
from quadlib.sampler import StratifiedBatchSampler

LABELS = np.repeat(np.arange(12), 48)


class Grouped:
    """One-class batches, shuffled, as a generator that groups by label makes them."""

    def __init__(self, labels, size: int = 32) -> None:
        self.labels, self.size = np.asarray(labels), size

    def __iter__(self):
        random = np.random.default_rng()
        batches = []
        for code in np.unique(self.labels):
            own = random.permutation(np.flatnonzero(self.labels == code))
            batches += [own[start : start + self.size] for start in range(0, len(own), self.size)]
        return iter([batches[i] for i in random.permutation(len(batches))])


def test_one_class_batches_of_twelve_classes(examined):
    result = examined(labels=LABELS, batch_sampler=Grouped(LABELS))
    root = result.roots[0]
    assert [item.code for item in result.roots] == ["QL-B01"]
    assert (
        "24 of 24 batches" in root.title
        and "1e-" in root.evidence[0]
        and any("split" in item for item in root.ruled_out)
    )


def test_one_class_batches_of_a_one_class_split_do_not_accuse_the_sampler(examined):
    splits = np.where(LABELS == 0, "train", "val")
    assert [
        root.code
        for root in examined(
            labels=LABELS, splits=splits, batch_sampler=Grouped(LABELS[LABELS == 0])
        ).roots
    ] == ["QL-S01"]


def test_one_class_batches_seen_in_a_loader_alone(roots):
    inputs = torch.randn(64, 8)
    loader = [(inputs[:32], torch.zeros(32)), (inputs[32:], torch.ones(32))]
    assert roots(labels=LABELS, loader=loader) == ["QL-B01"]


def test_an_unshuffled_sorted_loader(examined, roots):
    data = TensorDataset(torch.randn(576, 8), torch.as_tensor(LABELS))
    result = examined(labels=LABELS, loader=DataLoader(data, batch_size=32))
    assert [root.code for root in result.roots] == [
        "QL-B05"
    ] and "the rows are sorted by class" in result.roots[0].title
    mixed = np.random.default_rng(0).permutation(LABELS)
    result = examined(
        labels=mixed,
        loader=DataLoader(TensorDataset(data.tensors[0], torch.as_tensor(mixed)), batch_size=32),
    )
    assert result.ok and [root.code for root in result.roots] == ["QL-B05"]


@pytest.mark.parametrize("size", [4, 6])
def test_too_few_positives(examined, size):
    result = examined(
        labels=LABELS, batch_sampler=BatchSampler(RandomSampler(range(576)), size, True)
    )
    assert [root.code for root in result.roots] == ["QL-B02"]
    assert "the choice is poor" in result.roots[0].evidence[0]


def test_part_of_the_data_is_never_drawn(examined):
    class Subset:
        def __iter__(self):
            return iter(np.random.default_rng().permutation(400)[:384].reshape(-1, 32))

    labels = np.random.default_rng(0).permutation(LABELS)
    result = examined(
        labels=labels, splits={"train": np.arange(len(labels))}, batch_sampler=Subset()
    )
    assert [root.code for root in result.roots] == ["QL-B03"] and result.roots[
        0
    ].severity == "error"
    # without a split, the rows that are never drawn may be those that are held out
    assert examined(labels=labels, batch_sampler=Subset()).roots[0].severity == "note"


def test_last_batch_of_one(examined, roots):
    labels = np.random.default_rng(0).permutation(LABELS)[:545]
    sampler = RandomSampler(range(545))
    result = examined(labels=labels, batch_sampler=BatchSampler(sampler, 32, False))
    assert [root.code for root in result.roots] == [
        "QL-B06"
    ] and "545 samples mod 32 = 1" in result.roots[0].title
    assert roots(labels=labels, batch_sampler=BatchSampler(sampler, 32, True)) == []


def test_labels_of_other_rows(make_table, roots):
    stale = TensorDataset(torch.randn(576, 8), torch.as_tensor(LABELS).roll(100))
    assert roots(labels=LABELS, loader=DataLoader(stale, batch_size=32, shuffle=True)) == ["QL-B04"]
    table = make_table()
    rows = np.random.default_rng(0).permutation(table.rows("train"))[:64]
    batches = [
        {
            "inputs": torch.randn(32, 8),
            "labels": torch.as_tensor(table.codes[own]),
            "index": torch.as_tensor(own),
        }
        for own in (rows[:32], rows[32:])
    ]
    assert roots(table=table, loader=batches) == []
    batches[1]["labels"] = batches[0]["labels"]
    assert roots(table=table, loader=batches) == ["QL-B04"]


class Noisy(Dataset):
    """Adds noise from a generator of its own, or from torch's."""

    def __init__(self, own: bool) -> None:
        self.random = np.random.default_rng(0) if own else None

    def __len__(self) -> int:
        return len(LABELS)

    def __getitem__(self, row):
        noise = (
            torch.randn(8)
            if self.random is None
            else torch.as_tensor(self.random.normal(size=8), dtype=torch.float32)
        )
        return noise, int(LABELS[row])


def test_workers_that_share_their_draws(roots):
    def loader(own, **options):
        return DataLoader(Noisy(own), batch_size=32, shuffle=True, **options)

    assert roots(labels=LABELS, loader=loader(True, num_workers=2), phases=["batch"]) == ["QL-B07"]
    assert roots(labels=LABELS, loader=loader(False, num_workers=2), phases=["batch"]) == []
    assert roots(labels=LABELS, loader=loader(True), phases=["batch"]) == []
    assert roots(
        labels=LABELS,
        loader=loader(False, num_workers=2, worker_init_fn=lambda worker: torch.manual_seed(0)),
        phases=["batch"],
    ) == ["QL-B07"]


def test_augmentation_that_is_the_same_every_epoch(examined):
    class Keyed(Noisy):
        augment, epoch, keyed_by_epoch = True, 0, True

        def set_epoch(self, epoch):
            self.epoch = epoch if self.keyed_by_epoch else 0

        def __getitem__(self, row):
            return torch.randn(
                8, generator=torch.Generator().manual_seed(1000 * self.epoch + row)
            ), int(LABELS[row])

    def found(dataset):
        result = examined(
            labels=LABELS, loader=DataLoader(dataset, batch_size=32, shuffle=True), phases=["batch"]
        )
        return [root.code for root in result.roots], [
            reason for name, reason in result.not_run if "B07" in name
        ]

    dataset = Keyed(False)
    assert found(dataset) == ([], [])
    dataset.keyed_by_epoch = False
    assert found(dataset)[0] == ["QL-B07"]
    dataset.augment = False
    assert "no random change was seen" in found(dataset)[1][0]


def test_no_batch_empty_batch_or_foreign_rows(roots):
    assert roots(labels=LABELS, batch_sampler=[]) == ["QL-B10"]
    assert "QL-B10" in roots(labels=LABELS, batch_sampler=[[], [0, 1, 48, 49]])
    splits = np.where(np.random.default_rng(0).random(576) < 0.5, "train", "val")
    assert roots(
        labels=LABELS,
        splits=splits,
        batch_sampler=BatchSampler(RandomSampler(range(576)), 32, False),
    ) == ["QL-B11"]
    assert "QL-B11" in roots(labels=LABELS, batch_sampler=[[0, 1, 48, 600], [2, 3, 49, 50]])


@pytest.mark.parametrize("epochs", [0, 20])
def test_a_length_that_is_not_what_is_yielded_matters_to_a_schedule(roots, examined, epochs):
    class Sampler(Grouped):
        def __iter__(self):
            return iter(np.random.default_rng().permutation(576).reshape(-1, 32))

        def __len__(self):
            return 576

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(epochs * 576, 100))
    subject = {"labels": LABELS, "batch_sampler": Sampler(LABELS), "scheduler": schedule}
    assert roots(**subject) == (["QL-B12"] if epochs else [])
    assert "QL-B12" in [finding.code for finding in examined(**subject).findings]


def test_a_declared_law_that_is_broken(roots):
    batches = np.random.default_rng(0).permutation(576).reshape(-1, 32)
    assert roots(labels=LABELS, batch_sampler=batches, settings={"min_per_class": 2}) == ["QL-B13"]
    assert roots(labels=LABELS, batch_sampler=batches) == []


def test_a_sampler_without_end(examined):
    class Endless:
        def __iter__(self):
            random = np.random.default_rng(0)
            return (random.permutation(576)[:32] for _ in itertools.count())

    result = examined(labels=LABELS, batch_sampler=Endless(), phases=["before"])
    assert result.ok and any("did not end" in reason for _, reason in result.not_run)


PLAIN = RandomSampler(range(576))
SEVEN = np.random.default_rng(0).integers(0, 12, 576)


@pytest.mark.parametrize(
    ("labels", "sampler"),
    [
        (LABELS, StratifiedBatchSampler(LABELS, 32)),
        (LABELS, StratifiedBatchSampler(LABELS, 16)),
        (LABELS, BatchSampler(PLAIN, 32, True)),
        (LABELS, BatchSampler(PLAIN, 64, False)),
        (np.repeat([0, 1], 288), BatchSampler(PLAIN, 4, True)),
        (np.repeat([0, 1], 288), BatchSampler(PLAIN, 400, True)),
        (np.repeat([0, 1], [524, 52]), BatchSampler(PLAIN, 16, True)),
        (
            np.repeat([0, 1], [524, 52]),
            BatchSampler(
                WeightedRandomSampler(np.repeat([1 / 524, 1 / 52], [524, 52]), 576), 32, True
            ),
        ),
        (
            np.repeat([0, 1, 2], [570, 1, 5]),
            StratifiedBatchSampler(np.repeat([0, 1, 2], [570, 1, 5]), 288, rare="drop"),
        ),
        (
            np.repeat([0, 1, 2], [570, 1, 5]),
            StratifiedBatchSampler(np.repeat([0, 1, 2], [570, 1, 5]), 288, rare="oversample"),
        ),
        (
            np.repeat(np.arange(4), [300, 200, 50, 26]),
            StratifiedBatchSampler(
                np.repeat(np.arange(4), [300, 200, 50, 26]), 32, balance="equal"
            ),
        ),
        (SEVEN, BatchSampler(SequentialSampler(range(576)), 32, True)),
        (
            LABELS,
            [
                np.concatenate([np.flatnonzero(code == LABELS)[start : start + 8] for code in pair])
                for start in range(0, 48, 8)
                for pair in ((0, 6), (1, 7), (2, 8), (3, 9), (4, 10), (5, 11))
            ],
        ),
    ],
    ids=[
        "ours 32",
        "ours 16",
        "random 32",
        "random 64",
        "two classes of 4",
        "batch above half",
        "10 to 1",
        "oversampled",
        "dropped",
        "repeated",
        "equal",
        "in order but mixed",
        "P x K",
    ],
)
def test_honest_samplers_are_silent(roots, labels, sampler):
    settings = {"rare": "drop"} if np.bincount(labels).min() == 1 else None
    assert roots(labels=labels, batch_sampler=sampler, settings=settings, phases=["before"]) == []


RARE = np.concatenate([np.repeat(np.arange(4), 40), [9]])


@pytest.mark.parametrize(
    "asked",
    [
        {"batch_size": 16, "rare": "drop"},
        {"batch_size": 16, "rare": "oversample"},
        {"layout": "pk", "classes_per_batch": 4, "samples_per_class": 4, "rare": "drop"},
    ],
    ids=["dropped", "oversampled", "P x K, dropped"],
)
def test_what_our_sampler_was_asked_for_is_known(examined, asked):
    sampler = StratifiedBatchSampler(RARE, **asked)
    result = examined(labels=RARE, batch_sampler=sampler, phases=["before"])
    assert not [item.code for item in result.findings if item.code[3] == "B"]
    judged = "QL-B13 the sampler keeps the rules it declares" in result.ran
    assert judged == ("layout" not in asked)


def test_chance_matches_counting():
    sizes = np.array([5, 4, 3])
    draws = list(itertools.combinations(np.repeat([0, 1, 2], sizes), 3))
    one = np.mean([len(set(draw)) == 1 for draw in draws])
    lone = np.mean([sum(draw.count(c) == 1 for c in draw) / 3 for draw in draws])

    assert 10 ** one_class_log10(sizes, 3) == pytest.approx(one) and lone_share(
        sizes, 3
    ) == pytest.approx(lone)
    assert one_class_log10(sizes, 6) == -np.inf
